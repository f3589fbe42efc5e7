"""Text normalisation for comparing answers: SQuAD's, and ours, which agrees with it on ASCII and also handles Unicode.

Ours treats text that looks the same as the same: composed and decomposed letters, full-width forms, ligatures, every
kind of quote, dash and space, zero-width characters. In scripts that put no space between words, each character is a
word.
"""

import re
import string
import unicodedata
from collections.abc import Callable, Sequence

QUESTION_MARKS = "?？﹖؟\u037e፧"
"""Question marks of all scripts; U+037E is the Greek one, which looks like a semicolon."""

_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_WORD_SEPARATORS = "\u0f0b\u0f0c\u1361"  # punctuation by category, but Tibetan and Ethiopic separate words with it
_LIKE_PUNCTUATION = "ʹʺʻʼʽʾʿˈˊˋ" + "−⁄"  # letters that stand for apostrophes; the minus and the slash of fractions
_WITHOUT_SHAPE = "\u034f\u115f\u1160\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))  # share no category
_DOTTED_I = re.compile("i\u0307+")  # the lower case of a capital I with a dot; it looks like an i

# Thai, Lao, Myanmar, Khmer, Han, Hiragana and Katakana
_UNSPACED = (
    "\u0e01-\u0eff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029"
    "\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
_ANY_UNSPACED = re.compile(f"[{_UNSPACED}]")


class _Table(dict):
    """A table for ``str.translate`` that applies a rule to each character once and remembers the result."""

    def __init__(self, rule: Callable[[str], str]):
        self._rule = rule

    def __missing__(self, code: int) -> str:
        self[code] = self._rule(chr(code))
        return self[code]


def _without_punctuation(character: str) -> str:
    if character.isspace() or character in _WORD_SEPARATORS:
        return " "
    category = unicodedata.category(character)
    if character in string.punctuation or character in _LIKE_PUNCTUATION or character in _WITHOUT_SHAPE:
        return ""
    if category[0] == "P" or category in ("Cf", "Sk"):
        return ""
    # "5½" is "5 1/2"; its compatibility form alone would make it 51/2
    return f" {character}" if unicodedata.decomposition(character).startswith("<fraction>") else character


def _as_typed(character: str) -> str:
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    if category == "Cf" or character in _WITHOUT_SHAPE:
        return ""
    if category == "Pd" or character == "−":
        return "-"
    if character in "‘’‚‛ʼ":
        return "'"
    return '"' if character in "“”„‟" else character


_WORDS_ONLY = _Table(_without_punctuation)
_TYPED = _Table(_as_typed)
_LETTERS = _Table(lambda character: character if unicodedata.category(character)[0] in "LMN" else "")
_MARKS = "".join(chr(code) for code in range(0x0E00, 0x3100) if unicodedata.category(chr(code))[0] == "M")
_UNSPACED_WORD = re.compile(f"[{_UNSPACED}][{_MARKS}]*|[^\\s{_UNSPACED}]+")  # a character with its marks, or a run


def spaced(text: str) -> str:
    """``text`` with each run of white space, line breaks included, as one space, and none at its ends."""
    return " ".join(text.split())


def bare_question(text: str) -> str:
    """``text`` without white space at its ends and without the question marks, of any script, that close it."""
    text = text.strip()
    while text and (text[-1] in QUESTION_MARKS or text[-1].isspace()):
        text = text[:-1]
    return text


def squad_normalize(text: str) -> str:
    """``text`` in lower case, without ASCII punctuation, without the articles a, an, the, with single spaces.

    The steps are taken in this order, as in SQuAD's own script: "The A-team!" becomes "ateam".
    """
    return spaced(_ARTICLE.sub(" ", text.lower().translate(_ASCII_PUNCTUATION)))


def normalize_answer(text: str) -> str:
    """``text`` without case, punctuation and the articles a, an, the, in one Unicode form, with single spaces.

    On ASCII text it equals :func:`squad_normalize`. Elsewhere it also drops punctuation of all scripts, quotes, dashes
    and zero-width characters, replaces compatibility forms (full-width forms, ligatures, superscripts) by plain ones,
    and composes the result (NFC).
    """
    return unicodedata.normalize("NFC", spaced(_ARTICLE.sub(_unless_marked, _plain(text))))


def words_of(text: str) -> list[str]:
    """The words of the normalised text, by which answers are compared; in scripts without spaces, its characters.

    Latin words next to such characters stay words: "iPhone 手机" is "iphone", "手", "机".
    """
    normalized = normalize_answer(text)
    return _UNSPACED_WORD.findall(normalized) if _ANY_UNSPACED.search(normalized) else normalized.split()


def as_written(text: str) -> str:
    """``text`` with its punctuation and articles, but without case, in one Unicode form, with single spaces.

    Texts that normalise to nothing, such as "A" or "---", are compared in this form. Quotes and dashes become ASCII.
    """
    return unicodedata.normalize("NFC", spaced(_folded(text.translate(_TYPED))))


def holds_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether one of the answers occurs in ``text`` as whole words (:func:`words_of`).

    An answer that normalises to nothing, such as "A", must occur as written, in the same case.
    """
    words = f" {' '.join(words_of(text))} "
    return any(
        f" {' '.join(found)} " in words if (found := words_of(answer)) else _holds_as_written(text, answer)
        for answer in answers
        if as_written(answer)
    )


def is_unspaced(character: str) -> bool:
    """Whether a character belongs to a script that puts no space between words."""
    return _ANY_UNSPACED.match(character) is not None


def text_key(text: str) -> str:
    """A key that is equal for texts that differ only in case, punctuation, spaces or Unicode form."""
    return unicodedata.normalize("NFC", _plain(text).translate(_LETTERS))


def _plain(text: str) -> str:
    """``text`` case-folded, without punctuation, decomposed."""
    return _DOTTED_I.sub("i", _folded(text.translate(_WORDS_ONLY)).translate(_WORDS_ONLY))


def _folded(text: str) -> str:
    """``text`` case-folded in its compatibility decomposition (Unicode's compatibility caseless match, D146)."""
    if text.isascii():
        return text.lower()
    for _ in range(2):
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", text).casefold())
    return text


def _unless_marked(article: re.Match) -> str:
    """Replace an article by a space; keep a letter next to a combining mark, which is no article."""
    text = article.string
    around = text[max(0, article.start() - 1) : article.start()] + text[article.end() : article.end() + 1]
    return article[0] if any(unicodedata.category(character)[0] == "M" for character in around) else " "


def _holds_as_written(text: str, answer: str) -> bool:
    text, answer = (unicodedata.normalize("NFKC", spaced(found.translate(_TYPED))) for found in (text, answer))
    before, after = (r"(?<!\w)" if answer[0].isalnum() else ""), (r"(?!\w)" if answer[-1].isalnum() else "")
    return re.search(before + re.escape(answer) + after, text) is not None
