"""A collection of data sets for a base model that was pretrained elsewhere; each source has its own format."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from smf.data.fact_sets import read_fact_set
from smf.data.held_out_sets import read_held_out
from smf.data.prepared import PreparedData
from smf.data.texts import read_text
from smf.errors import ConfigError
from smf.rows.sources import require_rows, source_name
from smf.seeding import python_generator
from smf.streams.facts import Fact
from smf.streams.neighbours import with_neighbours
from smf.streams.replaced import relinked


def prepare_collection(
    *,
    data_root: str | None,
    background: Mapping,
    facts: Mapping,
    held_out: Mapping[str, Mapping],
    healing: Mapping | None = None,
    seed: int,
    pages_folder: str | Path,
) -> PreparedData:
    """Ordinary text, new facts, and held-out sets, each read from its source.

    A source gives its ``format`` (:mod:`smf.data.formats`), where its rows are, and ``num_rows``, how many usable
    rows to draw (None: all). Facts that a held-out set asks for and texts that it contains are dropped; the
    background is not searched for facts. A base model that is pretrained here reads the background.

    Args:
        data_root: Folder of the files; None to read sources that name a data set on the hub from there.
        background: Ordinary text, whose slot reads are counted.
        facts: The new facts; ``neighbours`` says how many each gets from the rows that are not drawn.
        held_out: The held-out sets by name.
        healing: Text to heal the memory on; None for the background.
        seed: Seed of the choice of rows.
        pages_folder: Where fetched articles are kept.

    Raises:
        DataError: A file or a data set is missing or unreachable, lacks a column, or a row is broken.
        ConfigError: A source has fewer usable rows than ``num_rows``.
    """

    def draw(key: str, source: Mapping, rows: Sequence) -> list:
        return _draw(f"data.collection.{key}", source["num_rows"], name_of(source), rows, seed)

    name_of = partial(source_name, data_root)

    asked = {
        name: draw(f"held_out.{name}", source, read_held_out(name, data_root, source))
        for name, source in held_out.items()
    }
    taken = {row.key for rows in asked.values() for row in rows} - {""}
    text = draw("background", background, read_text("background", data_root, background, taken))
    healing_text: Any = healing and draw("healing", healing, read_text("healing", data_root, healing, taken))
    pool = read_fact_set(data_root, {**facts, "pages_folder": pages_folder}, taken)
    new = relinked([fact for unit in draw("facts", facts, _units(pool)) for fact in unit], pool)
    if facts["neighbours"]:
        taught = {fact.fact_id for fact in new}
        others = [fact for fact in pool if fact.fact_id not in taught]
        new = with_neighbours(new, others, facts["neighbours"], seed)
    described = {name: f"{name_of(held_out[name])}, {len(rows):,} items" for name, rows in asked.items()}
    return PreparedData(
        pretraining=text,
        background=text,
        healing=healing_text or None,
        held_out={name: [row.values for row in rows] for name, rows in asked.items()},
        facts=new,
        labels={
            "held_out": described,
            "facts": f"{name_of(facts)}, as {facts['format']}",
            "notes": [
                f"Drawn: {len(new):,} facts from {name_of(facts)}, {len(text):,} rows of background text from "
                f"{name_of(background)}"
                + (f", {len(healing_text):,} rows to heal on from {name_of(healing)}." if healing else ".")
            ],
        },
    )


def _draw(key: str, number: int | None, source: str, rows: Sequence, seed: int) -> list:
    number = len(rows) if number is None else number
    require_rows(key, number, rows, source)
    if not number:
        raise ConfigError(f"{key}: no row of {source} can be used; the log says why")
    chosen = sorted(python_generator(seed, "collection", key).sample(range(len(rows)), number))
    return [rows[index] for index in chosen]


def _units(facts: Sequence[Fact]) -> list[list[Fact]]:
    """Group the facts that are drawn as a unit: all passages of a document; any other fact by itself."""
    units: dict[str, list[Fact]] = {}
    for fact in facts:
        units.setdefault(fact.subject if fact.is_passage else fact.fact_id, []).append(fact)
    return list(units.values())
