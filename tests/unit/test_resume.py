"""Work that was interrupted and goes on from its resume state gives the same bits as work that never was."""

import itertools
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from smf.errors import CheckpointError, DataError
from smf.files.artifacts import write_json
from smf.files.model_shape import BaseShape
from smf.files.resume import NO_RESUME, Resume, Tape
from smf.files.tensors import read_tensors, write_tensors
from smf.methods.registry import method_kinds
from smf.models.checkpoint import save_checkpoint
from smf.selection.background import count_background
from smf.stages.learn import Learning, Run, learn, write_snapshot
from smf.streams.batches import batches
from smf.streams.facts import write_facts
from smf.training.heal import HealingSettings, heal
from smf.training.learn import StreamSettings, learn_with
from smf.training.loop import TrainingSettings
from smf.training.pretrain import pretrain
from tests.helpers import (
    BACKGROUND,
    FACTS,
    MAX_LENGTH,
    background_batches,
    copy_of_state,
    encoded_text,
    memory_model,
    method_settings,
    same_bytes,
    start_method,
    tokenizer,
)


class Killed(Exception):
    """Stands for a kill signal: nothing of the process goes on."""


class KilledAfter(Resume):
    """Keeps every state and dies right after one of them is written."""

    def __init__(self, folder, number, key="a"):
        super().__init__(folder, key, 0.0)
        self._left = number

    def save(self, name, tensors, values):
        super().save(name, tensors, values)
        self._left -= 1
        if self._left == 0:
            raise Killed


def killed_and_resumed(folder, work, number):
    """What ``work`` gives in the process that goes on after a kill."""
    with pytest.raises(Killed):
        work(KilledAfter(folder, number))
    return work(Resume(folder, "a", 0.0))


def same_tensors(first, second):
    return first.keys() == second.keys() and all(same_bytes(first[name], second[name]) for name in first)


@pytest.mark.parametrize("number", [1, 4, 8])
def test_pretraining(tmp_path, number):
    shape = BaseShape(
        vocab_size=300,
        hidden_size=32,
        num_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        head_dim=8,
    )
    settings = TrainingSettings(num_steps=8, batch_size=3, learning_rate=0.01, weight_decay=0.1)

    def work(resume):
        model, _, report = pretrain(BACKGROUND, shape, settings, max_length=MAX_LENGTH, device="cpu", resume=resume)
        return copy_of_state(model), report

    state, report = killed_and_resumed(tmp_path, work, number)
    expected, expected_report = work(NO_RESUME)
    assert same_tensors(state, expected)
    assert report == expected_report


@pytest.mark.parametrize("objective", ["language_model", "distillation"])
@pytest.mark.parametrize("number", [1, 3, 4, 5, 6])
def test_healing(tmp_path, objective, number):
    from smf.models.base_networks import feed_forward_networks
    from smf.models.retrofit import retrofit
    from tests.helpers import base_model, memory_settings

    settings = HealingSettings(
        num_steps=6, batch_size=3, learning_rate=0.01, objective=objective, probe_batches=2, distillation_share=0.5
    )

    def work(resume):
        base = base_model()
        networks = feed_forward_networks(base, [1])
        model = retrofit(base, memory_settings(layers=(1,), mode="replace"), 0)
        report = heal(
            model,
            networks,
            encoded_text(),
            settings,
            pad_token_id=tokenizer().pad_token_id,
            calibrate=True,
            resume=resume,
        )
        return copy_of_state(model), json.dumps(report)

    state, report = killed_and_resumed(tmp_path, work, number)
    expected, expected_report = work(NO_RESUME)
    assert same_tensors(state, expected)
    assert report == expected_report


@pytest.mark.parametrize("number", [1, 3, 6])
def test_background_counts(tmp_path, number):
    model = memory_model()

    def work(resume):
        counts = count_background(model, background_batches(6), document="batch", provenance={"a": 1}, resume=resume)
        counts.save(tmp_path / "counts.safetensors")
        return (tmp_path / "counts.safetensors").read_bytes()

    assert killed_and_resumed(tmp_path / "resume", work, number) == work(NO_RESUME)


