"""Texts that a model learns from, and the files that hold them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from smf.artifacts import read_jsonl, write_jsonl


@dataclass(frozen=True)
class Example:
    """A text in two parts. With ``loss_on="answer"`` only the completion is learned."""

    prompt: str
    completion: str


def write_corpus(path: str | Path, examples: Iterable[Example]) -> None:
    """Write examples as JSONL."""
    write_jsonl(path, (asdict(example) for example in examples))


def read_corpus(path: str | Path) -> list[Example]:
    """Read examples from JSONL; a broken row is refused with file and line."""
    rows = read_jsonl(path, {"prompt": str, "completion": str})
    return [Example(row["prompt"], row["completion"]) for row in rows]
