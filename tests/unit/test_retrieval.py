"""Retrieval: which facts stand before which prompts, where, what it costs, and that nothing else changes."""

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
import yaml

from smf.config.experiment import Experiment
from smf.errors import CheckpointError, ConfigError
from smf.evaluation.harness import EvaluationSettings, Evaluator
from smf.evaluation.language_model import LanguageModel
from smf.files.artifacts import write_jsonl
from smf.methods.registry import method_class
from smf.methods.settings import MethodSettings
from smf.models.checkpoint import save_checkpoint
from smf.scores.summary import summary_table
from smf.scores.table import scores_table
from smf.sizing.jobs import jobs
from smf.stages.evaluate import evaluate_run
from smf.stages.learn import Learning, Run, learn
from smf.streams.asking import Asking, solved_examples
from smf.streams.facts import Fact, write_facts
from smf.training.learn import StreamSettings, learn_with
from tests.helpers import FACTS, MAX_LENGTH, base_model, copy_of_state, same_bytes, start_method, tokenizer, write_task
from tests.pages import example
from tests.unit.test_asking import TEMPLATES, chatty
from tests.unit.test_experiment import refusal
from tests.unit.test_sizing import work_of
from tests.workflow.runs import tiny

QUINT, VARGA, HOLLIS = (f"{name} was born in {city}." for name, city in (
    ("Joel Quint", "Tarnow"), ("Rosa Varga", "Ostry"), ("Emil Hollis", "Melvik")
))  # fmt: skip
SOLVED = solved_examples()
GOLD = {"retriever": "gold"}


def retriever(facts=FACTS, places=None, **settings):
    """What is put before questions once the facts at these places, or all, were taught."""
    places = torch.tensor(range(len(facts)) if places is None else places, dtype=torch.int64)
    return method_class("retrieval").retriever(settings, {"places": places}, facts)


# What is retrieved


def test_gold_is_the_fact_that_is_asked_for_if_it_was_taught_and_nothing_for_any_other_question():
    retrieve = retriever(places=[0, 2], **GOLD)
    assert retrieve("in which city was Joel Quint born") == QUINT
    assert retrieve("The birthplace of Emil Hollis is") == retrieve("Emil Hollis came into the world in") == HOLLIS
    for other in ("in which city was Rosa Varga born", "in which city was Mara Teller born", "Rosa Varga was born in"):
        assert retrieve(other) == ""


def test_gold_is_the_newest_of_facts_that_answer_the_same_question():
    moved = replace(FACTS[0], fact_id="moved", answers=("Velburg",))
    asked = FACTS[0].question
    assert retriever([*FACTS, moved], **GOLD)(asked) == "Joel Quint was born in Velburg."
    assert retriever([*FACTS, moved], [0, 1, 2], **GOLD)(asked) == QUINT


def test_gold_of_a_document_is_its_first_passage_that_holds_the_answer():
    texts = ("Veskaria is a country.", "Its capital is Port Elmsworth.", "Port Elmsworth has a harbour.")
    asked = {"question": "what is the capital of Veskaria", "answers": ("Port Elmsworth",)}
    passages = [
        Fact(f"{place}", "veskaria", train_texts=(text,), is_passage=True, **(asked if place == 2 else {}))
        for place, text in enumerate(texts)
    ]
    other = Fact("3", "other", train_texts=("Port Elmsworth!",), is_passage=True)
    assert retriever([other, *passages], **GOLD)(asked["question"]) == texts[1]
    assert retriever([other, *passages], [0, 1, 3], **GOLD)(asked["question"]) == texts[2]


def bm25(statements, asked):
    """Scores by the formula of Robertson and Zaragoza with Lucene's inverse document frequency, k1 1.2, b 0.75."""
    rows = [text.lower().strip(".").split() for text in statements]
    mean = sum(map(len, rows)) / len(rows)
    scores = []
    for row in rows:
        counts, score = Counter(row), 0.0
        for word in asked.lower().split():
            containing = sum(word in other for other in rows)
            inverse = math.log(1 + (len(rows) - containing + 0.5) / (containing + 0.5))
            score += inverse * counts[word] / (counts[word] + 1.2 * (1 - 0.75 + 0.75 * len(row) / mean))
        scores.append(score)
    return scores


TOWNS = (
    "Anna Quint lives in Ostry.",
    "Joel Quint lives in Tarnow.",
    "Joel sings.",
    "Tarnow lies in valley below Ostry in north.",
    "Mara paints red boats in Velburg.",
)


