"""Texts compared after the normalisation of SQuAD and open NQ, and whether one holds an answer."""

import re
import string
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def normalize_answer(text: str) -> str:
    """``text`` in lower case, without ASCII punctuation, without the articles a, an, the, with single spaces.

    The steps are taken in this order, as in SQuAD's own script: "The A-team!" becomes "ateam".
    """
    without_articles = _ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION))
    return " ".join(without_articles.split())


def holds_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether one of the answers occurs in ``text`` as whole words, both normalised.

    An answer of which the normalisation leaves nothing, such as "A", is looked for as it is written.
    """
    words = f" {normalize_answer(text)} "
    return any(
        f" {normalized} " in words if (normalized := normalize_answer(answer)) else answer.strip() in text
        for answer in answers
        if answer.strip()
    )


def text_key(text: str) -> str:
    """Equal for texts that differ in case, punctuation or spaces only."""
    return "".join(character for character in text.lower() if character.isalnum())
