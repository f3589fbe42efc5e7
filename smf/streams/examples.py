"""Texts that a model learns from, and the files that hold them."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from smf.errors import DataError
from smf.files.artifacts import read_jsonl, write_jsonl
from smf.seeding import python_generator


@dataclass(frozen=True)
class Example:
    """A text in two parts. With ``loss_on="answer"`` only the completion is learned."""

    prompt: str
    completion: str

    def behind(self, context: str) -> "Example":
        """The example after a context, which becomes part of the prompt; unchanged if the context is empty."""
        return Example(context + self.prompt, self.completion) if context else self


def answered(prompt: str, answer: str, end: str = "") -> Example:
    """A prompt and the answer that completes it, with exactly one space between them."""
    return Example(prompt.rstrip(" "), f" {answer.strip(' ')}{end}")


def hold_out(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Split texts at random into texts to learn and held-out texts, at least one of each.

    Raises:
        DataError: There are fewer than two texts.
    """
    if len(examples) < 2:
        raise DataError(f"{len(examples)} text cannot be split into text to train on and text to measure on; give more")
    number = min(max(1, round(share * len(examples))), len(examples) - 1)
    chosen = set(python_generator(seed, "held-out text").sample(range(len(examples)), number))
    kept = [example for index, example in enumerate(examples) if index not in chosen]
    return kept, [examples[index] for index in sorted(chosen)]


def write_corpus(path: str | Path, examples: Iterable[Example]) -> None:
    """Write examples as JSONL."""
    write_jsonl(path, (asdict(example) for example in examples))


def read_corpus(path: str | Path) -> list[Example]:
    """Read examples from JSONL; a broken row is refused with file and line."""
    rows = read_jsonl(path, {"prompt": str, "completion": str})
    return [Example(row["prompt"], row["completion"]) for row in rows]
