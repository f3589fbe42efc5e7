"""Which held-out sets and facts are chosen by what the base model answers, and how its answers choose.

Of a held-out set that the base hardly knows, forgetting cannot be seen; of a fact that it knows, learning cannot.
"""

from collections.abc import Mapping
from pathlib import Path

KNOWN = "known"
"""The folder below the results where the chosen rows are."""


def known_sets(data: Mapping) -> list[str]:
    """The held-out sets of which only rows are kept that the base model answers right.

    Args:
        data: The config's ``data``.
    """
    if data["source"] != "collection":
        return []
    return [name for name, source in data["collection"]["held_out"].items() if source["known_only"]]


def only_unknown_facts(data: Mapping) -> bool:
    """Whether only facts are kept that the base model does not answer; ``data`` as of :func:`known_sets`."""
    return data["source"] == "collection" and data["collection"]["facts"]["unknown_only"]


def known_neighbours(data: Mapping) -> dict[str, int]:
    """How many neighbours each unknown fact gets of those that the base answers, and the seed of their choice.

    Args:
        data: As of :func:`known_sets`.

    Returns:
        ``neighbours`` and ``seed``; nothing where facts are not chosen by what the base answers.
    """
    if not only_unknown_facts(data):
        return {}
    return {"neighbours": data["collection"]["facts"]["neighbours"], "seed": data["seed"]}


def held_out_files(results: str | Path) -> list[Path]:
    """The held-out sets of a results folder as models were asked them: the chosen rows where there are some."""
    results = Path(results)
    drawn = sorted((results / "data" / "held_out").glob("[!.]*.jsonl"))  # not what a killed job began to write
    chosen = ((results / KNOWN / path.name, path) for path in drawn)
    return [known if known.is_file() else path for known, path in chosen]
