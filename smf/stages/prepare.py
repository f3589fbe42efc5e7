"""The data of an experiment and the streams that are drawn from it."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from smf.streams.collection import prepare_collection
from smf.streams.facts import draw_stream, read_facts, write_facts
from smf.streams.prepared import prepare_world
from smf.streams.question_sets import prepare_question_sets
from smf.streams.rewording import reworded
from smf.streams.rows import at_commits

logger = logging.getLogger(__name__)


def prepare_data(settings: Mapping, folder: str | Path) -> None:
    """Write the files of ``results/data`` from the source that ``settings`` (the config's ``data``) names.

    Every set of the hub is read at one commit, which ``labels.json`` names.
    """
    source, seed = settings["source"], settings["seed"]
    if source == "world":
        data = prepare_world(**settings["world"], seed=seed)
    else:
        sources, commits = at_commits(settings[source], f"data.{source}")
        if source == "question_sets":
            data = prepare_question_sets(**sources, seed=seed)
        else:
            pages = Path(folder).parent / "resume" / "pages"  # not beside the outputs, which are deleted before a rerun
            data = prepare_collection(**sources, seed=seed, pages_folder=pages)
        if commits:
            data = replace(data, labels={**data.labels, "hub": commits})
    data.write(folder)
    logger.info(
        "%d texts for pretraining, %d background texts, %d new facts, held-out sets of %s rows",
        *map(len, (data.pretraining, data.background, data.facts)),
        ", ".join(f"{len(rows)} ({name})" for name, rows in data.held_out.items()),
    )


def write_stream(
    facts_path: str | Path,
    num_facts: int,
    order: str,
    wordings: Mapping,
    paraphrases_path: str | Path | None,
    *,
    seed: int,
    path: str | Path,
) -> None:
    """Draw the stream of one seed, give its facts their training wordings, and write it.

    Args:
        facts_path: All facts.
        num_facts: Facts of the stream.
        order: Of the facts, see :func:`smf.streams.facts.draw_stream`.
        wordings: The config's ``stream.paraphrases``, as far as the stream depends on it.
        paraphrases_path: Paraphrases of all facts; None unless a model made them.
        seed: The run's seed.
        path: Where the stream goes.
    """
    facts = draw_stream(read_facts(facts_path), num_facts, order, seed)
    facts = reworded(facts, wordings, paraphrases_path)
    write_facts(path, facts)
    numbers = [len(fact.train_prompts) + len(fact.train_texts) for fact in facts]
    logger.info("%d facts, %d to %d training wordings each", len(facts), min(numbers), max(numbers))
