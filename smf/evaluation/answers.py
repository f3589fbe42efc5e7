"""Score free-text answers against gold answers: answer extraction, exact match and token F1.

Texts are compared by their words (:func:`smf.streams.normalize.words_of`). On ASCII text this is SQuAD's normalisation;
beyond ASCII, characters that look the same are equal. A gold answer without any word, such as "A" or "---", is compared
as it is written (:func:`smf.streams.normalize.as_written`).
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

from smf.streams.normalize import as_written, squad_normalize, words_of

_STOP = re.compile(r"\.(?=\s|$)|[。｡।۔።\n\r\u2028\u2029]")
_LINE_BREAKS = "\n\r\u2028\u2029"
_LONGEST_ABBREVIATION = 3  # letters: "St.", "Mrs.", "No."


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 1.0 if the prediction is the same sequence of words as any gold answer, else 0.0.

    Raises:
        ValueError: There are no gold answers.
    """
    return _best(prediction, answers, words_of, lambda predicted, gold: float(predicted == gold))


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """Token F1 against the best-matching gold answer, in [0, 1].

    Tokens are words, counted with multiplicity. With ``common`` the size of the intersection of the two bags, precision
    is common / predicted words, recall is common / gold words, and F1 is their harmonic mean,
    2 · common / (predicted words + gold words). Against a gold answer without words, F1 is 1 for the same text and 0
    for any other; an empty prediction scores 0.

    Raises:
        ValueError: There are no gold answers.
    """
    return _best(prediction, answers, words_of, _bag_f1)


def squad_exact_match(prediction: str, answers: Sequence[str]) -> float:
    """:func:`exact_match` under SQuAD's own normalisation, for comparison with published numbers."""
    return _best(prediction, answers, _squad_words, lambda predicted, gold: float(predicted == gold))


def squad_f1(prediction: str, answers: Sequence[str]) -> float:
    """:func:`token_f1` under SQuAD's own normalisation, for comparison with published numbers."""
    return _best(prediction, answers, _squad_words, _bag_f1)


def agreement(said: str, before: str) -> float:
    """Token F1 between two models' answers to the same prompt, in [0, 1]. Two empty answers agree."""
    return 1.0 if as_written(said) == as_written(before) else token_f1(said, [before])


def extract_answer(generated: str, answer: str | None = None) -> str:
    """Extract the answer from a generated continuation: its first line, up to the end of the first sentence.

    A full stop ends the sentence if white space or nothing follows it, unless the word before it looks abbreviated:
    a single letter ("J. K. Rowling"), a capitalised word of at most three letters ("St. Louis", "Mrs. Voorhees") or
    letters with a stop between them ("U.S. state"). The stops of scripts that do not abbreviate with them (。, ।)
    always end the sentence. A comma never ends an answer ("July 5 , 2018").

    Args:
        generated: The text.
        answer: The gold answer that the text will be compared with; it may itself contain stops. While the text so far
            is only a prefix of it, neither a stop nor a line break ends the text ("Brown vs" of "Brown vs. Board of
            Education"). A stop does end a text that already equals it ("Henry V. He was"), unless that stop is the gold
            answer's own last one ("U.S. Virgin Islands" is not "U.S.").
    """
    for stop in _STOP.finditer(generated):
        before = generated[: stop.start()]
        said = before.strip()
        is_break = stop[0] in _LINE_BREAKS
        if not is_break and (not said or before[-1].isspace()):
            continue
        if said and answer is not None and _begins(said, answer):
            continue
        if is_break:
            return said
        if answer is not None and as_written(said) == as_written(answer):
            return said
        if stop[0] == "." and _is_abbreviation(said.split()[-1].strip("\"'()")):
            continue
        own_stop = answer is not None and as_written(said + stop[0]) == as_written(answer)
        return said + stop[0] if own_stop else said
    return generated.strip()


def _begins(said: str, answer: str) -> bool:
    """Whether ``said`` is a proper prefix of ``answer``, by words or, without any, by characters."""
    words, whole = words_of(said), words_of(answer)
    if words:
        return len(words) < len(whole) and words == whole[: len(words)]
    said, answer = as_written(said), as_written(answer)
    return said != answer and answer.startswith(said)


def _is_abbreviation(word: str) -> bool:
    letters = word.replace(".", "")
    if not letters.isalpha():
        return False
    return len(letters) == 1 or "." in word or (len(letters) <= _LONGEST_ABBREVIATION and letters[0].isupper())


def _best(
    prediction: str,
    answers: Sequence[str],
    words: Callable[[str], list[str]],
    score: Callable[[list[str], list[str]], float],
) -> float:
    if not answers:
        raise ValueError("a prediction cannot be scored without gold answers; give at least one")
    predicted, written = words(prediction), as_written(prediction)
    if not written:
        return 0.0
    return max(
        score(predicted, gold) if (gold := words(answer)) else float(written == as_written(answer))
        for answer in answers
    )


def _squad_words(text: str) -> list[str]:
    return squad_normalize(text).split()


def _bag_f1(left: list[str], right: list[str]) -> float:
    return 2 * (Counter(left) & Counter(right)).total() / (len(left) + len(right))
