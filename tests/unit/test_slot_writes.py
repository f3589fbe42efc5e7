"""Which slots a stream wrote, over background use."""

import numpy as np
import pandas as pd
import pytest
import torch

from smf.analysis.slot_writes.table import SLOT_WRITE_COLUMNS, bin_starts, slot_write_rows, slot_writes
from smf.errors import CheckpointError
from smf.patches.patch import patch_of, write_patch
from smf.selection.background import BackgroundCounts, DocumentCounts, LayerCounts
from smf.stages.slot_writes import write_slot_writes

FACT = {"fact_id": "f", "subject": "s", "question": "q", "answer": "a", "stream": "seed 5", "position": 1}


def test_bins_and_sums_equal_plain_loops():
    random = np.random.default_rng(0)
    reads = random.integers(0, 2, 500) * random.integers(0, 1_200, 500)
    slots = np.sort(random.choice(500, 80, replace=False))
    before, after = random.normal(size=(80, 3)), random.normal(size=(80, 3))
    after[::4] = before[::4]  # held by the patch, but not changed
    rows = slot_writes(reads, slots, before, after)
    assert [row["reads_from"] for row in rows] == [0, 1, 3, 10, 30, 100, 300, 1000]
    for row, end in zip(rows, [1, 3, 10, 30, 100, 300, 1000, 10**9], strict=True):
        inside = [slot for slot in range(500) if row["reads_from"] <= reads[slot] < end]
        changed = {
            int(slot): sum((new - old) ** 2 for old, new in zip(before[place], after[place], strict=True)) ** 0.5
            for place, slot in enumerate(slots)
            if place % 4
        }
        written = [slot for slot in inside if slot in changed]
        assert row["slots"] == len(inside)
        assert row["reads"] == sum(reads[slot] for slot in inside)
        assert row["slots_written"] == len(written)
        assert row["reads_of_written"] == sum(reads[slot] for slot in written)
        assert row["change"] == pytest.approx(sum(changed[slot] for slot in written))


@pytest.mark.parametrize("before", [np.zeros((2, 2)), np.array([[0, 0], [1e-9, 0]]), np.ones((2, 2))])
def test_a_change_counts_the_same_whatever_the_values_were_before(before):
    """(3, 4) has norm 5, (0, 1) has norm 1; values near zero are no unit to measure them in."""
    rows = slot_writes(np.array([0, 7, 0]), np.array([0, 1]), before, before + np.array([[3, 4], [0, 1]]))
    assert [row["change"] for row in rows] == pytest.approx([5, 0, 1])


@pytest.mark.parametrize(("largest", "starts"), [(0, [0]), (1, [0, 1]), (3, [0, 1, 3]), (99, [0, 1, 3, 10, 30])])
def test_bins_reach_as_far_as_there_are_reads(largest, starts):
    assert bin_starts(largest).tolist() == starts


def test_a_layer_that_a_stream_left_alone_has_its_rows_too():
    rows = list(slot_write_rows("smf", 0, {1: np.array([0, 5])}, {}))
    assert [(row["layer"], row["slots"], row["slots_written"], row["change"]) for row in rows] == [
        (1, 1, 0, 0.0), (1, 0, 0, 0.0), (1, 1, 0, 0.0),
    ]  # fmt: skip


def test_a_patch_of_a_larger_memory_than_was_counted_is_refused():
    patch = {1: (np.array([7]), np.zeros((1, 2)), np.ones((1, 2)))}
    with pytest.raises(
        CheckpointError, match=r"wrote slot 7 of block 1, but background reads were counted for 2 slots"
    ):
        list(slot_write_rows("smf", 0, {1: np.array([0, 5])}, patch))


def test_the_table_is_made_of_patches_and_counts_on_disk(tmp_path):
    reads = torch.tensor([0, 2, 0, 40])
    layer = LayerCounts(reads, reads.clamp(max=1), 1, reads.double(), "batch", DocumentCounts(reads.clamp(max=1), 1))
    BackgroundCounts({2: layer}, {"model_hash": "m"}).save(tmp_path / "counts.safetensors")
    before = torch.ones(2, 4)
    delta = {
        "2.slots": torch.tensor([0, 1, 3]),
        "2.values": torch.stack([torch.ones(4), torch.ones(4), torch.full((4,), 3.0)]),
    }
    history = {
        "2.slots": torch.tensor([1, 3]),
        "2.before": before,
        "2.writer_starts": torch.tensor([0, 1, 2]),
        "2.writers": torch.tensor([0, 0]),
        "2.moved_rows": torch.zeros(0, dtype=torch.long),
        "2.moved_by": torch.zeros(0, dtype=torch.long),
        "2.movements": torch.zeros(0, 4, dtype=torch.bfloat16),
    }
    write_patch(tmp_path / "patch.safetensors", patch_of(delta, history, "m", [FACT], [[0]]))
    write_slot_writes(
        tmp_path / "counts.safetensors", [("smf", 5)], [tmp_path / "patch.safetensors"], tmp_path / "t.csv"
    )
    table = pd.read_csv(tmp_path / "t.csv")
    assert tuple(table.columns) == SLOT_WRITE_COLUMNS
    assert table["slots_written"].tolist() == [0, 0, 0, 0, 1]  # slot 1 holds what it held
    assert table["change"].tolist() == [0, 0, 0, 0, 4.0]  # four values from 1 to 3
    assert set(table["seed"]) == {5}
    write_patch(tmp_path / "patch.safetensors", patch_of(delta, history, "n", [FACT], [[0]]))
    with pytest.raises(CheckpointError, match=r"patch\.safetensors was learned from another model than what .*counts"):
        write_slot_writes(tmp_path / "counts.safetensors", [("smf", 5)], [tmp_path / "patch.safetensors"], "t.csv")
