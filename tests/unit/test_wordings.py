"""Composed wordings: as many as asked for, all different, all completed by the answer, none of them a test."""

import dataclasses
import random

import pytest

from smf.data.questions import Pair, question_fact
from smf.errors import ConfigError, DataError
from smf.stages.prepare import StreamPlan, write_stream
from smf.streams.facts import Fact, read_facts, write_facts
from smf.streams.normalize import holds_answer, normalize_answer
from smf.wordings.passage_templates import passage_wordings
from smf.wordings.passages import sentences
from smf.wordings.rewording import reworded
from smf.wordings.templates import OPENINGS, QUESTION_FORMS, taught_by_its_question, template_wordings
from tests.helpers import FACTS, tokenizer

QUESTION_FACT = question_fact(Pair(3, "Which river flows through Velburg", ("Ostra", "River Ostra")), "trivia")
STATED = dataclasses.replace(FACTS[0], train_texts=("Tarnow is where Joel Quint was born.",))
PASSAGE = Fact(
    "p",
    "P",
    (),
    (),
    "",
    (),
    train_texts=("Ann was born in Ostry. She moved to Velburg. Bob met her there. They wrote a book.",),
    is_passage=True,
)


@pytest.mark.parametrize("fact", [QUESTION_FACT, STATED], ids=["question", "statements"])
@pytest.mark.parametrize("number", [1, 6, 64, 250])
def test_a_fact_gets_as_many_different_wordings_as_asked_for(fact, number):
    worded = template_wordings(fact, number, seed=1)
    wordings = (*worded.train_prompts, *worded.train_texts)
    assert len({" ".join(wording.lower().split()) for wording in wordings}) == number
    own = (*fact.train_prompts, *fact.train_texts)
    assert set(own[:number]) <= set(wordings)
    assert not set(wordings) & set(fact.unseen_prompts)
    assert (worded.unseen_prompts, worded.question, worded.answers) == (
        fact.unseen_prompts,
        fact.question,
        fact.answers,
    )
    subject = fact.question if taught_by_its_question(fact) else "Joel Quint"
    assert all(subject in wording for wording in wordings)
    assert all(holds_answer(text, fact.answers) for text in worded.train_texts)
    assert all(wording[0].isupper() and "  " not in wording and "{" not in wording for wording in wordings)


def test_a_question_is_never_worded_in_the_form_that_tests_it():
    prompts = template_wordings(QUESTION_FACT, 500, seed=1).train_prompts
    assert not any("Q:" in prompt or "A:" in prompt for prompt in prompts)


def test_a_fact_of_statements_never_shows_its_question():
    worded = template_wordings(STATED, 250, seed=1)
    assert not any(STATED.question in text for text in (*worded.train_prompts, *worded.train_texts))


def test_wordings_follow_from_their_seed_and_differ_from_fact_to_fact():
    assert template_wordings(QUESTION_FACT, 20, 1) == template_wordings(QUESTION_FACT, 20, 1)
    assert template_wordings(QUESTION_FACT, 20, 1) != template_wordings(QUESTION_FACT, 20, 2)
    other = dataclasses.replace(QUESTION_FACT, fact_id="other")
    assert template_wordings(other, 20, 1).train_prompts != template_wordings(QUESTION_FACT, 20, 1).train_prompts


def test_before_a_statement_only_words_that_are_no_names_lose_their_capital():
    fact = Fact("a", "A", ("The town of Mara is", "Mara lives in", "Its river is"), ("x",), "", ("Ostry",))
    prompts = template_wordings(fact, 200, seed=1).train_prompts
    for prompt in prompts[3:]:
        opening = next(opening for opening in OPENINGS[1:] if prompt.startswith(opening))
        assert prompt.removeprefix(opening) in {"the town of Mara is", "Mara lives in", "its river is"}


