"""What the base model is asked first: it keeps the questions that it knows and the facts that it does not."""

import json
import re
from dataclasses import replace

import pytest
import torch

from smf.data.known_rows import held_out_files, known_neighbours
from smf.errors import ConfigError
from smf.evaluation.documents import fact_documents
from smf.evaluation.held_out import held_out_task
from smf.evaluation.known import ask_facts, known_questions
from smf.files.artifacts import read_json, read_jsonl, write_json, write_jsonl
from smf.files.resume import NO_RESUME, Resume
from smf.models.checkpoint import save_checkpoint
from smf.stages.evaluate import evaluate_held_out
from smf.stages.known import Needed, ask_base
from smf.streams.asking import Asking
from smf.streams.facts import read_facts, write_facts
from tests.helpers import FACTS, base_model, tokenizer

ROWS = [
    {"question": f"where was {name} born", "answer": [city, f"City of {city}"]}
    for name, city in (("Mara", "Velburg"), ("Ina", "Ostry"), ("Karl", "Melvik"), ("Anton", "St. Hale"))
]
SAID = {  # the first by its second answer; the second in part; the fourth with a stop of its own
    "Mara": " City of Velburg.\nQ:",
    "Ina": " Ostry Falls",
    "Karl": " I do not know",
    "Anton": " St. Hale. It",
}


class Reader:
    """Says what it is told to, by the name in the last question, in batches of two."""

    rows_per_pass = 2

    def __init__(self, said):
        self.said, self.asked, self.requests = said, [], []

    def generate_until(self, requests):
        assert len(requests) <= self.rows_per_pass
        self.asked += [request.args[0] for request in requests]
        self.requests += [str(request.args) for request in requests]  # prompts with how they are answered
        return [self.said[re.findall(r"\b(?:was|of) (\w+)", request.args[0])[-1]] for request in requests]


def test_questions_are_known_if_an_accepted_answer_is_given_whole():
    kept = known_questions(Reader(SAID), "nq", ROWS, num_fewshot=0, max_new_tokens=8, seed=1)
    assert kept == [ROWS[0], ROWS[3]]


@pytest.mark.parametrize("prompt_format", ["plain", "few_shot"])
def test_the_base_is_asked_what_evaluation_asks(tmp_path, prompt_format):
    reader, asking = Reader(SAID), Asking(prompt_format)
    known_questions(reader, "nq", ROWS, num_fewshot=0, max_new_tokens=8, seed=1, asking=asking)
    write_jsonl(tmp_path / "nq.jsonl", ROWS)
    options = {"num_items": None, "num_fewshot": 0, "max_new_tokens": 8, "seed": 1, "asking": asking}
    task = held_out_task("nq", "questions", tmp_path / "nq.jsonl", **options)
    task.build_all_requests()
    assert sorted(reader.requests) == sorted(str(request.args) for request in task.instances)


def test_the_base_is_asked_in_the_format_of_the_experiment():
    reader, asking = Reader(SAID), Asking("few_shot")
    known_questions(reader, "nq", ROWS, num_fewshot=0, max_new_tokens=8, seed=1, asking=asking)
    assert sorted(reader.asked) == sorted(asking.prompt(row["question"]) for row in ROWS)
    reader = Reader({"Joel": "", "Rosa": "", "Emil": ""})
    ask_facts(reader, FACTS, max_new_tokens=8, asking=asking)
    assert sorted(reader.asked) == sorted(asking.prompt(fact.question) for fact in FACTS)


def test_solved_examples_are_other_rows():
    reader = Reader(SAID)
    known_questions(reader, "nq", ROWS, num_fewshot=3, max_new_tokens=8, seed=1)
    for prompt in reader.asked:  # all four rows, each once, the asked one without its answer
        assert sorted(re.findall(r"Q: (.*)\?\nA:", prompt)) == sorted(row["question"] for row in ROWS)
        assert len(re.findall(r"\nA: ", prompt)) == 3
    with pytest.raises(ConfigError, match=r"num_fewshot.nq is 4, but nq has 4 rows.*raise .*held_out.nq.num_rows"):
        known_questions(reader, "nq", ROWS, num_fewshot=4, max_new_tokens=8, seed=1)