@pytest.mark.parametrize(
    "asked", ["where lives Joel Quint", "who lives in Tarnow", "in in Ostry", "who sings north of Ostry"]
)
def test_bm25_gives_the_facts_with_the_highest_scores_of_the_published_formula_the_best_next_to_the_question(asked):
    facts = [Fact(text, "", train_texts=(text,)) for text in TOWNS]
    scores = bm25(TOWNS, asked)
    ranked = sorted((place for place in range(5) if scores[place]), key=lambda place: -scores[place])
    assert len({scores[place] for place in ranked}) == len(ranked) > 1  # no ties, so there is one right order
    for top_k in (1, 2, 5):
        found = retriever(facts, retriever="bm25", top_k=top_k)(asked)
        assert found.splitlines() == [TOWNS[place] for place in reversed(ranked[:top_k])]


def test_bm25_gives_something_to_any_question_that_shares_a_word_with_a_fact_taught_so_far():
    assert retriever(places=[0, 1])("in which city was Emil Hollis born") == VARGA  # of equals the newest
    assert retriever(places=[0, 1])("Emil?") == retriever(places=[])("in which city") == retriever()("...") == ""


# Where it stands


def test_it_stands_between_solved_examples_and_question_and_before_a_wording():
    few, plain, seen = Asking("few_shot"), Asking(), []
    question = "Q: who was Ann?\nA:"

    def retrieve(asked):
        seen.append(asked)
        return "Ann was a judge."

    assert few.behind(few.prompt("who was Ann ??"), retrieve) == f"{SOLVED}Ann was a judge.\n{question}"
    assert plain.behind(question, retrieve) == f"Ann was a judge.\n{question}"
    assert plain.behind(f"Q: who?\nA: Bo\n{question}", retrieve) == f"Q: who?\nA: Bo\nAnn was a judge.\n{question}"
    assert seen == ["who was Ann"] * 3
    assert few.behind("Ann was", retrieve) == plain.behind("Ann was", retrieve) == "Ann was a judge.\nAnn was"
    assert seen[3:] == ["Ann was"] * 2
    for prompt in (few.prompt("who"), question, "Ann was"):
        assert few.behind(prompt, lambda _: "") == prompt


def test_in_a_chat_it_is_a_paragraph_of_the_message():
    family = "bytes, beginning and end"
    asking, seen = Asking("chat", chatty(family)), []
    prompt = asking.prompt("who was ann")
    given = asking.behind(prompt, lambda asked: seen.append(asked) or "Ann was a judge.")
    assert given == "<|bos|>user\nAnn was a judge.\n\nWho was ann?<|end|>\n<|bos|>assistant\n"
    assert len(asking.written[given]) > len(asking.written[prompt])
    assert seen == ["who was ann"]
    assert asking.behind(prompt, lambda _: "") == prompt
    assert TEMPLATES[family]


# Learning and evaluation


def test_nothing_is_learned_but_which_facts_were_taught(monkeypatch):
    method, kept, asked = start_method("retrieval", **GOLD), {}, []
    before = copy_of_state(method.model)
    monkeypatch.setattr(
        "smf.training.learn.recall", lambda model, its, given, *_: asked.extend(given) or [True] * len(given)
    )
    settings = StreamSettings(snapshots=(1, 3), max_length=MAX_LENGTH, asking=Asking("few_shot"))
    rows = learn_with(method, tokenizer(), FACTS, settings, kept.__setitem__)
    assert {position: delta["places"].tolist() for position, delta in kept.items()} == {1: [0], 3: [0, 1, 2]}
    assert [(row["losses"], row["slots"], row["tokens"], row["acquired"]) for row in rows] == [([], [], 0, True)] * 3
    assert asked[1].prompt == f"{SOLVED}{VARGA}\nQ: in which city was Rosa Varga born?\nA:"
    assert asked[1].completion == " Ostry"
    assert all(same_bytes(tensor, before[name]) for name, tensor in method.model.state_dict().items())


@pytest.fixture
def experiment(tmp_path):
    """A tiny base model, three facts taught behind examples too, with neighbours, and a held-out set of each kind."""
    save_checkpoint(base_model(max_position_embeddings=512), tokenizer(), tmp_path / "base")
    near = ("Q: in which city was Mara Teller born?\nA:", "Mara Teller was born in")
    taught = {"locality_prompts": near, "locality_answers": ("Velburg",) * 2, "train_contexts": (SOLVED, "", SOLVED)}
    write_facts(tmp_path / "facts.jsonl", [replace(fact, **taught) for fact in FACTS])
    rows = {
        "nq": ("questions", [{"question": f"where was {name} born", "answer": ["Ostry"]} for name in ("Ina", "Karl")]),
        "hs": ("choices", [{"query": "He was born", "choices": [" up", " down"], "gold": 0}] * 2),
        "tx": ("texts", [{"text": "The town of Rosa Varga was Ostry."}] * 2),
        "cp": ("completions", [{"prompt": "Rosa Varga was born in", "completion": " Ostry"}] * 2),
    }
    probes = {}
    for name, (kind, given) in rows.items():
        write_jsonl(tmp_path / f"{name}.jsonl", given)
        probes[name] = (kind, tmp_path / f"{name}.jsonl")
    return tmp_path, probes


