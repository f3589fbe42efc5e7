"""Free-text answers against gold answers: exact match and token F1 after the normalisation of SQuAD and open NQ."""

import re
from collections import Counter
from collections.abc import Sequence

from smf.streams.normalize import normalize_answer

_FULL_STOP = re.compile(r"\.(?=\s|$)")
_LONGEST_ABBREVIATION = 3  # letters: "St.", "Mrs.", "No."


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the normalised prediction equals any normalised gold answer, else 0.0.

    Raises:
        ValueError: There are no gold answers.
    """
    _require(answers)
    predicted = normalize_answer(prediction)
    return float(any(predicted == normalize_answer(answer) for answer in answers))


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """Token F1 with the gold answer that fits best, in [0, 1].

    Tokens are the words of the normalised texts, counted with multiplicity. With ``common`` the size of the
    intersection of the two bags, precision is common / predicted words, recall is common / gold words, and F1 is their
    harmonic mean, 2 · common / (predicted words + gold words). Two texts without any word agree (1.0).

    Raises:
        ValueError: There are no gold answers.
    """
    _require(answers)
    predicted = Counter(normalize_answer(prediction).split())
    return max(_bag_f1(predicted, Counter(normalize_answer(answer).split())) for answer in answers)


def extract_answer(generated: str) -> str:
    """The answer that a generated continuation starts with: its first line, up to the first sentence's full stop.

    A full stop ends the sentence if white space or nothing follows it, unless the word before it looks abbreviated:
    a single letter ("J. K. Rowling"), a capitalised word of at most three letters ("St. Louis", "Mrs. Voorhees") or
    letters with a stop between them ("U.S. state"). A comma never ends an answer ("July 5 , 2018").
    """
    line = generated.split("\n", 1)[0].strip()
    for stop in _FULL_STOP.finditer(line):
        before = line[: stop.start()]
        if before and not before[-1].isspace() and not _is_abbreviation(before.split()[-1].strip("\"'()")):
            return before
    return line


def _is_abbreviation(word: str) -> bool:
    letters = word.replace(".", "")
    if not letters.isalpha():
        return False
    return len(letters) == 1 or "." in word or (len(letters) <= _LONGEST_ABBREVIATION and letters[0].isupper())


def _bag_f1(left: Counter, right: Counter) -> float:
    total = left.total() + right.total()
    return 2 * (left & right).total() / total if total else 1.0


def _require(answers: Sequence[str]) -> None:
    if not answers:
        raise ValueError("a prediction cannot be scored without gold answers; give at least one")
