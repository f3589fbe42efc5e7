"""The data of an experiment and the streams that are drawn from it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from smf.data.collection import prepare_collection
from smf.data.formats import FEW_FACTS
from smf.data.prepared import PreparedData, prepare_world
from smf.data.question_sets import prepare_question_sets
from smf.errors import ConfigError
from smf.rows.sources import at_commits
from smf.streams.contrast import set_aside, swap
from smf.streams.examples import read_corpus
from smf.streams.facts import draw_stream, less, read_facts, write_facts
from smf.streams.sayable import require_enough, sayable
from smf.streams.updates import with_updates
from smf.wordings.contexts import behind_examples, behind_text
from smf.wordings.rewording import reworded

logger = logging.getLogger(__name__)


def prepare_data(
    settings: Mapping,
    folder: str | Path,
    *,
    num_facts: int = 0,
    updates: int = 0,
    wordings: Mapping | None = None,
) -> None:
    """Write the files of ``results/data`` from the source that ``settings`` (the config's ``data``) names.

    Each set from the hub is read at one commit, which ``labels.json`` records.

    Args:
        settings: The config's ``data``.
        folder: Where the files go.
        num_facts: Facts of a stream, which are taken besides those set aside for contrast texts.
        updates: How many of them are updates, which need no facts of the data.
        wordings: The config's ``stream.paraphrases``, as far as contrast texts depend on it; None for facts in their
            own wordings. A model's paraphrases cover the facts only.

    Raises:
        ConfigError: Contrast texts would leave too few facts for a stream.
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
    if number := settings["contrast"]["num_facts"]:
        data = _with_contrast(data, settings, number, wordings)
        if len(data.facts) < num_facts - updates:
            raise ConfigError(
                f"stream.num_facts is {num_facts}{less(updates)}, but the data holds {len(data.facts)} facts beside "
                f"those that data.contrast.num_facts ({number}) sets aside; lower one of them or enlarge the data",
                ("data", "contrast", "num_facts"),
            )
    data.write(folder)
    logger.info(
        "%d texts for pretraining, %d background texts, %d new facts, held-out sets of %s rows",
        *map(len, (data.pretraining, data.background, data.facts)),
        ", ".join(f"{len(rows)} ({name})" for name, rows in data.held_out.items()),
    )


def _with_contrast(data: PreparedData, settings: Mapping, number: int, wordings: Mapping | None) -> PreparedData:
    worded = data.facts if wordings is None else reworded(data.facts, wordings, None)
    spares_none = settings["source"] == "collection" and settings["collection"]["facts"]["format"] == FEW_FACTS
    aside = (swap if spares_none else set_aside)(worded, number, settings["seed"])
    left = {fact.fact_id for fact in aside.facts}
    facts = [fact for fact in data.facts if fact.fact_id in left]
    logger.info("%d contrast texts; %d of %d facts are left to teach", len(aside.texts), len(facts), len(data.facts))
    return replace(data, facts=facts, contrast=aside.texts)


@dataclass(frozen=True)
class StreamPlan:
    """How the stream of one seed is drawn, and in which words its facts are taught.

    Attributes:
        num_facts: Facts of the stream.
        order: Order of the facts, see :func:`smf.streams.facts.draw_stream`.
        seed: The run's seed.
        max_new_tokens: Longest generated answer, in tokens; facts with a longer answer are left out before drawing.
        wordings: The config's ``stream.paraphrases``, as far as the stream depends on it.
        text_share: Share of each fact's prompts that follow ordinary text (:func:`smf.wordings.contexts.behind_text`).
        examples_share: Share that follow solved examples (:func:`smf.wordings.contexts.behind_examples`).
        own_file: The user's file that the facts are from, see :func:`smf.streams.sayable.sayable`; None for other data.
        updates: How many of the facts are updates (:func:`smf.streams.updates.with_updates`).
        facts_per_step: Facts that are learned together; read if there are updates.
    """

    num_facts: int
    order: str
    seed: int
    max_new_tokens: int
    wordings: Mapping
    text_share: float = 0.0
    examples_share: float = 0.0
    own_file: str | None = None
    updates: int = 0
    facts_per_step: int = 1


def write_stream(
    plan: StreamPlan,
    facts_path: str | Path,
    tokenizer_path: str | Path,
    path: str | Path,
    *,
    paraphrases_path: str | Path | None = None,
    texts_path: str | Path | None = None,
) -> None:
    """Draw the stream of one seed, give its facts their training wordings, and write it.

    Args:
        plan: How to draw it.
        facts_path: All facts.
        tokenizer_path: The base model's ``tokenizer.json``.
        path: Where the stream goes.
        paraphrases_path: Paraphrases of all facts; None unless a model made them.
        texts_path: Ordinary text; None if no prompt follows any.

    Raises:
        DataError: The facts are the user's own, and an answer is too long.
        ConfigError: There are fewer facts than the stream needs.
    """
    from transformers import PreTrainedTokenizerFast  # a slow import, which preparing data does not need

    pool = read_facts(facts_path)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_path))
    kept = sayable(pool, tokenizer, plan.max_new_tokens, plan.own_file)
    require_enough(kept, pool, plan.num_facts, plan.max_new_tokens, updates=plan.updates)
    facts = draw_stream(kept, plan.num_facts, plan.order, plan.seed, updates=plan.updates)
    facts = reworded(facts, plan.wordings, paraphrases_path)
    if plan.updates:
        options = {"seed": plan.seed, "facts_per_step": plan.facts_per_step}
        facts = with_updates(facts, kept, plan.updates, **options)
    if texts_path is not None:
        facts = behind_text(facts, read_corpus(texts_path), plan.text_share, plan.seed)
    facts = behind_examples(facts, plan.examples_share)
    write_facts(path, facts)
    numbers = [len(fact.train_prompts) + len(fact.train_texts) for fact in facts]
    logger.info("%d facts, %d to %d training wordings each", len(facts), min(numbers), max(numbers))
    if number := sum(bool(fact.replaces) for fact in facts):
        logger.info("%d of them replace earlier ones", number)
