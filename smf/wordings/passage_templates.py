"""Rewrite a passage without a model: with headings, reordered sentences, notes, or sentences to complete.

This is a simple stand-in for the augmentations of Active Reading (Lin et al., 2025b), in which a language model studies
each passage by strategies of its own. Nothing here paraphrases.
"""

import random
from collections.abc import Iterator, Sequence

from smf.wordings.passages import sentences

_HEADINGS = (
    "Excerpt:",
    "From the text:",
    "In the document we read:",
    "Reading notes:",
    "To remember:",
    "What it says:",
)
_TRIES = 20  # draws per text wanted, after which the passage counts as exhausted


def passage_wordings(passage: str, number: int, rng: random.Random) -> list[str]:
    """The passage and up to ``number`` - 1 other texts made from its sentences, no two the same.

    Args:
        passage: The passage.
        number: Texts wanted; a passage with few sentences yields fewer.
        rng: Draws the texts.
    """
    found = {passage: None}
    parts = sentences(passage)
    for _ in range(_TRIES * number):
        if len(found) >= number:
            break
        found[rng.choice(_WAYS)(passage, parts, rng)] = None
    return list(found)[:number]


def _headed(passage: str, parts: Sequence[str], rng: random.Random) -> str:
    return f"{rng.choice(_HEADINGS)} {passage}"


def _reordered(passage: str, parts: Sequence[str], rng: random.Random) -> str:
    return f"{rng.choice(_HEADINGS)} {' '.join(rng.sample(parts, len(parts)))}"


def _notes(passage: str, parts: Sequence[str], rng: random.Random) -> str:
    chosen = rng.sample(range(len(parts)), rng.randint(1, len(parts)))
    return "\n".join([rng.choice(_HEADINGS), *(f"- {parts[index]}" for index in sorted(chosen))])


def _gaps(passage: str, parts: Sequence[str], rng: random.Random) -> str:
    """Up to three sentences, each as a completion task: its beginning, then the whole sentence."""
    chosen = rng.sample(range(len(parts)), rng.randint(1, min(3, len(parts))))
    return "\n".join(line for index in sorted(chosen) for line in _gap(parts[index], rng))


def _gap(sentence: str, rng: random.Random) -> Iterator[str]:
    words = sentence.split()
    cut = rng.randint(1, max(1, len(words) - 1))
    yield f"Complete the sentence: {' '.join(words[:cut])} ..."
    yield f"Complete sentence: {sentence}"


_WAYS = (_headed, _reordered, _notes, _gaps)