LEARNING = {
    "full": {"learning_rate": 0.003},
    "lora": {"learning_rate": 0.03, "rank": 4, "dropout": 0.3},
    "smf": {"learning_rate": 3.0, "top_t": 6, "selector": "random", "optimizer": "adamw"},
    "full_replay": {"learning_rate": 0.003},
    "lora_replay": {"learning_rate": 0.03, "rank": 4},
    "smf_replay": {"learning_rate": 3.0, "top_t": 6, "damping": 0.1, "past_weight": 0.1, "past_writes": 1.0},
    "ewc": {"learning_rate": 0.003, "fisher_sequences": 3},
    "self_distillation": {"learning_rate": 0.003},
    "lora_self_distillation": {"learning_rate": 0.03, "rank": 4},
    "osf": {"learning_rate": 0.003},
    "memory_dense": {"learning_rate": 0.003, "optimizer": "sgd", "momentum": 0.9},
    "peft": {"learning_rate": 0.03, "peft_config": {"r": 4, "lora_dropout": 0.3, "use_dora": True}},
    "sparse": {"learning_rate": 0.01, "top_t": 6, "selector": "random", "optimizer": "adamw"},
    "surprise_replay": {"learning_rate": 0.03, "rank": 4, "dropout": 0.3, "buffer_size": 5, "slow_decay": 0.5},
    "memit": {"blocks": [0, 1], "covariance_sequences": 12, "projection": "null_space", "null_space_threshold": 0.5},
    "ultraedit": {"learning_rate": 0.001, "blocks": [1, 2]},
    "retrieval": {},
}


@pytest.mark.parametrize("kind", method_kinds())
@pytest.mark.parametrize("number", [1, 2, 5])
def test_every_method_learns_its_stream(tmp_path, kind, number):
    settings = StreamSettings(
        steps_per_fact=2,
        loss_on="answer",
        snapshots=(2, 3),
        max_length=MAX_LENGTH,
        epochs=1,
        schedule="cosine",
        max_gradient_norm=1.0,
    )
    if number > len(FACTS):  # more states than one epoch has
        settings = StreamSettings(
            steps_per_fact=2, loss_on="answer", snapshots=(), max_length=MAX_LENGTH, epochs=2, seed=3
        )

    def work(resume):
        method, kept = start_method(kind, **LEARNING[kind]), {}
        rows = learn_with(method, tokenizer(), FACTS, settings, kept.__setitem__, resume)
        for row in rows:
            row["seconds"] = None
        history = method.history()
        return method.delta(), json.dumps(rows), {} if history is None else history[0], history and history[1]

    delta, rows, history, lessons = killed_and_resumed(tmp_path, work, number)
    expected_delta, expected_rows, expected_history, expected_lessons = work(NO_RESUME)
    assert same_tensors(delta, expected_delta)
    assert rows == expected_rows
    assert same_tensors(history, expected_history)
    assert lessons == expected_lessons


def test_every_kind_is_tried_here():
    assert LEARNING.keys() == set(method_kinds())


@pytest.mark.parametrize("number", [1, 2, 4, 25])  # the last divergences are kept by the 24th to the 29th
def test_questions_that_were_asked_are_not_asked_again(tmp_path, number):
    from smf.evaluation.harness import EvaluationSettings, Evaluator
    from smf.files.artifacts import write_jsonl

    write_jsonl(
        tmp_path / "nq.jsonl", [{"question": f"where is number {place}", "answer": ["Ostry"]} for place in range(6)]
    )
    write_jsonl(
        tmp_path / "hs.jsonl",
        [{"query": f"He goes {place}", "choices": [" up", " down", " away"], "gold": 0} for place in range(6)],
    )
    write_jsonl(tmp_path / "tx.jsonl", [{"text": f"The town of number {place} is Ostry."} for place in range(6)])
    probes = {"nq": ("questions", tmp_path / "nq.jsonl"), "hs": ("choices", tmp_path / "hs.jsonl")}
    probes["tx"] = ("texts", tmp_path / "tx.jsonl")
    compared = {"kl_texts": 6, "kl_facts": {"num_facts": 2, "loss_on": "answer", "max_length": MAX_LENGTH}}
    model, start, passes = memory_model(), memory_model(seed=1), []
    for each in (model, start):
        each.register_forward_hook(lambda *_: passes.append(1))

    def work(resume):
        evaluator = Evaluator(probes, FACTS, EvaluationSettings(batch_size=2, max_new_tokens=4, **compared))
        return json.dumps(evaluator.evaluate(model, tokenizer(), 2, Tape(resume), start))

    found = killed_and_resumed(tmp_path / "resume", work, number)
    passes.clear()
    again = work(Resume(tmp_path / "resume", "a", 0.0))
    assert not passes  # all of it was on the tape
    assert found == again == work(NO_RESUME)
    assert passes


