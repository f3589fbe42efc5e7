"""What each choice of slots reaches before anything is learned: a table from the memory model, counts and streams."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from smf.analysis.read_overlap.choice import choice_key
from smf.analysis.read_overlap.stream import stream_overlap
from smf.analysis.read_overlap.table import overlap_table
from smf.files.artifacts import write_table
from smf.methods.registry import method_class
from smf.methods.smf import SparseSettings
from smf.models.checkpoint import load_model, load_tokenizer, model_hash
from smf.models.memory_model import MemoryForCausalLM, require_memory
from smf.models.recompute import recompute_activations
from smf.selection.background import BackgroundCounts
from smf.selection.joined import read_background
from smf.stages.run import Learning, stream_settings
from smf.streams.facts import read_facts
from smf.training.learn import require_lessons

logger = logging.getLogger(__name__)


def write_read_overlap(
    runs: Sequence[tuple[str, str, Mapping]],
    learning: Learning,
    healed_folder: str | Path,
    counts_path: str | Path,
    stream_paths: Mapping[int, str | Path],
    *,
    contrast_path: str | Path | None = None,
    device: str,
    path: str | Path,
) -> None:
    """Write the table: a row for each setting, seed and memory layer.

    Args:
        runs: Of each, the method's name, its setting in words, and its settings; of kinds that select slots.
        learning: How a run learns its stream.
        healed_folder: The healed model.
        counts_path: Background counts.
        stream_paths: The stream of each seed.
        contrast_path: Counts of contrast texts, if a method weighs them.
        device: Where to compute.
        path: Where the table goes.

    Raises:
        CheckpointError: The counts are of another model, or a method weighs contrast texts that were not counted.
        DataError: A text of a fact is too long; names the fact.
    """
    model, tokenizer = require_memory(load_model(healed_folder, device)).eval(), load_tokenizer(healed_folder)
    if learning.gradient_checkpointing:
        recompute_activations(model)  # contexts are then not shared, as when the stream is learned
    settings = [_settings(given) for _, _, given in runs]
    keys = list(map(choice_key, settings))
    backgrounds = {
        weight: _background(counts_path, contrast_path, weight, model_hash(healed_folder))
        for weight in {one.contrast for one in settings}
    }
    choices = {key: (one, backgrounds[one.contrast]) for key, one in zip(keys, settings, strict=True)}
    disturbance = _disturbance(model, counts_path, contrast_path)
    rows = []
    for seed, stream_path in stream_paths.items():
        facts, stream = read_facts(stream_path), stream_settings(learning, tokenizer, healed_folder, seed=seed)
        for write_at in sorted({one.write_at for one in settings}):
            require_lessons(tokenizer, facts, stream, write_at, source=stream_path)
        found = stream_overlap(model, tokenizer, facts, stream, choices, disturbance)
        for (method, setting, _), key in zip(runs, keys, strict=True):
            for block, numbers in found[key].items():
                rows.append({"method": method, "setting": setting, "seed": seed, "layer": block, **numbers})
    write_table(path, overlap_table(rows))
    logger.info("%d settings select slots in %d different ways", len(runs), len(choices))


def _settings(given: Mapping) -> SparseSettings:
    settings = method_class(given["kind"]).settings_class.read(given)
    assert isinstance(settings, SparseSettings), given["kind"]
    return settings


def _background(
    counts_path: str | Path, contrast_path: str | Path | None, weight: float, healed_hash: str
) -> BackgroundCounts:
    found = read_background(counts_path, contrast_path, weight, model_hash=healed_hash)
    assert found is not None  # it is None without a path alone
    return found


def _disturbance(
    model: MemoryForCausalLM, counts_path: str | Path, contrast_path: str | Path | None
) -> dict[int, dict[str, np.ndarray]]:
    """By block, of ordinary text and of contrast texts, if counted, the mean over tokens of squared read weights."""
    paths = {"text": counts_path, **({} if contrast_path is None else {"contrast": contrast_path})}
    counted = {name: BackgroundCounts.load(counts) for name, counts in paths.items()}
    found: dict[int, dict[str, np.ndarray]] = {}
    for block, layer in model.memory_layers().items():
        layers = {name: counts.layers[block] for name, counts in counted.items()}
        found[block] = {
            name: (counts.squared_weights_S * (layer.num_heads * layer.top_k) / counts.total_accesses).numpy()
            for name, counts in layers.items()
        }
    return found
