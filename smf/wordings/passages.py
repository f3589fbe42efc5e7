"""Split documents into passages of limited length, and passages into sentences."""

import re

_PARAGRAPH = re.compile(r"\n\s*\n")
_HEADING_WORDS = 10  # a paragraph with at most this many words that does not end like a sentence is a heading
_ENDS_SENTENCE = re.compile(r"[.!?:;][\"')\]”]*$")
_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")
_ABBREVIATION = re.compile(r"(?:^|[\s(])(?:[A-Z]|Dr|Mr|Mrs|Ms|St|Prof|No|vs|cf|e\.g|i\.e|U\.S|U\.K)\.$")


def passages(document: str, max_words: int) -> list[str]:
    """Split a document into passages: its paragraphs, each with the headings before it.

    A paragraph of more than ``max_words`` words is split between sentences; a longer sentence, between words.
    """
    found, headings = [], []
    for paragraph in map(str.strip, _PARAGRAPH.split(document)):
        if len(paragraph.split()) <= _HEADING_WORDS and not _ENDS_SENTENCE.search(paragraph):
            headings += [paragraph] if paragraph else []
            continue
        found += _packed(" ".join([*headings, paragraph]), max_words)
        headings = []
    return found + _packed(" ".join(headings), max_words)


def sentences(text: str) -> list[str]:
    """The sentences of a text, with single spaces; abbreviations and initials do not end a sentence."""
    found: list[str] = []
    start = 0
    text = " ".join(text.split())
    for gap in _SENTENCE.finditer(text):
        if not _ABBREVIATION.search(text[start : gap.start()]):
            found.append(text[start : gap.end()].rstrip())
            start = gap.end()
    return [*found, text[start:]] if text[start:] else found


def _cut(sentence: str, max_words: int) -> list[str]:
    words = sentence.split()
    return [" ".join(words[start : start + max_words]) for start in range(0, len(words), max_words)]


def _packed(paragraph: str, max_words: int) -> list[str]:
    """Join as many sentences of a paragraph as fit into each passage."""
    pieces = [piece for sentence in sentences(paragraph) for piece in _cut(sentence, max_words)]
    packed: list[list[str]] = []
    size = max_words + 1
    for piece in pieces:
        words = len(piece.split())
        if size + words > max_words:
            packed.append([])
            size = 0
        packed[-1].append(piece)
        size += words
    return [" ".join(group) for group in packed]