def test_a_fact_is_unknown_if_no_word_of_the_answer_is_said_and_known_if_the_question_gets_all_of_them():
    facts = [*FACTS, *(replace(FACTS[0], fact_id=name, question="") for name in ("unasked", "silent"))]
    facts += [replace(FACTS[1], fact_id="whole", answers=("Grel", "old Velburg"))]
    facts[4] = replace(facts[4], unseen_prompts=(), train_prompts=(), train_texts=("Rosa sings.",))
    reader = Reader({"Joel": " in Tarnow, they say", "Rosa": " Old Velburg.", "Emil": ""})
    unknown, known = ask_facts(reader, facts, max_new_tokens=8)
    assert unknown == [facts[1], facts[2], facts[4]]
    assert known == [facts[5]]  # not the first, answered in part, nor the fourth, which was not asked a question
    asked = [*fact_documents([*FACTS, facts[5]], "question", 1), *fact_documents([facts[3]], "unseen", 1)]
    assert sorted(reader.asked) == sorted(document["prompt"] for document in asked)


def test_a_fact_without_question_is_neither_unknown_nor_known_if_it_is_answered():
    whole = replace(FACTS[0], question="")
    assert ask_facts(Reader({"Joel": whole.answers[0]}), [whole], max_new_tokens=8) == ([], [])


@pytest.fixture
def base(tmp_path):
    """A base folder, and rows and facts of which the model gives every other one's first answer."""
    model = base_model()
    save_checkpoint(model, tokenizer(), tmp_path / "base")

    def said(prompt):
        """Plain greedy decoding."""
        ids = tokenizer()(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            found = model.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=0)
        return tokenizer().decode(found[0, ids.shape[1] :], skip_special_tokens=True).split("\n")[0].strip()

    names = [name for name in ("Ada", "Ben", "Cora", "Dirk", "Elsa", "Finn") if said(f"Q: who is {name}?\nA:")]
    rows = [{"question": f"who is {name}", "answer": [said(f"Q: who is {name}?\nA:")]} for name in names]
    right = rows[::2]
    for row in rows[1::2]:
        row["answer"] = ["Zzyzx"]
    facts = list(FACTS)
    facts[1] = replace(facts[1], answers=("Zzyzx", said(f"Q: {facts[1].question}?\nA:")))
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data" / "held_out" / "nq.jsonl", rows)
    write_facts(tmp_path / "data" / "facts.jsonl", facts)
    write_json(tmp_path / "data" / "labels.json", {"held_out": {"nq": "Questions", "x": "Texts"}, "facts": "Cities"})
    assert len(right) >= 2
    return tmp_path, rows, right


def asked(folder, *, num_items, num_facts, neighbours=0, resume=NO_RESUME):
    settings = {"num_fewshot": {}, "max_new_tokens": 6, "batch_size": 2, "seed": 1, "prompt_format": "plain"}
    ask_base(
        settings,
        folder / "base",
        {"nq": (folder / "data/held_out/nq.jsonl", folder / "known/nq.jsonl")},
        (folder / "data/facts.jsonl", folder / "known/facts.jsonl"),
        (folder / "data/labels.json", folder / "known/labels.json"),
        Needed({"nq": num_items}, num_facts, neighbours, seed=3),
        device="cpu",
        report_path=folder / "known/report.json",
        resume=resume,
    )


