"""Which slots a stream wrote, by how much ordinary text uses them: whether a method spares what the model knows.

Shapes: S slot, R row (a slot that was written), V value.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from smf.errors import CheckpointError

SLOT_WRITE_COLUMNS = (
    "method", "seed", "layer", "reads_from", "slots", "reads", "slots_written", "reads_of_written", "change",
)  # fmt: skip


_NOTHING = (np.zeros(0, int), np.zeros((0, 1)), np.zeros((0, 1)))


def slot_writes(
    reads_S: np.ndarray, slots_R: np.ndarray, before_RV: np.ndarray, after_RV: np.ndarray
) -> list[dict[str, float]]:
    """Count the slots of one layer, and the written ones among them, in bins of background use.

    Args:
        reads_S: How often background text read each slot.
        slots_R: The slots of a patch.
        before_RV: Their values before the stream.
        after_RV: Their values now. A slot whose value is unchanged was not written.

    Returns:
        A row for each bin, the slots that background text never read (``reads_from`` 0) first, then from 1, 3, 10, 30,
        … reads to below the next: ``slots`` in it, their ``reads``, ``slots_written`` among them, the
        ``reads_of_written``, and the ``change``: the sum over written slots of the norm of the value's change. It
        is absolute, so that it is the same measure for all runs, and for memories whose values start at zero.
    """
    starts = bin_starts(int(reads_S.max(initial=0)))
    bins_S = np.searchsorted(starts, reads_S, side="right") - 1
    changes_R = np.linalg.norm(after_RV.astype(np.float64) - before_RV, axis=1)
    written_R = changes_R > 0
    written_bins = bins_S[slots_R[written_R]]
    count = {"minlength": len(starts)}
    columns = {
        "reads_from": starts,
        "slots": np.bincount(bins_S, **count),
        "reads": np.bincount(bins_S, weights=reads_S, **count),
        "slots_written": np.bincount(written_bins, **count),
        "reads_of_written": np.bincount(written_bins, weights=reads_S[slots_R[written_R]], **count),
        "change": np.bincount(written_bins, weights=changes_R[written_R], **count),
    }
    return [{name: column[place].item() for name, column in columns.items()} for place in range(len(starts))]


def slot_write_rows(
    method: str, seed: int, reads: Mapping[int, np.ndarray], patch: Mapping[int, Sequence[np.ndarray]]
) -> Iterator[dict]:
    """Rows of the slot-write table for one run.

    Args:
        method: Its method.
        seed: Its seed.
        reads: Background reads of each slot, by block.
        patch: Slots, values before and values after, by block; a block that is missing was not written.

    Raises:
        CheckpointError: The patch writes slots that the counts do not know.
    """
    for block, reads_S in reads.items():
        slots_R, before_RV, after_RV = patch.get(block, _NOTHING)
        if len(slots_R) and slots_R.max() >= len(reads_S):
            raise CheckpointError(
                f"the run of {method} with seed {seed} wrote slot {slots_R.max()} of block {block}, but background "
                f"reads were counted for {len(reads_S):,} slots; count again"
            )
        for row in slot_writes(reads_S, slots_R, before_RV, after_RV):
            yield {"method": method, "seed": seed, "layer": block, **row}


def bin_starts(largest: int) -> np.ndarray:
    """0, 1, 3, 10, 30, … as far as needed."""
    starts, step = [0], 1
    while step <= largest:
        starts += [step, 3 * step]
        step *= 10
    return np.array([start for start in starts if start <= largest])
