"""Answers that are longer than what is generated: refused, dropped or told of, before anything is trained."""

import logging
from dataclasses import replace

import pytest

from smf.errors import ConfigError, DataError
from smf.evaluation.harness import Evaluator
from smf.evaluation.settings import EvaluationSettings
from smf.files.artifacts import write_jsonl
from smf.stages.prepare import StreamPlan, write_stream
from smf.streams.facts import draw_stream, question_prompt, read_facts, write_facts
from smf.streams.sayable import answer_tokens, sayable
from tests.helpers import FACTS, base_model, tokenizer

LONG = "Tarnow upon the cold and quiet Wends, beyond Ostry"
TOO_LONG = replace(FACTS[1], answers=(LONG, "Tarnow"))
LIMIT = 12


@pytest.fixture
def stream(tmp_path):
    """Draws a stream of facts with a limit; gives back its facts."""

    def draw(facts, num_facts, **settings):
        write_facts(tmp_path / "facts.jsonl", facts)
        tokenizer().save_pretrained(tmp_path / "base")
        settings = {"max_new_tokens": LIMIT, "wordings": {"source": "none"}, **settings}
        plan = StreamPlan(num_facts=num_facts, order="shuffled", seed=1, **settings)
        tokenizer_path = tmp_path / "base" / "tokenizer.json"
        write_stream(plan, tmp_path / "facts.jsonl", tokenizer_path, tmp_path / "stream.jsonl")
        return read_facts(tmp_path / "stream.jsonl")

    return draw


def test_an_answers_tokens_are_those_behind_a_prompt_with_the_space_and_without_the_end():
    answers = ["Ostry", LONG, "Tarnow <|endoftext|>"]
    for answer, number in zip(answers, answer_tokens(tokenizer(), answers), strict=True):
        prompt = tokenizer()(question_prompt("where")).input_ids
        ids = tokenizer()(f"{question_prompt('where')} {answer}", split_special_tokens=True).input_ids
        assert ids[: len(prompt)] == prompt
        assert number == len(ids) - len(prompt)
    assert answer_tokens(tokenizer(), []) == []


def test_an_answer_that_fills_the_limit_can_be_given_and_one_token_more_cannot():
    (number,) = answer_tokens(tokenizer(), [LONG])
    assert sayable([TOO_LONG], tokenizer(), number) == [TOO_LONG]
    assert sayable([TOO_LONG], tokenizer(), number - 1) == []


def test_the_stream_is_the_same_bytes_when_no_answer_is_too_long(stream):
    assert stream(FACTS, len(FACTS)) == draw_stream(FACTS, len(FACTS), "shuffled", seed=1)


def test_facts_of_a_public_set_whose_answer_cannot_be_given_are_dropped_and_counted(stream, caplog):
    caplog.set_level(logging.INFO)
    facts = [FACTS[0], TOO_LONG, *FACTS[2:]]
    drawn = stream(facts, len(facts) - 1)
    assert {fact.fact_id for fact in drawn} == {fact.fact_id for fact in facts} - {TOO_LONG.fact_id}
    assert (
        f"1 of {len(facts)} facts are dropped: their answer has more than evaluation.max_new_tokens (12)" in caplog.text
    )
    with pytest.raises(
        ConfigError, match=rf"of {len(facts)} new facts only {len(facts) - 1} have an answer of at most"
    ):
        stream(facts, len(facts))


def test_own_facts_whose_answer_cannot_be_given_are_refused_with_the_limit_that_they_need(stream):
    (number,) = answer_tokens(tokenizer(), [LONG])
    with pytest.raises(DataError) as error:
        stream([FACTS[0], TOO_LONG], 1, own_file="mine.jsonl")
    assert str(error.value) == (
        "mine.jsonl: 1 of 2 facts have an answer that could never be given in evaluation.max_new_tokens (12): "
        f"{TOO_LONG.fact_id!r} with {LONG!r}, {number} tokens; raise it to {number} or shorten the answers"
    )


def test_a_document_whose_answer_cannot_be_given_is_dropped_with_all_its_passages():
    passage = {"train_prompts": (), "unseen_prompts": (), "train_texts": ("Ann was born.",), "is_passage": True}
    first = replace(FACTS[0], subject="a", question="", answers=(), **passage)
    last = replace(TOO_LONG, subject="a", **passage)
    other = replace(FACTS[2], subject="b", **passage)
    assert sayable([first, last, other], tokenizer(), LIMIT) == [other]


def test_held_out_questions_that_no_model_could_answer_are_told_of_once(tmp_path, caplog):
    rows = [
        {"question": "where", "answer": [LONG]},
        {"question": "who", "answer": [LONG, "Ostry"]},
        {"question": "what", "answer": ["Ostry"]},
    ]
    write_jsonl(tmp_path / "nq.jsonl", rows)
    evaluator = Evaluator({"nq": ("questions", tmp_path / "nq.jsonl")}, (), EvaluationSettings(max_new_tokens=LIMIT))
    for _ in range(2):
        evaluator.evaluate(base_model(), tokenizer(), 0)
    said = [record.getMessage() for record in caplog.records if "cannot score 1" in record.getMessage()]
    assert said == [
        "nq: 1 of 3 questions have no accepted answer of at most evaluation.max_new_tokens (12) tokens and cannot "
        "score 1; raise it, or leave them out"
    ]