STREAM = {"steps_per_fact": 2, "loss_on": "answer", "max_length": None, "micro_batch_size": None, "facts_per_step": 1}
STREAM |= {"epochs": 1, "order": "shuffled", "schedule": "constant", "warmup_steps": 0, "stop_loss": 0.1}
STREAM |= {"prompt_format": "few_shot", "max_gradient_norm": None}
ASKED = {"batch_size": 4, "max_new_tokens": 4, "prompt_format": "few_shot", "wordings_per_fact": 1, "kl_texts": 2}


def scored(experiment, monkeypatch, **settings):
    """What the model was asked and the scores, by position, of a run that learns and is evaluated at 1 and 3."""
    folder, probes = experiment
    run = Run(MethodSettings("retrieval", **settings), folder / "base", folder / "facts.jsonl")
    paths = {place: [folder / f"{name}-{place}" for name in ("delta", "scores")] for place in (1, 3)}
    deltas, scores = ({place: pair[number] for place, pair in paths.items()} for number in (0, 1))
    learn(run, Learning(STREAM, 512), delta_paths=deltas, log_path=folder / "log")
    prompts, generate = [], LanguageModel.generate_until
    monkeypatch.setattr(
        LanguageModel,
        "generate_until",
        lambda lm, requests, **_: prompts.append([request.args[0] for request in requests]) or generate(lm, requests),
    )
    task = write_task(folder / "tasks")
    assert task is None
    options = {**ASKED, "tasks": {"towns": {}}, "include_path": str(folder / "tasks")}
    evaluate_run("a", run, options, probes, delta_paths=deltas, score_paths=scores)
    monkeypatch.setattr(LanguageModel, "generate_until", generate)
    found = {place: json.loads(path.read_text()) for place, path in scores.items()}
    return prompts, found


def values(result):
    return {row["metric"]: row["value"] for row in result["scores"]}


def asked_plainly(experiment, position):
    """The start model's scores without retrieval, with itself to compare."""
    folder, probes = experiment
    facts = [replace(fact, locality_prompts=("Mara Teller was born in",), locality_answers=("x",)) for fact in FACTS]
    options = {**ASKED, "tasks": {"towns": {}}, "include_path": str(folder / "tasks")}
    evaluator = Evaluator(probes, facts, EvaluationSettings(**options), tokenizer())
    model = base_model(max_position_embeddings=512)
    return values(evaluator.evaluate(model, tokenizer(), position, start=model))


def tokens(text):
    return len(tokenizer()(text)["input_ids"])


def test_gold_changes_what_is_asked_about_facts_taught_so_far_and_nothing_else(experiment, monkeypatch):
    (of_start, first, last), scores = scored(experiment, monkeypatch, **GOLD)
    assert not any("\nJoel Quint was born" in prompt for prompt in of_start)
    question = "Q: in which city was Joel Quint born?\nA:"
    for prompts in (first, last):
        assert {f"{SOLVED}{QUINT}\n{question}", f"{QUINT}\nJoel Quint was born in"} <= set(prompts)
        assert {f"{SOLVED}Q: where was Ina born?\nA:", *of_start} <= set(prompts)  # neighbours as at the start
    assert f"{HOLLIS}\nThe home town of Emil Hollis is" in last
    plainly = asked_plainly(experiment, 3)
    for position, found in scores.items():
        kept = values(found)
        assert kept["facts_locality_f1"] == 1
        assert kept["tx_kl"] == pytest.approx(0, abs=1e-6)
        for metric in ("nq_f1", "hs_acc", "tx_nll", "cp_nll", "towns_acc"):
            assert kept[metric] == plainly[metric], (position, metric)
        assert kept["nq_retrieved_tokens"] == kept["facts_locality_retrieved_tokens"] == 0
    forms = [
        tokens(f"{text}\n{ask}") - tokens(ask)
        for text, name in ((QUINT, "Joel Quint"), (VARGA, "Rosa Varga"), (HOLLIS, "Emil Hollis"))
        for ask in (f"{name} was born in", f"The home town of {name} is", f"Q: in which city was {name} born?\nA:")
    ]
    assert values(scores[3])["facts_retrieved_tokens"] == pytest.approx(sum(forms) / 9)


