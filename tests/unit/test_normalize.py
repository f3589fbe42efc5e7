"""When two texts say the same."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smf.streams.facts import question_prompt
from smf.streams.normalize import (
    as_written,
    bare_question,
    holds_answer,
    normalize_answer,
    squad_normalize,
    text_key,
    words_of,
)


def squad(text):
    """The published script's steps, once more: lower case, punctuation, articles, white space."""
    kept = "".join(character for character in text.lower() if character not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


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


ascii_texts = st.text(st.characters(max_codepoint=127)) | st.lists(
    st.sampled_from(["a", "The", "an.", "x-ray", "theatre", "_", "\t", "A1", "\x00", "the\x1c"]), max_size=6
).map(" ".join)


@given(ascii_texts)
def test_on_ascii_the_normalization_is_squads(text):
    assert normalize_answer(text) == squad_normalize(text) == squad(text)
    assert words_of(text) == squad(text).split()


@given(st.text())
def test_squads_normalization_is_kept_beside_ours(text):
    assert squad_normalize(text) == squad(text)


@given(st.text())
def test_normalization_does_not_depend_on_itself(text):
    assert normalize_answer(normalize_answer(text)) == normalize_answer(text)


SAME = [
    ("Beyonce\u0301", "Beyoncé"),
    ("\u1112\u1161\u11ab", "한"),  # Hangul in parts
    ("O’Neill", "O'Neill"),
    ("O´Neill", "O'Neill"),
    ("Hawaiʻi", "Hawai'i"),
    ("“Heroes”", '"Heroes"'),
    ("„Helden“", "«Helden»"),
    ("1914–1918", "1914-1918"),
    ("Jean\u2010Luc", "Jean\u2011Luc"),
    ("\u22125", "-5"),
    ("New\u00a0York", "New York"),
    ("New\u202fYork", "New\u3000York"),
    ("Vel\u00adburg", "Velburg"),
    ("Vel\u200bburg\ufeff", "Velburg"),
    ("Ｖｅｌｂｕｒｇ", "Velburg"),
    ("ﬁnal", "final"),
    ("wait…", "wait..."),
    ("STRASSE", "straße"),
    ("İstanbul", "istanbul"),
    ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ("５½", "5 1/2"),
    ("ｶﾞﾝﾀﾞﾑ", "ガンダム"),
    ("¿Quién?", "quién"),
    ("東京、日本", "東京日本"),
    ("ሰላም፡ዓለም", "ሰላም ዓለም"),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_texts_that_look_the_same_are_the_same(left, right):
    assert normalize_answer(left) == normalize_answer(right) != ""
    assert text_key(left) == text_key(right) != ""
    assert holds_answer(f"It is {left} .", [right])
    assert holds_answer(f"It is {right} .", [left])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Beyonce", "Beyoncé"),
        ("कि", "की"),  # a vowel sign is no letter, but tells words apart
        ("x\u0302", "x"),
        ("a\u0302x", "x"),
        ("a\u0305", ""),  # no article
    ],
)
def test_marks_and_fractions_tell_texts_apart(left, right):
    assert normalize_answer(left) != normalize_answer(right)
    assert text_key(left) != text_key(right)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("5½", ["5", "12"]),  # as "5 1/2", not as "512"
        ("東京都", ["東", "京", "都"]),
        ("iPhone 15手机", ["iphone", "15", "手", "机"]),
        ("ガンダム", list("ガンダム")),
        ("か\u3099", ["が"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("서울 특별시", ["서울", "특별시"]),
        ("Привет, мир!", ["привет", "мир"]),
        ("😀 ok", ["😀", "ok"]),
    ],
)
def test_words(text, words):
    assert words_of(text) == [normalize_answer(word) for word in words]


@pytest.mark.parametrize(
    ("text", "answer", "found"),
    [
        ("王小明出生于苏州。", "苏州", True),
        ("王小明出生于杭州。", "苏州", False),
        ("Sie wohnt in der Strasse", "straße", True),
        ("Ann lives in Ostrya.", "Ostry", False),
        ("Her blood group is A.", "A", True),
        ("Ann has a cat.", "A", False),
        ("It is called +.", "+", True),
        ("It is called it.", "---", False),
    ],
)
def test_an_answer_is_found_as_whole_words(text, answer, found):
    assert holds_answer(text, [answer]) is found


def test_an_invisible_answer_is_held_by_no_text():
    assert not as_written(" \u200b\u00ad")
    assert not holds_answer("Ann was born in Ostry.", [" ", "\u200b"])


@pytest.mark.parametrize("marks", ["", "?", " ??", "？", "？?", " ؟ ", "\u037e", "፧"])
def test_a_question_is_asked_with_one_mark_of_any_script(marks):
    assert bare_question(f" who was born{marks}") == "who was born"
    assert question_prompt(f"who was born{marks}") == "Q: who was born?\nA:"
