"""SuRe: which sequences are replayed, what a step minimizes, and what the slow adapter is."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import yaml

from smf.config.experiment import Experiment
from smf.methods.surprise_buffer import Surprise, SurpriseBuffer, batch_of, sequences_of
from smf.streams.batches import IGNORED
from smf.streams.fact_batches import facts_batch
from smf.training.learn import StreamSettings, learn_with
from tests.helpers import FACTS, MAX_LENGTH, base_model, same_bytes, start_method, tokenizer
from tests.pages import example
from tests.unit.test_experiment import tiny

JOEL, ROSA, EMIL = FACTS
MOVED = replace(JOEL, fact_id="joel-moved", answers=("Melvik",), replaces="joel-quint")
SGD = {"optimizer": "sgd", "learning_rate": 0.01, "rank": 4}


def facts(*some):
    return facts_batch(tokenizer(), some, loss_on="answer", max_length=MAX_LENGTH)


def surprise_of(model, ids, labels):
    """Token by token, of one sequence without padding."""
    with torch.no_grad():
        logits_TV = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    found = [-float(logits_TV[place - 1, label]) for place, label in enumerate(labels) if place and label != IGNORED]
    return sum(found) / len(found)


def rows_of(batch):
    lengths = batch.attention_mask_BT.sum(1).tolist()
    return [
        (tuple(ids[:length]), tuple(labels[:length]))
        for ids, labels, length in zip(batch.input_ids_BT.tolist(), batch.labels_BT.tolist(), lengths, strict=True)
    ]


def test_the_most_surprising_sequences_of_earlier_facts_are_kept_with_the_surprise_of_their_arrival():
    method, expected = start_method("surprise_replay", buffer_size=4, **SGD), []
    for number, fact in enumerate(FACTS, start=1):
        batch = facts(fact)
        found = [(surprise_of(method.model, *row), row) for row in rows_of(batch)]
        for _ in range(3):
            method.step(batch)
        if number < len(FACTS):  # those of the batch at hand are not replayed
            expected += found
    expected = sorted(expected, key=lambda pair: -pair[0])[:4]
    assert len(expected) == 4 < 6
    assert [(each.ids, each.labels) for each in method._buffer.held] == [row for _, row in expected]
    for each, (nats, _) in zip(method._buffer.held, expected, strict=True):
        assert each.nats == pytest.approx(nats, rel=1e-4)


@pytest.mark.parametrize("micro_batch_size", [None, 2])
def test_a_step_goes_down_the_loss_of_the_facts_and_the_weighted_loss_of_the_replayed(micro_batch_size):
    share = 0.75
    method = start_method("surprise_replay", model=base_model().double(), replay_share=share, buffer_size=2, **SGD)
    method.micro_batch_size = micro_batch_size
    method.step(facts(JOEL))
    batch = facts(ROSA)
    for number in range(2):
        trained = {name: weight for name, weight in method.model.named_parameters() if weight.requires_grad}
        before = {name: weight.detach().clone() for name, weight in trained.items()}
        method.model.zero_grad()
        if number:
            old = batch_of(method._buffer.held)
        else:  # the first step on a batch fills the buffer: both sequences come from the first fact
            nats = [surprise_of(start_model(), *row) for row in rows_of(facts(JOEL))]
            best = sorted(zip(nats, rows_of(facts(JOEL)), strict=True), key=lambda pair: -pair[0])[:2]
            old = batch_of([Surprise(*row, nats) for nats, row in best])
        total = 0
        for each, weight in ((batch, 1), (old, share / (1 - share))):
            logits_BTV = method.model(input_ids=each.input_ids_BT, attention_mask=each.attention_mask_BT).logits
            total = total + weight * F.cross_entropy(
                logits_BTV[:, :-1].flatten(0, 1), each.labels_BT[:, 1:].flatten(), ignore_index=IGNORED
            )
        expected = dict(zip(trained, torch.autograd.grad(total, list(trained.values())), strict=True))
        report = method.step(batch)
        read = batch.num_tokens * (1 if number else 2)  # the first time also to see how surprising they are
        assert report.num_tokens == read + old.num_tokens
        for name, weight in trained.items():
            torch.testing.assert_close(weight.detach(), before[name] - 0.01 * expected[name], rtol=1e-6, atol=1e-9)


def start_model():
    return base_model().double()


def test_nothing_is_replayed_with_the_first_facts():
    plain, method = start_method("lora", **SGD), start_method("surprise_replay", **SGD)
    for weight, other in zip(method._trained, plain._trained, strict=True):
        weight.data.copy_(other)
    for _ in range(2):
        batch = facts(JOEL)
        assert same_bytes(method.step(batch).loss, plain.step(batch).loss)
        method._arrived = []
    for name, tensor in plain.delta().items():
        assert same_bytes(method.delta()[name], tensor)


def test_what_was_learned_is_the_average_of_the_fast_adapters_while_the_fast_one_goes_on():
    slow, fast = (start_method("surprise_replay", slow_decay=decay, **SGD) for decay in (0.75, 0.0))
    average = slow.delta()
    for fact in FACTS:
        for method in (slow, fast):
            method.step(facts(fact))
        learned = fast.delta()
        average = {name: 0.75 * average[name] + 0.25 * learned[name] for name in average}
        for name, tensor in slow.delta().items():
            torch.testing.assert_close(tensor, average[name])
        assert any(not torch.equal(tensor, learned[name]) for name, tensor in slow.delta().items())
        for weight, other in zip(slow._trained, fast._trained, strict=True):
            assert same_bytes(weight.detach(), other.detach())


def test_a_fact_that_was_replaced_is_not_replayed_any_more():
    method = start_method("surprise_replay", **SGD)
    settings = StreamSettings(steps_per_fact=1, loss_on="answer", snapshots=(), max_length=MAX_LENGTH)
    learn_with(method, tokenizer(), [JOEL, ROSA, MOVED, EMIL], settings, lambda *_: None)
    assert {each.place for each in method._buffer.held} == {1, 2}
    without = start_method("surprise_replay", **SGD)
    learn_with(without, tokenizer(), [JOEL, ROSA, replace(MOVED, replaces=""), EMIL], settings, lambda *_: None)
    assert {each.place for each in without._buffer.held} == {0, 1, 2}


def test_a_buffer_comes_back_from_its_state_and_an_empty_one_too():
    batch, again = facts(JOEL, ROSA), SurpriseBuffer(9)
    buffer = SurpriseBuffer(9)
    again.load_state_dict(buffer.state_dict())
    assert again.held == []
    buffer.add(sequences_of(batch, [0.5 * row for row in range(len(batch.input_ids_BT))], (7, 8)))
    again.load_state_dict(buffer.state_dict())
    assert again.held == buffer.held
    assert [each.place for each in again.held] == sorted([7, 8] * (len(again.held) // 2), reverse=True)


def test_the_example_of_the_page_is_a_method():
    found = Experiment(tiny(methods=yaml.safe_load(example("surprise"))["methods"])).config["methods"]["sure"]
    assert (found["kind"], found["buffer_size"], found["slow_decay"]) == ("surprise_replay", 100, 0.99)