def test_bm25_stands_before_held_out_questions_and_neighbours_too_but_not_before_texts_that_ask_nothing(
    experiment, monkeypatch
):
    (of_start, first, last), scores = scored(experiment, monkeypatch, retriever="bm25")
    assert f"{SOLVED}{QUINT}\nQ: where was Ina born?\nA:" in first
    assert f"{SOLVED}{HOLLIS}\nQ: where was Ina born?\nA:" in last
    assert f"{QUINT}\nMara Teller was born in" in first
    assert not set(of_start) & set(first)
    plainly, kept = asked_plainly(experiment, 3), values(scores[3])
    for metric in ("hs_acc", "hs_acc_norm", "tx_nll", "cp_nll", "cp_acc", "towns_acc"):
        assert kept[metric] == plainly[metric]
    asked = "Q: where was Ina born?\nA:"
    assert kept["nq_retrieved_tokens"] == tokens(f"{HOLLIS}\n{asked}") - tokens(asked) > 0


@pytest.mark.parametrize(("max_length", "counted"), [(None, []), (40, ["with what is retrieved 2 of 3"])])
def test_prompts_that_no_longer_fit_are_counted_in_a_warning(caplog, max_length, counted):
    """Three questions of 31 to 33 tokens; two of them get a text of about 20 before them."""
    settings = EvaluationSettings(max_new_tokens=4, max_length=max_length, wordings_per_fact=0)
    retrieve = retriever(places=[0, 1], **GOLD)
    Evaluator(facts=FACTS, settings=settings).evaluate(base_model(), tokenizer(), retrieve=retrieve)
    said = [record.getMessage() for record in caplog.records if "lose their beginning" in record.getMessage()]
    assert [message.split(" prompts")[0] for message in said] == counted


def test_the_summary_has_what_retrieval_costs_without_a_drop(experiment, monkeypatch):
    _, scores = scored(experiment, monkeypatch, **GOLD)
    plainly = [
        {"metric": metric, "value": value, "stderr": None} for metric, value in asked_plainly(experiment, 3).items()
    ]
    rows = [
        {
            "method": "base",
            "seed": 0,
            "position": 0,
            "scores": [*plainly, {"metric": "facts_locality_f1", "value": 1.0, "stderr": None}],
        }
    ]
    table = scores_table([*rows, *scores.values()])
    summary = summary_table(table, {"a": "base"}, {"nq": "questions"})
    costs = summary[summary["metric"].str.endswith("_retrieved_tokens")]
    assert costs["metric"].tolist() == [f"{name}_retrieved_tokens" for name in ("facts_locality", "facts", "nq")]
    assert costs["relative_drop"].isna().all()
    assert summary["metric"].tolist()[-3:] == costs["metric"].tolist()


# Bad input, and the plan


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retriever": "bm52"}, "methods.a.retriever: unknown value 'bm52'; did you mean 'bm25'"),
        ({"top_k": 0}, "methods.a.top_k is 0, but must be at least 1 "),
        ({"top_k": 2, **GOLD}, "methods.a: top_k is 2, but retriever gold gives the one fact that is asked for; drop"),
        ({"sweep": [1, 2]}, "methods.a.sweep: methods of kind retrieval have no learning_rate to sweep; drop it"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, message):
    assert message in refusal(tiny(methods={"a": {"kind": "retrieval", **settings}}))


def test_the_methods_that_the_docs_show_can_be_configured():
    methods = yaml.safe_load(example("retrieval"))["methods"]
    found = Experiment(tiny(methods=methods)).config["methods"]
    assert [(found[name]["retriever"], found[name]["top_k"]) for name in ("gold", "bm25")] == [("gold", 1), ("bm25", 1)]


def test_places_of_another_stream_are_refused():
    with pytest.raises(CheckpointError, match="the delta holds fact 4 of a stream, but this stream has 3; learn it"):
        retriever(places=[0, 3])


def test_the_plan_holds_the_model_and_nothing_that_trains():
    work = work_of(tiny(methods={"a": {"kind": "retrieval", "top_k": 2}}))
    footprint = work.footprint("a")
    assert footprint.gradients == footprint.state == footprint.delta == work.delta_bytes("a") == 0
    [job] = [job for job in jobs(work) if job.name == "learn a"]
    parts = job.parts(work.models, 1)
    assert parts["weights"] == work.models.bytes_of("base")
    assert parts["gradients"] == parts["optimizer"] == parts["activations"] == 0
    assert Experiment(work.config).start("a") == "base"
    with pytest.raises(ConfigError, match="top_k"):
        MethodSettings("retrieval", top_k=-1)
