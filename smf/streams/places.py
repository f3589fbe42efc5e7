"""Locate words in a text: whole words, whatever their case, Unicode form, quotes and dashes.

A word is a run of letters, digits and marks; in scripts that put no space between words, a character with its marks.
Every other character but white space is a word of its own, so that "C++" is not found in "C".
"""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from smf.streams.normalize import as_written, is_unspaced

Span = tuple[int, int]
"""The characters of a part of a text: the first, and the one after the last."""


class Word(NamedTuple):
    """A word of a text.

    Attributes:
        key: Equal for words that differ only in case and Unicode form. "" for a masked word, which matches none.
        start: Its first character.
        stop: The character after its last.
    """

    key: str
    start: int
    stop: int


def placed_words(text: str) -> list[Word]:
    """The words of a text, in their order."""
    words, start, is_run = [], None, False
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        in_run = (category[0] in "LN" or category == "Cf") and not is_unspaced(character)
        if start is not None and (category[0] == "M" or category == "Cf" or (is_run and in_run)):
            continue  # it extends the current word
        if start is not None:
            words.append((start, place))
        start, is_run = (None if character.isspace() else place), in_run
    if start is not None:
        words.append((start, len(text)))
    keyed = (Word(as_written(text[start:stop]), start, stop) for start, stop in words)
    return [word for word in keyed if word.key]


def occurrences(words: Sequence[Word], wanted: Sequence[str]) -> list[Span]:
    """All spans of consecutive words with the ``wanted`` keys; none if ``wanted`` is empty."""
    length = len(wanted)
    return [
        (words[start].start, words[start + length - 1].stop)
        for start in range(len(words) - length + 1)
        if length and all(word.key == key for word, key in zip(words[start : start + length], wanted, strict=True))
    ]


def longest_shared(texts: Sequence[Sequence[Word]]) -> list[str]:
    """Keys of the run of words in all texts that has most letters and digits; the earliest if several have.

    Masked words break runs. Empty if no run with a letter or digit is shared, or there is only one text.
    """
    if len(texts) < 2:
        return []
    first, *others = sorted(texts, key=len)
    joined = [_joined(word.key for word in text) for text in others]
    best, best_size, stop = [], 0, 0
    for start in range(len(first)):
        stop = max(start, stop)
        keys = [word.key for word in first[start:stop]]
        # A run that begins one word later is shared at least to the same end, so the end never moves back.
        while stop < len(first) and first[stop].key and _in_all([*keys, first[stop].key], joined):
            keys.append(first[stop].key)
            stop += 1
        size = sum(character.isalnum() for key in keys for character in key)
        if size > best_size:
            best, best_size = keys, size
    return best


def _in_all(keys: Sequence[str], joined: Sequence[str]) -> bool:
    return all(_joined(keys) in text for text in joined)


def _joined(keys: Iterable[str]) -> str:
    return "\n" + "".join(f"{key}\n" for key in keys)  # no key holds a line break