def test_state_is_kept_at_the_interval_and_longer_where_writing_takes_long(tmp_path):
    now = [0.0]
    resume = Resume(tmp_path, "a", 10.0, clock=lambda: now[0])

    def slow_write(*arguments):
        now[0] += 3.0

    assert not resume.due()
    now[0] = 4.0
    assert not resume.due()
    now[0] = 6.5
    assert resume.due()  # the next chance may come four seconds later
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smf.files.resume.write_tensors", slow_write)
        resume.save("x", {}, {})
    now[0] += 149.0
    assert not resume.due()
    now[0] += 2.0
    assert resume.due()  # 3 s are 2 % of 150 s


def test_state_of_other_settings_is_left_alone(tmp_path):
    folder = tmp_path / "resume" / "learn" / "job"
    Resume(folder, "a").save("x", {"t": torch.ones(2)}, {"n": 1})
    assert Resume(folder, "b").load("x") is None
    tensors, values = Resume(folder, "a").load("x")
    assert values == {"n": 1}
    assert same_bytes(tensors["t"], torch.ones(2))
    shutil.copytree(Resume(folder, "a").path("x").parent, Resume(folder, "c").path("x").parent)
    assert Resume(folder, "c").load("x") is None  # put there by hand


def test_results_that_wait_are_found_by_the_same_job_only_and_go_with_the_state_of_others(tmp_path):
    other, mine = Resume(tmp_path, "a"), Resume(tmp_path, "b")
    write_json(other.path("position-1", ".json"), {"of": "a"})
    assert not mine.path("position-1", ".json").exists()
    assert mine.load("learned") is None
    assert other.path("position-1", ".json").exists()  # someone may go back to those settings
    mine.save("learned", {}, {})
    assert not other.path("position-1", ".json").exists()
    assert Resume(tmp_path, "b").load("learned")[1] == {}


@pytest.fixture
def learn_run(tmp_path):
    """Runs the stage that learns a stream into a folder of that name; returns its two snapshots."""
    save_checkpoint(memory_model(), tokenizer(), tmp_path / "start")
    write_facts(tmp_path / "facts.jsonl", FACTS)
    settings = method_settings("full")
    stream = {"steps_per_fact": 1, "loss_on": "answer", "max_length": None, "micro_batch_size": None}
    stream |= {
        "facts_per_step": 1,
        "epochs": 1,
        "order": "shuffled",
        "schedule": "constant",
        "warmup_steps": 0,
        "stop_loss": None,
        "prompt_format": "plain",
    }

    def run(out, resume, rate=0.001):
        learn(
            Run({**settings, "kind": "full", "learning_rate": rate}, tmp_path / "start", tmp_path / "facts.jsonl"),
            Learning({**stream, "max_gradient_norm": None}, MAX_LENGTH),
            delta_paths={position: tmp_path / out / f"{position}.safetensors" for position in (1, 3)},
            log_path=tmp_path / out / "facts.jsonl",
            resume=resume,
        )
        return [(tmp_path / out / f"{position}.safetensors").read_bytes() for position in (1, 3)]

    return run


def test_a_run_publishes_no_snapshot_of_settings_that_were_left_and_taken_up_again(tmp_path, learn_run):
    expected = learn_run("alone", NO_RESUME)
    with pytest.raises(Killed):
        learn_run("first", KilledAfter(tmp_path / "resume", 2, "a"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smf.stages.learn.write_snapshot", die_after(write_snapshot))
        with pytest.raises(Killed):
            learn_run("other", Resume(tmp_path / "resume", "b", 300.0), 0.1)
    assert learn_run("again", Resume(tmp_path / "resume", "a", 0.0)) == expected


def test_a_stream_with_a_fact_that_cannot_be_learned_begins_with_none():
    method = start_method("full", learning_rate=0.003)
    method.step = lambda batch: pytest.fail("work began")
    late = replace(FACTS[2], question="why " * MAX_LENGTH)
    settings = StreamSettings(steps_per_fact=1, loss_on="answer", snapshots=(3,), max_length=MAX_LENGTH)
    with pytest.raises(DataError, match=f"fact {late.fact_id!r}: "):
        learn_with(method, tokenizer(), [*FACTS[:2], late], settings, lambda *_: None)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-3])])