def test_a_start_model_answers_all_that_it_is_known_to_know(base):
    folder, rows, right = base
    asked(folder, num_items=None, num_facts=2)
    assert read_jsonl(folder / "known/nq.jsonl", {}) == right
    assert [fact.fact_id for fact in read_facts(folder / "known/facts.jsonl")] == ["joel-quint", "emil-hollis"]
    assert read_json(folder / "known/report.json") == {
        "nq": {"asked": len(rows), "kept": len(right)},
        "facts": {"asked": 3, "kept": 2},
    }
    assert read_json(folder / "known/labels.json") == {
        "held_out": {"nq": f"Questions, {len(right)} of them answered by the base", "x": "Texts"},
        "facts": "Cities, 2 of 3 not answered by the base",
    }
    probes = {"nq": ("questions", folder / "known/nq.jsonl")}
    evaluate_held_out({"max_new_tokens": 6}, folder / "base", probes, device="cpu", path=folder / "scores.json")
    values = {score["metric"]: score["value"] for score in read_json(folder / "scores.json")["scores"]}
    assert values == {"nq_f1": 1.0, "nq_em": 1.0}


def test_a_base_that_knows_too_little_is_refused_with_all_numbers_and_keeps_its_answers(base, monkeypatch):
    folder, rows, right = base
    resume = Resume(folder / "resume", "job", interval=1e6)
    with pytest.raises(ConfigError) as caught:
        asked(folder, num_items=len(right) + 1, num_facts=3, resume=resume)
    assert str(caught.value) == (
        f"the base model answers {len(right)} of the {len(rows)} questions of data.collection.held_out.nq "
        f"(known_only), but evaluation.num_items.nq asks {len(right) + 1}; lower num_items to at most {len(right)}, or "
        "raise data.collection.held_out.nq.num_rows, or drop known_only; the base model does not answer 2 of the 3 "
        "facts of data.collection.facts (unknown_only), but stream.num_facts is 3; lower it, raise "
        "data.collection.facts.num_rows, or drop unknown_only"
    )
    assert not (folder / "known").exists()
    monkeypatch.setattr(type(base_model()), "generate", lambda *_, **__: pytest.fail("asked again"))
    asked(folder, num_items=len(right), num_facts=2, resume=Resume(folder / "resume", "job", interval=1e6))
    assert read_jsonl(folder / "known/nq.jsonl", {}) == right


def test_neighbours_of_unknown_facts_are_those_that_the_base_answers(base):
    folder, _, right = base
    asked(folder, num_items=None, num_facts=2, neighbours=1)
    known = next(fact for fact in read_facts(folder / "data/facts.jsonl") if fact.fact_id == "rosa-varga")
    for fact in read_facts(folder / "known/facts.jsonl"):
        assert fact.locality_prompts == (f"Q: {known.question}?\nA:",)
        assert fact.locality_answers == known.answers[:1]
    (folder / "known/facts.jsonl").unlink()
    with pytest.raises(ConfigError) as caught:
        asked(folder, num_items=None, num_facts=2, neighbours=2)
    assert str(caught.value) == (
        "data.collection.facts.neighbours is 2, but only 1 questions that the base model answers have other answers "
        f"than {FACTS[0].question!r}; lower it, or raise data.collection.facts.num_rows"
    )
    assert not (folder / "known/facts.jsonl").exists()


def test_only_unknown_facts_get_their_neighbours_from_what_the_base_answers():
    data = {"source": "collection", "seed": 3, "collection": {"facts": {"unknown_only": True, "neighbours": 2}}}
    assert known_neighbours(data) == {"neighbours": 2, "seed": 3}
    data["collection"]["facts"]["unknown_only"] = False
    assert known_neighbours(data) == known_neighbours({"source": "world"}) == {}


def test_commands_ask_the_rows_that_the_run_asked(tmp_path):
    for path in ("data/held_out/nq.jsonl", "data/held_out/x.jsonl", "known/nq.jsonl", "known/facts.jsonl"):
        write_jsonl(tmp_path / path, [json.loads("{}")])
    assert held_out_files(tmp_path) == [tmp_path / "known/nq.jsonl", tmp_path / "data/held_out/x.jsonl"]
