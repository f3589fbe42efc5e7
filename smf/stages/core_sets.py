"""Core sets: the slots that a fact's texts share, which of them train, and how few are enough to answer."""

import logging
from collections.abc import Mapping
from pathlib import Path

from smf.analysis.core_sets.alone import Alone, AloneSettings, questions
from smf.analysis.core_sets.shared_slots import FactReads, common, read_fact, size
from smf.analysis.core_sets.table import ASKED, core_sets_table
from smf.files.artifacts import write_table
from smf.logs import progress
from smf.models.checkpoint import load_model, load_tokenizer, model_hash
from smf.models.memory_model import require_memory
from smf.models.recompute import recompute_activations
from smf.selection.background import BackgroundCounts
from smf.stages.run import Learning
from smf.streams.facts import Fact, read_facts

logger = logging.getLogger(__name__)


def write_core_sets(
    settings: Mapping,
    methods: Mapping[str, Mapping],
    learning: Learning,
    healed_folder: str | Path,
    counts_path: str | Path,
    facts_path: str | Path,
    *,
    contrast_path: str | Path | None = None,
    device: str,
    path: str | Path,
) -> None:
    """Write the table of core sets of a stream's first facts.

    Args:
        settings: The config's ``core_sets``, with its method and its seed filled in.
        methods: Settings of the methods whose selection of slots is examined, by name.
        learning: How a run learns its stream.
        healed_folder: The healed model.
        counts_path: Background counts.
        facts_path: The stream.
        contrast_path: Counts of contrast texts, if a method weighs them.
        device: Where to train.
        path: Where the table goes.
    """
    background = BackgroundCounts.load(counts_path, model_hash=model_hash(healed_folder))
    contrast = None if contrast_path is None else BackgroundCounts.load(contrast_path)
    model, tokenizer = require_memory(load_model(healed_folder, device)), load_tokenizer(healed_folder)
    stream, max_length = learning.stream, learning.max_length
    if learning.gradient_checkpointing:
        recompute_activations(model)
    how = AloneSettings(
        num_steps=stream["steps_per_fact"] * stream["epochs"],
        loss_on=stream["loss_on"],
        max_length=max_length,
        max_wording_length=stream["max_length"],
        micro_batch_size=stream["micro_batch_size"],
        max_gradient_norm=stream["max_gradient_norm"],
        seed=settings["seed"],
    )
    alone = Alone(model, tokenizer, background, how, contrast)
    method = methods[settings["method"]]
    rates = [factor * method["learning_rate"] for factor in settings["rate_factors"]] or [None]
    rows = []
    for fact in progress(read_facts(facts_path)[: settings["num_facts"]], "facts"):
        reads = read_fact(model, tokenizer, fact, max_length=max_length, max_wording_length=stream["max_length"])
        enough = alone.fewest_slots(method, fact, settings["top_t"], rates)
        row = {"seed": settings["seed"], "fact_id": fact.fact_id, **_read(reads), **_enough(fact, enough)}
        for name, other in methods.items():
            trained = alone.selected(other, fact)
            row |= {f"trained_{name}": size(trained), f"trained_core_{name}": common(trained, reads.core)}
        rows.append(row)
    table = core_sets_table(rows, list(model.memory_layers()), list(methods))
    write_table(path, table)
    logger.info("the core sets of %d facts have a median of %g slots", len(table), table["core"].median())


def _read(reads: FactReads) -> dict:
    """The columns on the slots that a fact's texts read."""
    core, question = reads.core, reads.question
    row: dict[str, float] = {
        "texts": len(reads.texts),
        "core": size(core),
        "training_core": size(reads.training_core),
        "training_reads": size(reads.training_union),
        **{f"core_block_{block}": len(slots) for block, slots in core.items()},
    }
    if question is not None:
        row["question_reads"] = size(question)
        row["question_shared"] = common(question, reads.training_union) / size(question)
    return row


def _enough(fact: Fact, enough: Mapping) -> dict:
    """The columns on how few slots are enough."""
    asked, row = questions(fact), {}
    for name in ASKED:
        row[f"{name}_asked"] = bool(asked[name])
        if (found := enough[name]) is not None:
            row |= {f"{name}_top_t": found.top_t, f"{name}_rate": found.learning_rate}
            row[f"{name}_slots"] = found.num_slots
    return row
