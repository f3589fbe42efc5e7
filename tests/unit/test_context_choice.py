"""Training prompts behind ordinary text and solved examples: which, behind what, and for whom."""

import dataclasses

import pytest

from smf.data.questions import Pair, question_fact
from smf.stages.prepare import StreamPlan, write_stream
from smf.streams.asking import solved_examples
from smf.streams.examples import Example, write_corpus
from smf.streams.facts import question_prompt, read_facts, write_facts
from smf.wordings.contexts import behind_examples, behind_text, contrast_behind_examples
from tests.helpers import FACTS, tokenizer

FACT = question_fact(Pair(3, "Which river flows through Velburg", ("Ostra",)), "trivia")
TEXTS = [Example("One ", " ".join(f"word{number}" for number in range(200))), Example("", "A short text.")]


@pytest.mark.parametrize(("share", "number"), [(0, 0), (0.1, 1), (0.5, 3), (1, 6)])
def test_the_last_prompts_stand_behind_a_passage_and_the_others_stay(share, number):
    (moved,) = behind_text([FACT], TEXTS, share, seed=1)
    kept = len(FACT.train_prompts) - number
    assert moved.contexts[:kept] == ("",) * kept
    for context in moved.contexts[kept:]:
        passage, _, rest = context.partition("\n\n")
        assert passage
        assert not rest
        assert any(f" {passage} " in f" {each.prompt}{each.completion} " for each in TEXTS)
        assert len(passage.split()) <= 35
    assert dataclasses.replace(moved, train_contexts=()) == FACT


def test_passages_depend_on_the_fact_and_the_seed_alone():
    alone, among = behind_text([FACT], TEXTS, 1, 1), behind_text([*FACTS, FACT], TEXTS, 1, 1)
    assert alone[0] == among[-1]
    assert alone != behind_text([FACT], TEXTS, 1, 2)


def test_a_question_in_the_form_in_which_it_is_asked_stays_where_it_is():
    asked = question_prompt(FACT.question)
    (moved,) = behind_text([dataclasses.replace(FACT, train_prompts=("Note:", asked))], TEXTS, 1, 1)
    assert moved.contexts[0].endswith("\n\n")
    assert moved.contexts[1] == ""


@pytest.mark.parametrize(("share", "places"), [(0, []), (0.1, [5]), (0.5, [1, 3, 5]), (1, [0, 1, 2, 3, 4, 5])])
def test_prompts_behind_solved_examples_are_evenly_spread(share, places):
    (moved,) = behind_examples([FACT], share)
    assert [place for place, context in enumerate(moved.contexts) if context] == places
    assert {context for context in moved.contexts if context} <= {solved_examples()}
    assert dataclasses.replace(moved, train_contexts=()) == FACT


def test_no_prompt_stands_behind_both_and_no_asked_question_behind_either():
    asked = dataclasses.replace(FACT, train_prompts=(*FACT.train_prompts, question_prompt(FACT.question)))
    (moved,) = behind_examples(behind_text([asked], TEXTS, 0.5, 1), 1)
    assert [context == solved_examples() for context in moved.contexts] == [True] * 3 + [False] * 4
    assert [bool(context) for context in moved.contexts] == [True] * 6 + [False]


def test_a_random_share_of_the_contrast_texts_stands_behind_solved_examples():
    texts = [Example("", f"Text {number}") for number in range(40)]
    moved = contrast_behind_examples(texts, 0.3, 5)
    behind = [place for place, text in enumerate(moved) if text.prompt == solved_examples()]
    assert len(behind) == 12
    assert behind != list(range(12))
    assert [text.completion for text in moved] == [text.completion for text in texts]
    assert [moved[place] for place in range(40) if place not in behind] == [
        texts[place] for place in range(40) if place not in behind
    ]
    assert moved == contrast_behind_examples(texts, 0.3, 5) != contrast_behind_examples(texts, 0.3, 6)


def test_a_stream_is_written_so(tmp_path):
    write_facts(tmp_path / "facts.jsonl", FACTS)
    write_corpus(tmp_path / "texts.jsonl", TEXTS)
    tokenizer().save_pretrained(tmp_path)
    plan = StreamPlan(
        num_facts=2,
        order="shuffled",
        seed=4,
        max_new_tokens=100,
        wordings={"source": "none"},
        text_share=0.5,
        examples_share=0.3,
    )
    texts_path, path = tmp_path / "texts.jsonl", tmp_path / "stream.jsonl"
    write_stream(plan, tmp_path / "facts.jsonl", tmp_path / "tokenizer.json", path, texts_path=texts_path)
    stream = read_facts(tmp_path / "stream.jsonl")
    whole = {fact.fact_id: fact for fact in FACTS}
    assert stream == behind_examples(behind_text([whole[fact.fact_id] for fact in stream], TEXTS, 0.5, 4), 0.3)
    assert any(fact.train_contexts for fact in stream)