def test_a_stream_whose_snapshot_is_gone_is_learned_anew_and_not_gone_on_with(tmp_path, damage):
    method = partial(start_method, "full", learning_rate=0.003)
    settings = StreamSettings(steps_per_fact=1, loss_on="answer", snapshots=(1, 3), max_length=MAX_LENGTH)

    def work(resume):
        def keep(position, delta):
            write_tensors(tmp_path / f"{position}.safetensors", delta, {})

        def is_kept(position):
            try:
                read_tensors(tmp_path / f"{position}.safetensors")
            except CheckpointError:
                return False
            return True

        learn_with(method(), tokenizer(), FACTS, settings, keep, resume, is_kept)
        return [(tmp_path / f"{position}.safetensors").read_bytes() for position in (1, 3)]

    with pytest.raises(Killed):
        work(KilledAfter(tmp_path / "resume", 2))
    damage(tmp_path / "1.safetensors")
    assert work(Resume(tmp_path / "resume", "a", 0.0)) == work(NO_RESUME)


@pytest.mark.parametrize("gone", [("position-1",), ("position-3",), ("position-1", "learned"), ("learned", "stream")])
def test_a_run_whose_resume_folder_lost_some_files_still_ends_with_the_same_bytes(tmp_path, learn_run, gone):
    expected = learn_run("alone", NO_RESUME)
    resume = Resume(tmp_path / "resume", "a", 0.0)
    learn_run("first", resume)
    for name in gone:
        resume.path(name).unlink()
    assert learn_run("again", Resume(tmp_path / "resume", "a", 0.0)) == expected


def die_after(work):
    """A call that does its work, the last that its process did."""

    def call(*arguments):
        work(*arguments)
        raise Killed

    return call


@pytest.mark.parametrize("place", [-3, 100])
def test_damaged_state_with_flipped_bytes_starts_over(tmp_path, caplog, place):
    resume = Resume(tmp_path, "a")
    resume.save("x", {"t": torch.ones(2)}, {"n": 1})
    content = bytearray(resume.path("x").read_bytes())
    content[place] ^= 0x10
    resume.path("x").write_bytes(content)
    assert resume.load("x") is None
    assert "the job starts over" in caplog.text


def test_damaged_state_costs_time_and_nothing_else(tmp_path, caplog):
    resume = Resume(tmp_path, "a")
    resume.save("x", {"t": torch.ones(2)}, {})
    resume.path("x").write_bytes(resume.path("x").read_bytes()[:-3])
    assert resume.load("x") is None
    assert "the job starts over" in caplog.text


def test_without_a_folder_nothing_is_kept():
    assert not NO_RESUME.due()
    NO_RESUME.save("x", {}, {})
    assert NO_RESUME.load("x") is None
    with pytest.raises(ValueError, match="keeps nothing"):
        NO_RESUME.path("x")


def test_an_interrupted_schedule_goes_on_at_its_rate(tmp_path):
    """The rate of each step, as AdamW sees it."""
    from smf.training.loop import train

    settings = TrainingSettings(num_steps=10, batch_size=2, learning_rate=0.5)
    rates = []

    def work(resume):
        from tests.helpers import base_model

        model = base_model()
        rates.clear()
        real = torch.optim.AdamW.step

        def step(self, *arguments, **options):
            rates.append(self.param_groups[0]["lr"])
            return real(self, *arguments, **options)

        stream = batches(encoded_text(), batch_size=2, num_batches=10, pad_token_id=0, seed=0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", step)
            train(model, list(model.parameters()), stream, settings, "work", lambda m, b: loss_of(m), resume)
        return list(rates)

    def loss_of(model):
        return sum((parameter**2).sum() for parameter in model.parameters() if isinstance(parameter, nn.Parameter))

    assert killed_and_resumed(tmp_path, work, 4) == work(NO_RESUME)[4:]


def test_passing_over_texts_is_as_drawing_them():
    from tests.helpers import texts

    for number in itertools.chain(range(4), (17, 40)):
        drawn, passed = texts(), texts()
        for _ in range(number):
            drawn.draw(1)
        passed.pass_over(number)
        assert torch.equal(drawn.draw(3).input_ids_BT, passed.draw(3).input_ids_BT)
        assert drawn.num_drawn == passed.num_drawn


def test_a_state_without_its_journal_is_refused():
    method = start_method("smf", learning_rate=1.0)
    state = {name: tensor for name, tensor in method.state_dict().items() if not name.startswith("journal")}
    with pytest.raises(CheckpointError, match="holds no journal"):
        method.load_state_dict(state, method.delta())
