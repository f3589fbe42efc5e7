"""The trust region's past in a stream with updates: what a fact replaces leaves it when that fact is taught."""

from dataclasses import replace

import pytest
import torch

from smf.files.resume import NO_RESUME
from smf.selection.trust_region import TrustRegions
from smf.streams.fact_batches import facts_batch
from smf.training.learn import StreamSettings, learn_with
from tests.helpers import FACTS, MAX_LENGTH, same_bytes, start_method, tokenizer
from tests.unit.test_resume import killed_and_resumed, same_tensors

JOEL, ROSA, EMIL = FACTS
MOVED = replace(JOEL, fact_id="joel-moved", answers=("Melvik",), replaces="joel-quint")
BACK = replace(JOEL, fact_id="joel-back", answers=("the Ostry", "Ostry town"), replaces="joel-moved")


class Recorded(TrustRegions):
    """Trust regions that write down what each lesson reads, and the past while it is learned."""

    def begin_batch(self, places=()):
        super().begin_batch(places)
        self.lessons = [*getattr(self, "lessons", []), places]
        self.pasts = [*getattr(self, "pasts", []), {block: layer.past_S for block, layer in self.layers.items()}]

    def see(self, passes, facts=()):
        super().see(passes, facts)
        self.reads = {**getattr(self, "reads", {}), len(self.lessons) - 1: (passes, facts)}


def part_by_loops(region, block, reads, number, weight):
    """What one fact of a lesson adds to the past, token by token."""
    amounts, num_lookups = [0.0] * len(region.past_S), 0
    for (layers, mask_BT), fact_B in zip(*reads, strict=True):
        for row, column in mask_BT.nonzero().tolist():
            slots = layers[block].slot_indices_BTHK[row, column].flatten().tolist()
            weights = layers[block].weights_BTHK[row, column].flatten().tolist()
            num_lookups += len(slots)
            if fact_B[row] == number:
                for slot in set(slots):
                    amounts[slot] += sum(each for read, each in zip(slots, weights, strict=True) if read == slot) ** 2
    return torch.tensor(amounts, dtype=torch.double) * weight / num_lookups / region._mean


@pytest.mark.parametrize("micro_batch_size", [None, 2])
@pytest.mark.parametrize(("facts_per_step", "epochs"), [(1, 1), (2, 1), (1, 2)])
def test_the_past_of_a_stream_leaves_out_what_an_update_replaces(monkeypatch, facts_per_step, epochs, micro_batch_size):
    """In each lesson it is the sum, by plain loops, over the facts taught before but for those replaced by then."""
    monkeypatch.setattr("smf.selection.trust_region.TrustRegions", Recorded)
    stream = [JOEL, ROSA, EMIL, MOVED, replace(ROSA, fact_id="r", answers=("Velburg",), replaces="rosa-varga"), BACK]
    method = start_method("smf", selector="none", damping=0.2, past_weight=0.7, learning_rate=0.5)
    settings = StreamSettings(
        steps_per_fact=2,
        loss_on="answer",
        snapshots=(),
        max_length=MAX_LENGTH,
        facts_per_step=facts_per_step,
        epochs=epochs,
        reshuffle=False,
        micro_batch_size=micro_batch_size,
    )
    learn_with(method, tokenizer(), stream, settings, lambda *_: None)
    recorded, replaced = method._regions, {3: 0, 4: 1, 5: 3}
    assert len(recorded.lessons) == epochs * len(stream) / facts_per_step
    for block, region in recorded.layers.items():
        alive = {}
        for lesson, places in enumerate(recorded.lessons):
            for place in places:
                alive.pop(replaced.get(place), None)
            expected_S = sum(alive.values(), torch.zeros_like(region.past_S))
            torch.testing.assert_close(recorded.pasts[lesson][block], expected_S, rtol=1e-6, atol=1e-9)
            for number, place in enumerate(places):
                part_S = part_by_loops(region, block, recorded.reads[lesson], number, 0.7)
                assert part_S.sum() > 0
                alive[place] = alive.get(place, 0) + part_S


def test_a_stream_without_updates_keeps_nothing_for_them_and_ends_at_the_same_bits():
    settings = StreamSettings(steps_per_fact=2, loss_on="answer", snapshots=(), max_length=MAX_LENGTH)
    whole, plain = (start_method("smf", selector="none", damping=0.2, past_weight=1.0) for _ in range(2))
    learn_with(whole, tokenizer(), FACTS, settings, lambda *_: None)
    for fact in FACTS:  # by steps alone, which know of no stream
        batch = facts_batch(tokenizer(), [fact], loss_on="answer", max_length=MAX_LENGTH)
        plain.step(batch)
        plain.step(batch)
    assert {name for name in whole.state_dict() if name.startswith("past.")} == {
        f"past.{block}" for block in whole._regions.layers
    }
    for name, tensor in plain.state_dict().items():
        if name.startswith("past."):
            assert same_bytes(whole.state_dict()[name], tensor)
    for name, tensor in plain.delta().items():
        assert same_bytes(whole.delta()[name], tensor), name


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_killed_stream_knows_what_an_update_will_replace(tmp_path, number):
    stream = [JOEL, ROSA, MOVED, EMIL, BACK]
    settings = StreamSettings(steps_per_fact=2, loss_on="answer", snapshots=(), max_length=MAX_LENGTH)

    def work(resume):
        method = start_method("smf", selector="none", damping=0.2, past_weight=1.0)
        learn_with(method, tokenizer(), stream, settings, lambda *_: None, resume)
        return {**method.state_dict(), **method.delta()}

    assert same_tensors(killed_and_resumed(tmp_path, work, number), work(NO_RESUME))


def test_no_more_is_kept_than_the_slots_that_a_fact_to_be_replaced_reads():
    method = start_method("smf", selector="none", damping=0.2, past_weight=1.0)
    method.require_facts([JOEL, ROSA, MOVED])
    sizes = []
    for place, fact in enumerate([JOEL, ROSA, MOVED]):
        method.begin_lesson((place,))
        method.step(facts_batch(tokenizer(), [fact], loss_on="answer", max_length=MAX_LENGTH))
        kept = {name: tensor for name, tensor in method.state_dict().items() if name.startswith("past.0.")}
        sizes.append(sum(tensor.numel() for tensor in kept.values()))
    passes = method._regions._passes
    read = {slot for layers, _ in passes for slot in layers[0].slot_indices_BTHK.flatten().tolist()}
    assert sizes[0] == sizes[1] > sizes[2] == 0
    assert sizes[0] <= 2 * max(len(read), 64)
