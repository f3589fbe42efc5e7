import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smf.evaluation.answers import exact_match, extract_answer, normalize_answer, token_f1

words = st.sampled_from(["a", "the", "An", "Velburg", "velburg!", "City", "of", "o'f", "1,000", "...", "Š"])
texts = st.lists(words, max_size=6).map(" ".join)


def slow_words(text):
    """The normalised words again, character by character and word by word."""
    kept = ""
    for character in text:
        if not re.fullmatch(r"[!-/:-@\[-`{-~]", character):  # ASCII punctuation as its four ranges
            kept += character.lower()
    return [word for word in kept.split() if word not in ("a", "an", "the")]


def slow_f1(prediction, answer):
    """F1 by crossing off words of a list, from precision and recall."""
    predicted, left = slow_words(prediction), slow_words(answer)
    gold, common = len(left), 0
    for word in predicted:
        if word in left:
            left.remove(word)
            common += 1
    if not predicted or not gold:
        return float(not predicted and not gold)
    precision, recall = common / len(predicted), common / gold
    return 0.0 if common == 0 else 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("Velburg", "velburg"),
        (" The  City of\u00a0Velburg. ", "city of velburg"),
        ("The A-team!", "ateam"),
        ("a an the", ""),
        ("Theatre and Anthem", "theatre and anthem"),
        ("July 5 , 2018", "july 5 2018"),
        ("1,000", "1000"),
        ("ŠKODA", "škoda"),
    ],
)
def test_normalization(text, normalized):
    assert normalize_answer(text) == normalized


@pytest.mark.parametrize(
    ("prediction", "answers", "em", "f1"),
    [
        ("Velburg", ["Velburg"], 1, 1),
        ("the city of velburg!", ["Velburg", "City of Velburg"], 1, 1),
        ("city of Velburg", ["Velburg"], 0, 2 * 1 / (3 + 1)),
        ("Velburg", ["Velburg Castle North"], 0, 2 * 1 / (1 + 3)),
        ("Inga Varga Brandt", ["Inga Brandt", "I. Brandt"], 0, 2 * 2 / (3 + 2)),  # the best alias counts
        ("Brandt Inga", ["Inga Brandt"], 0, 1),  # F1 knows no order
        ("no no no", ["no no"], 0, 2 * 2 / (3 + 2)),  # words count as often as they occur
        ("Ostry", ["Velburg"], 0, 0),
        ("", ["Velburg"], 0, 0),
        ("the", ["a"], 1, 1),
    ],
)
def test_scores_worked_by_hand(prediction, answers, em, f1):
    assert exact_match(prediction, answers) == em
    assert token_f1(prediction, answers) == pytest.approx(f1)


@pytest.mark.parametrize("score", [exact_match, token_f1])
def test_no_gold_answer_is_refused(score):
    with pytest.raises(ValueError, match="give at least one"):
        score("Velburg", [])


@given(texts, st.lists(texts, min_size=1, max_size=3))
def test_scores_equal_an_independent_implementation(prediction, answers):
    assert token_f1(prediction, answers) == pytest.approx(max(slow_f1(prediction, answer) for answer in answers))
    assert exact_match(prediction, answers) == any(slow_words(prediction) == slow_words(answer) for answer in answers)


@given(texts, texts)
def test_f1_is_a_symmetric_share_and_one_for_equal_bags_only(left, right):
    f1 = token_f1(left, [right])
    assert 0 <= f1 <= 1
    assert f1 == token_f1(right, [left])
    assert (f1 == 1) == (sorted(normalize_answer(left).split()) == sorted(normalize_answer(right).split()))
    assert exact_match(left, [right]) <= f1


@given(st.text(), texts, texts)
def test_another_alias_never_lowers_a_score(prediction, first, second):
    assert token_f1(prediction, [first, second]) == max(token_f1(prediction, [first]), token_f1(prediction, [second]))
    assert exact_match(prediction, [first, second]) >= exact_match(prediction, [first])


@given(st.text())
def test_normalization_does_not_depend_on_itself(text):
    assert normalize_answer(normalize_answer(text)) == normalize_answer(text)


@pytest.mark.parametrize(
    ("generated", "answer"),
    [
        (" Velburg", "Velburg"),
        (" Velburg.", "Velburg"),
        (" Velburg. Mara Teller works for Ostry.", "Velburg"),
        (" Velburg.\nQ: who", "Velburg"),
        ("\nVelburg", ""),
        ("", ""),
        (" St. Louis. It lies", "St. Louis"),
        (" J. K. Rowling.", "J. K. Rowling"),
        (" Mrs. Voorhees", "Mrs. Voorhees"),
        (" U.S. state", "U.S. state"),
        (' (W.W.) "Jacobs". He', '(W.W.) "Jacobs"'),
        (" July 5 , 2018", "July 5 , 2018"),
        (" 3.99 degrees. That", "3.99 degrees"),
        (" in 1812. Then", "in 1812"),
        (" seven of 9. Then", "seven of 9"),
        (" Proc. of", "Proc"),  # a long abbreviation is taken for a sentence's end
    ],
)
def test_the_answer_is_the_first_sentence(generated, answer):
    assert extract_answer(generated) == answer