def test_more_wordings_than_there_are_is_refused():
    most = len(QUESTION_FACT.train_prompts) + len(OPENINGS) * len(QUESTION_FORMS)
    assert len(template_wordings(QUESTION_FACT, most, seed=1).train_prompts) == most
    with pytest.raises(
        ConfigError, match=f"number is {most + 1}, but templates give the fact 'trivia-00003' only {most}"
    ):
        template_wordings(QUESTION_FACT, most + 1, seed=1)


def test_a_passage_is_retold_in_its_own_words_only():
    texts = passage_wordings(PASSAGE.train_texts[0], 40, random.Random(0))
    assert texts[0] == PASSAGE.train_texts[0]
    assert len(set(texts)) == 40
    parts = sentences(PASSAGE.train_texts[0])
    assert all(any(part in text for part in parts) for text in texts)
    assert len(passage_wordings("Hello.", 40, random.Random(0))) < 40  # no more can be made of one word


# What a stream teaches


TEMPLATES = {"source": "templates", "number": 8, "seed": 1}


def test_without_settings_facts_stay_as_they_are():
    assert reworded(FACTS, {"source": "none"}, None) == list(FACTS)


def test_paraphrases_replace_own_wordings_which_fill_up_what_is_missing(tmp_path):
    path = tmp_path / "paraphrases.jsonl"
    path.write_text(
        f'{{"fact_id": "{STATED.fact_id}", "texts": ["One Tarnow.", "Two Tarnow."]}}\n'
        '{"fact_id": "p", "texts": ["Ann!", "Bob!", "Eve!"]}\n'
    )

    def texts(fact, number):
        (fact,) = reworded([fact], {"source": "model", "number": number}, path)
        return fact.train_texts, fact.train_prompts

    assert texts(STATED, 1) == (("One Tarnow.",), ())
    assert texts(STATED, 2) == (("One Tarnow.", "Two Tarnow."), ())
    assert texts(STATED, 4) == (("One Tarnow.", "Two Tarnow."), STATED.train_prompts[:2])
    assert texts(STATED, 9) == (("One Tarnow.", "Two Tarnow.", *STATED.train_texts), STATED.train_prompts)
    assert texts(PASSAGE, 3) == ((*PASSAGE.train_texts, "Ann!", "Bob!"), ())
    with pytest.raises(DataError, match="no paraphrases of the fact 'rosa-varga'; run the rule paraphrase again"):
        texts(FACTS[1], 2)


def test_the_stream_holds_the_wordings_and_nothing_else_changes(tmp_path):
    write_facts(tmp_path / "facts.jsonl", FACTS)
    tokenizer().save_pretrained(tmp_path / "base")
    for name, wordings in (("plain", {"source": "none"}), ("many", TEMPLATES)):
        plan = StreamPlan(num_facts=2, order="shuffled", seed=5, max_new_tokens=8, wordings=wordings)
        tokenizer_path = tmp_path / "base" / "tokenizer.json"
        write_stream(plan, tmp_path / "facts.jsonl", tokenizer_path, tmp_path / f"{name}.jsonl")
    plain, many = read_facts(tmp_path / "plain.jsonl"), read_facts(tmp_path / "many.jsonl")
    assert [fact.fact_id for fact in plain] == [fact.fact_id for fact in many]
    assert [len(fact.train_prompts) for fact in plain] == [3, 3]
    assert [len(fact.train_prompts) for fact in many] == [8, 8]


# Whether a text holds an answer


@pytest.mark.parametrize(
    ("text", "answers", "found"),
    [
        ("He came from the Ostry.", ["Ostry"], True),
        ("It was the OSTRY!", ["ostry"], True),
        ("It was Ostrya.", ["Ostry"], False),
        ("Born in St. Louis, he left.", ["St Louis"], True),
        ("Nothing here.", ["Ostry", "Nothing"], True),
        ("Vitamin A helps.", ["A"], True),
        ("Nothing.", [" "], False),
    ],
)
def test_an_answer_is_found_as_whole_words_whatever_its_case_and_punctuation(text, answers, found):
    assert holds_answer(text, answers) is found
    assert normalize_answer(text) == normalize_answer(text.upper())
