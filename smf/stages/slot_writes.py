"""Which slots the streams wrote, against background use: a table from patches and counts, and its figure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from smf.analysis.slot_writes.figure import slot_writes_figure
from smf.analysis.slot_writes.table import SLOT_WRITE_COLUMNS, slot_write_rows
from smf.figures.style import save_figure
from smf.files.artifacts import read_json, read_table, write_table
from smf.patches.patch import read_patch, require_base
from smf.selection.background import BackgroundCounts


def write_slot_writes(
    counts_path: str | Path, runs: Sequence[tuple[str, int]], patch_paths: Sequence[str | Path], path: str | Path
) -> None:
    """Write the table of slot writes.

    Args:
        counts_path: Background counts.
        runs: Method and seed of each run.
        patch_paths: The patch of each run.
        path: Where the table goes.

    Raises:
        CheckpointError: A file is damaged, or a patch is of another model.
    """
    counts = BackgroundCounts.load(counts_path)
    reads = {block: layer.accesses_S.numpy() for block, layer in counts.layers.items()}
    rows: list[dict] = []
    for (method, seed), patch_path in zip(runs, patch_paths, strict=True):
        rows += slot_write_rows(method, seed, reads, counted_patch(patch_path, counts, counts_path))
    write_table(path, pd.DataFrame(rows, columns=list(SLOT_WRITE_COLUMNS)))


def counted_patch(
    path: str | Path, counts: BackgroundCounts, counts_path: str | Path
) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A patch of the model that was counted: slots, values before and values after, by block.

    Raises:
        CheckpointError: The file is damaged, or the patch is of another model.
    """
    learned = read_patch(path)
    require_base(learned, str(counts.provenance["model_hash"]), path, f"what {counts_path} was counted with")
    return {
        block: (layer.slots_R.long().numpy(), layer.before_RV.float().numpy(), layer.after_RV.float().numpy())
        for block, layer in learned.layers.items()
    }


def draw_slot_writes(
    table_path: str | Path, labels_path: str | Path, methods: Sequence[str], figure_paths: Sequence[str | Path]
) -> None:
    """Draw slot writes, in the formats of the paths' suffixes; ``methods`` are all of the experiment."""
    figure = slot_writes_figure(read_table(table_path), read_json(labels_path), methods)
    for path in figure_paths:
        save_figure(figure, path)
