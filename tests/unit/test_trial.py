"""A trial is learning and evaluation in one process, and evaluation needs nothing of what learning takes."""

import json
from dataclasses import replace

import pytest

import smf.stages.run
from smf.evaluation.harness import Evaluator
from smf.files.resume import NO_RESUME, Resume
from smf.methods.settings import MethodSettings
from smf.models.checkpoint import save_checkpoint
from smf.stages.evaluate import evaluate_run
from smf.stages.learn import Learning, Run, learn
from smf.stages.trial import learn_and_score
from smf.streams.facts import write_facts
from tests.helpers import FACTS, MAX_LENGTH, base_model, tokenizer, write_results

METHODS = {
    "smf": MethodSettings("smf", top_t=8, learning_rate=3.0),
    "lora": MethodSettings("lora", rank=4, learning_rate=0.03),
    "osf": MethodSettings("osf", learning_rate=0.003),
    "retrieval": MethodSettings("retrieval", retriever="gold"),
}
STREAM = {"steps_per_fact": 1, "loss_on": "answer", "max_length": None, "micro_batch_size": None, "facts_per_step": 1}
STREAM |= {"epochs": 1, "order": "shuffled", "schedule": "constant", "warmup_steps": 0, "stop_loss": None}
LEARNING = Learning({**STREAM, "prompt_format": "plain", "max_gradient_norm": None}, MAX_LENGTH)
ASKED = {"batch_size": 4, "max_new_tokens": 4}


@pytest.fixture
def run_of(tmp_path):
    """The run of a kind of method, on a tiny model that it starts from and three facts with a neighbour each."""
    results = write_results(tmp_path / "results")
    save_checkpoint(base_model(), tokenizer(), tmp_path / "base")
    near = {"locality_prompts": ("Mara Teller was born in",), "locality_answers": ("Velburg",)}
    write_facts(tmp_path / "facts.jsonl", [replace(fact, **near) for fact in FACTS])

    def run_of(kind):
        healed = kind == "smf"
        start = results / "healed" if healed else tmp_path / "base"
        counts = results / "background/counts.safetensors" if healed else None
        return Run(METHODS[kind], start, tmp_path / "facts.jsonl", counts)

    return run_of


def tried(run, folder, resume=NO_RESUME, position=3, **evaluation):
    paths = {"log_path": folder / "log.jsonl", "score_path": folder / "scores.json"}
    learn_and_score("a", run, LEARNING, {**ASKED, **evaluation}, {}, position=position, **paths, resume=resume)
    return logged(folder / "log.jsonl"), (folder / "scores.json").read_bytes()


def logged(path):
    return [{**json.loads(line), "seconds": None} for line in path.read_text().splitlines()]


@pytest.mark.parametrize("kind", METHODS)
def test_a_trial_gives_what_learning_and_then_evaluating_without_counts_give(tmp_path, run_of, kind):
    run, asked = run_of(kind), {"kl_facts": {"num_facts": 3, "loss_on": "answer", "max_length": MAX_LENGTH}}
    learn(run, LEARNING, delta_paths={3: tmp_path / "delta"}, log_path=tmp_path / "facts")
    paths = {"delta_paths": {3: tmp_path / "delta"}, "score_paths": {3: tmp_path / "scores"}}
    evaluate_run("a", replace(run, counts_path=None), {**ASKED, **asked}, {}, **paths)
    log, scores = tried(run, tmp_path / "trial", **asked)
    assert log == logged(tmp_path / "facts")
    assert scores == (tmp_path / "scores").read_bytes()
    assert {"facts_locality_f1", "facts_kl"} <= {score["metric"] for score in json.loads(scores)["scores"]}


def test_a_trial_that_ends_early_is_the_snapshot_of_a_whole_stream(tmp_path, run_of):
    run, deltas = run_of("smf"), {2: tmp_path / "early", 3: tmp_path / "late"}
    learn(run, LEARNING, delta_paths=deltas, log_path=tmp_path / "facts")
    paths = {"delta_paths": {2: deltas[2]}, "score_paths": {2: tmp_path / "scores"}}
    evaluate_run("a", replace(run, counts_path=None), ASKED, {}, **paths)
    log, scores = tried(run, tmp_path / "trial", position=2)
    assert log == logged(tmp_path / "facts")[:2]
    assert scores == (tmp_path / "scores").read_bytes()


def test_a_trial_loads_and_hashes_the_model_once_and_writes_nothing_but_log_and_scores(tmp_path, run_of, monkeypatch):
    calls = []
    for name in ("load_model", "model_hash"):
        real = getattr(smf.stages.run, name)
        monkeypatch.setattr(smf.stages.run, name, lambda *a, n=name, f=real: calls.append(n) or f(*a))
    monkeypatch.setattr("smf.stages.trial.load_model", lambda *_: pytest.fail("loaded again"))
    tried(run_of("smf"), tmp_path / "trial", resume=Resume(tmp_path / "state", "a", 300.0))
    assert sorted(calls) == ["load_model", "model_hash"]
    assert sorted(path.name for path in (tmp_path / "trial").iterdir()) == ["log.jsonl", "scores.json"]
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("kind", ["smf", "lora", "retrieval"])
def test_a_trial_that_was_killed_while_it_asked_does_not_learn_again(tmp_path, run_of, monkeypatch, kind):
    run, state = run_of(kind), Resume(tmp_path / "state", "a")
    expected = tried(run, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "evaluate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tried(run, tmp_path / "killed", state)
    monkeypatch.setattr("smf.stages.run.learn_stream", lambda *_, **__: pytest.fail("learned again"))
    assert tried(run, tmp_path / "killed", state) == expected
