"""What a generated text answers, and how it is scored against gold answers."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smf.evaluation.answers import (
    agreement,
    exact_match,
    extract_answer,
    squad_exact_match,
    squad_f1,
    token_f1,
)
from smf.evaluation.documents import score_agreement, score_generation
from smf.streams.normalize import as_written, normalize_answer, spaced, words_of

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
    if not gold:
        return float(prediction.lower().split() == answer.lower().split() != [])
    if not predicted:
        return 0.0
    precision, recall = common / len(predicted), common / gold
    return 0.0 if common == 0 else 2 * precision * recall / (precision + recall)


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
    assert exact_match(prediction, answers) == any(
        slow_words(prediction) == slow_words(answer) if slow_words(answer) else slow_f1(prediction, answer)
        for answer in answers
    )


@given(texts, texts)
def test_f1_is_a_symmetric_share_and_one_for_equal_bags_only(left, right):
    f1 = token_f1(left, [right])
    assert 0 <= f1 <= 1
    assert f1 == token_f1(right, [left])
    if words_of(left) or words_of(right):
        assert (f1 == 1) == (sorted(normalize_answer(left).split()) == sorted(normalize_answer(right).split()))
    assert exact_match(left, [right]) <= f1


@given(st.text(), texts, texts)
def test_another_alias_never_lowers_a_score(prediction, first, second):
    assert token_f1(prediction, [first, second]) == max(token_f1(prediction, [first]), token_f1(prediction, [second]))
    assert exact_match(prediction, [first, second]) >= exact_match(prediction, [first])


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
        (" 東京。彼は", "東京"),
        (" दिल्ली। वह", "दिल्ली"),
        ("\u00a0Velburg\u2028Mara", "Velburg"),
    ],
)
def test_the_answer_is_the_first_sentence(generated, answer):
    assert extract_answer(generated) == answer


# Every accepted answer scores 1 when it is said

HARD_ANSWERS = [
    "Brown vs. Board of Education",
    "ca. 1450",
    "Capt. Kirk",
    "Paris\nFrance",
    "No. 5",
    "Apple Inc.",
    "U.S.",
    "U.S",
    "Henry V",
    "Ph.D. in physics",
    "e.g. salt",
    "salt, pepper, etc.",
    "St. Petersburg",
    "Dr. No",
    "3.14",
    "Who? What?",
    "Yahoo!",
    "vs",
    "A. A. Milne",
    "The Who. The Doors",
    "你好。世界",
    "A",
    "A.",
    "The The",
    "---",
    "...",
    "!!!",
    "+",
    "C++",
    "$",
    "α?",
]


def scores(said, *answers):
    return tuple(score_generation({"answer": list(answers)}, [said])[name] for name in ("em", "f1"))


@pytest.mark.parametrize("rest", ["", ". He was born", ".\nQ: who", "\nMore"])
@pytest.mark.parametrize("answer", HARD_ANSWERS)
def test_an_answer_with_a_stop_inside_scores_1_when_it_is_said(answer, rest):
    assert scores(f" {answer}{rest}", answer) == (1, 1)
    assert scores(f" {answer}{rest}", "Velburg", answer, f"{answer} and more") == (1, 1)


@given(
    st.text(max_size=12) | st.lists(st.sampled_from([*HARD_ANSWERS, ".", "the", "。", "\n"]), max_size=4).map(" ".join)
)
@example("i\u0307 the")
@example(". .")
def test_any_accepted_answer_scores_1_when_it_is_said(answer):
    answer = spaced(answer)  # as answers are read
    if as_written(answer):
        for rest in ("", ". More text", "\nMore"):
            assert scores(f" {answer}{rest}", answer) == (1, 1)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Brown vs. Smith", "Brown vs. Board of Education"),
        ("Brown vs", "Brown vs. Board of Education"),
        ("U.S. Virgin Islands", "U.S."),
        ("U.S. Virgin Islands", "US"),
        ("St. Louis", "St. Petersburg"),
        ("Ostry. Velburg", "Velburg"),
        ("No. It is Paris", "No. 5"),
        ("in 1450", "ca. 1450"),
    ],
)
def test_knowing_the_gold_answer_makes_no_other_answer_right(said, answer):
    em, f1 = scores(f" {said}", answer)
    assert em == 0
    assert f1 < 1


def test_each_accepted_answer_decides_about_its_own_stops():
    names = ["John", "John. F. Kennedy"]
    assert scores(" John. He was president", *names) == (1, 1)
    assert scores(" John. F. Kennedy. He was president", *names) == (1, 1)
    assert scores(" John. He was president", names[1])[0] == 0


@given(st.text(max_size=8), st.text(max_size=8))
def test_an_empty_prediction_never_scores(blank, answer):
    blank = "".join(character for character in blank if character.isspace() or character in "\u200b\u00ad\ufeff")
    for score in (exact_match, token_f1, squad_exact_match, squad_f1):
        assert score(blank, [answer, "", "A", "---"]) == 0


@pytest.mark.parametrize(
    ("said", "answer"), [("the", "a"), ("!!!", "---"), ("A", "The"), ("Velburg", "A"), ("A", "---")]
)
def test_texts_without_words_are_equal_only_as_they_are_written(said, answer):
    assert scores(said, answer) == (0, 0)


@pytest.mark.parametrize(("said", "answer"), [("the the", "The The"), ("\uff0b", "+"), ("\u2014", "-"), ("“a”", '"A"')])
def test_texts_without_words_are_equal_in_any_case_and_form(said, answer):
    assert scores(said, answer) == (1, 1)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Beyonce\u0301", "Beyoncé"),
        ("O’Neill", "O'Neill"),
        ("1914–1918", "1914-1918"),
        ("Straße", "STRASSE"),
        ("東京", "东京".replace("东", "東")),
    ],
)
def test_texts_that_look_the_same_score_1(left, right):
    assert scores(left, right) == scores(right, left) == (1, 1)


@pytest.mark.parametrize(
    ("said", "answer", "f1"),
    [
        ("東京", "東京都", 2 * 2 / (2 + 3)),
        ("กิน", "กินข้าว", 2 * 2 / (2 + 5)),  # a consonant and its vowel sign are one character
        ("iPhone手机", "iPhone 手机壳", 2 * 3 / (3 + 4)),
        ("서울", "서울특별시", 0),  # Korean has spaces
        ("서울 시", "서울", 2 * 1 / (2 + 1)),
    ],
)
def test_characters_are_the_words_of_scripts_without_spaces(said, answer, f1):
    assert scores(said, answer)[1] == pytest.approx(f1)


def test_squads_own_numbers_stand_beside_ours():
    found = score_generation({"answer": ["Beyoncé"]}, [" Beyonce\u0301."])
    assert found == {"em": 1, "f1": 1, "squad_em": 0, "squad_f1": 0}
    assert set(score_generation({"answer": ["the O'Neill"]}, [" ONeill"]).values()) == {1}


@given(texts.filter(str.isascii), st.lists(texts.filter(str.isascii), min_size=1, max_size=3))
def test_on_ascii_our_numbers_are_squads(prediction, answers):
    assert exact_match(prediction, answers) == squad_exact_match(prediction, answers)
    assert token_f1(prediction, answers) == squad_f1(prediction, answers)


# Locality


@given(st.text())
def test_what_the_start_model_says_agrees_with_itself(text):
    assert score_agreement({"answer": [extract_answer(text)]}, [text]) == {"f1": 1}


def test_silence_agrees_with_silence_alone():
    assert agreement("", "") == 1
    assert agreement("", "Velburg") == agreement("Velburg", "") == agreement("", "---") == 0
    assert agreement("the city of Velburg", "Velburg") == 2 * 1 / (3 + 1)
