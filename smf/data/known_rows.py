"""Which held-out sets and facts are filtered by the base model's answers, and where the chosen rows are.

A held-out set that the base hardly knows cannot show forgetting; a fact that the base knows cannot show learning.
"""

from collections.abc import Mapping
from pathlib import Path

KNOWN = "known"
"""The subfolder of the results that holds the chosen rows."""


def known_sets(data: Mapping) -> list[str]:
    """The held-out sets that keep only rows that the base model answers correctly.

    Args:
        data: The config's ``data``.
    """
    if data["source"] != "collection":
        return []
    return [name for name, source in data["collection"]["held_out"].items() if source["known_only"]]


def only_unknown_facts(data: Mapping) -> bool:
    """Whether to keep only facts that the base model does not answer; ``data`` as in :func:`known_sets`."""
    return data["source"] == "collection" and data["collection"]["facts"]["unknown_only"]


def known_neighbours(data: Mapping) -> dict[str, int]:
    """How many neighbours each unknown fact gets from the facts that the base answers, and the seed of the choice.

    Args:
        data: As in :func:`known_sets`.

    Returns:
        ``neighbours`` and ``seed``; empty if facts are not filtered by the base's answers.
    """
    if not only_unknown_facts(data):
        return {}
    return {"neighbours": data["collection"]["facts"]["neighbours"], "seed": data["seed"]}


def held_out_files(results: str | Path) -> list[Path]:
    """The files of the held-out sets that models are asked: the chosen rows where a results folder has them."""
    results = Path(results)
    drawn = sorted((results / "data" / "held_out").glob("[!.]*.jsonl"))  # skips hidden files of a killed job
    chosen = ((results / KNOWN / path.name, path) for path in drawn)
    return [known if known.is_file() else path for known, path in chosen]
