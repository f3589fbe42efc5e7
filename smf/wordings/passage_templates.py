"""A passage written in other ways without a model: headings, sentences in another order, notes, gaps to fill.

This is a plain stand-in for the augmentations of Active Reading (Lin et al., 2025b), for which a language model studies
each passage by strategies of its own: nothing here says a thing in other words.
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
_TRIES = 20  # draws for each text wanted, after which the passage counts as exhausted


def passage_wordings(passage: str, number: int, rng: random.Random) -> list[str]:
    """The passage and up to ``number`` - 1 other texts made of its sentences, no two the same.

    Args:
        passage: The passage.
        number: Texts wanted; a passage of few sentences gives fewer.
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
    """Sentences cut in two: the beginning as a question, the rest as its answer."""
    chosen = rng.sample(range(len(parts)), rng.randint(1, min(3, len(parts))))
    return "\n".join(line for index in sorted(chosen) for line in _gap(parts[index], rng))


def _gap(sentence: str, rng: random.Random) -> Iterator[str]:
    words = sentence.split()
    cut = rng.randint(1, max(1, len(words) - 1))
    yield f"Complete the sentence: {' '.join(words[:cut])} ..."
    yield f"Complete sentence: {sentence}"


_WAYS = (_headed, _reordered, _notes, _gaps)
