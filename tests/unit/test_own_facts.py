"""The user's own facts and documents: what is taught, what is only asked, and what is refused with its line."""

import json

import pytest

from smf.data.documents import read_documents
from smf.data.own_facts import read_own_facts
from smf.errors import DataError
from smf.streams.fact_batches import encode_fact
from smf.streams.facts import draw_stream, full_stop
from smf.wordings.passages import passages, sentences
from tests.helpers import tokenizer

FACT = {
    "fact_id": "ann",
    "statements": ["Ann was born in Ostry.", "Ostry is where Ann comes from."],
    "prompts": ["The birthplace of Ann is"],
    "unseen_prompts": ["Ann came into the world in"],
    "question": "where was Ann born?",
    "answers": ["Ostry", "the town of Ostry"],
}
SOURCE = {"hub": None, "hub_config": None, "split": "train", "file": "own.jsonl", "passage_words": 6}


@pytest.fixture
def read(tmp_path):
    def read(rows, reader=read_own_facts, taken=frozenset()):
        (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return reader(str(tmp_path), SOURCE, set(taken))

    return read


def without(*columns):
    return {key: value for key, value in FACT.items() if key not in columns}


def test_a_statement_that_ends_with_the_answer_is_a_prompt_and_any_other_a_whole_text(read):
    (fact,) = read([FACT])
    assert fact.train_prompts == ("The birthplace of Ann is", "Ann was born in")
    assert fact.train_texts == ("Ostry is where Ann comes from.",)
    assert f"{fact.train_prompts[1]} {fact.answers[0]}." == FACT["statements"][0]
    assert fact.unseen_prompts == ("Ann came into the world in",)
    assert fact.question == "where was Ann born"
    assert (fact.fact_id, fact.subject) == ("ann", "where was Ann born")


def test_statements_and_answers_suffice_with_something_to_ask(read):
    first, second = read([without("fact_id", "prompts", "unseen_prompts"), without("fact_id", "prompts", "question")])
    assert [fact.fact_id for fact in (first, second)] == ["fact-00001", "fact-00002"]
    assert (first.unseen_prompts, second.question) == ((), "")


def test_a_question_and_its_answer_suffice_and_are_taught_by_frames_of_the_question(read):
    (fact,) = read([{"question": "Where was Ann born?", "answers": "Ostry"}])
    assert len(fact.train_prompts) == 6
    assert len(fact.unseen_prompts) == 2
    assert all("Where was Ann born" in prompt for prompt in (*fact.train_prompts, *fact.unseen_prompts))
    assert not {*fact.train_prompts} & {*fact.unseen_prompts}
    assert not any("Q:" in prompt for prompt in fact.train_prompts)  # the form that tests is not trained


def test_a_subject_that_no_wording_names_is_said_and_one_that_is_named_is_not(read, caplog):
    read([{**FACT, "subject": "Ann"}, {**FACT, "fact_id": "b", "question": "where is Bob", "subject": "Clara"}])
    (warning,) = [record.getMessage() for record in caplog.records if "its subject" in record.getMessage()]
    assert (
        "own.jsonl, line 2: fact 'b': neither its question nor any of its wordings names its subject 'Clara'" in warning
    )


def test_a_fact_that_a_held_out_set_asks_for_is_left_out(read):
    other = {**FACT, "fact_id": "b", "question": "where is Bob"}
    assert [fact.fact_id for fact in read([FACT, other], taken={"wherewasannborn"})] == ["b"]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({**FACT, "statements": ["Ann lives in Ostrya."]}, "the statement 'Ann lives in Ostrya.' holds none of the"),
        ({**FACT, "answers": []}, "column 'answers' must list one accepted answer or more"),
        (without("answers"), "no column 'answers'; found fact_id, prompts, question"),
        (
            without("statements", "prompts", "question"),
            "columns 'statements', 'prompts' and 'question' are empty; give the fact to learn",
        ),
        (without("question", "unseen_prompts"), "there is neither a 'question' nor 'unseen_prompts'"),
        ({**FACT, "prompts": [[1]]}, "column 'prompts' must hold texts only, found list: [1]"),
        ({**FACT, "answers": 1984}, """column 'answers' holds the number 1984; write it in quotes: "1984\""""),
        ({**FACT, "answers": ["Ostry", 2.5]}, """column 'answers' holds the number 2.5; write it in quotes: "2.5\""""),
        ({**FACT, "fact_id": 7}, """column 'fact_id' holds the number 7; write it in quotes: "7\""""),
        ({**FACT, "question": True}, "column 'question' must hold texts only, found bool: True"),
        ({**FACT, "fact_id": " "}, "fact_id '' is empty or holds a line break"),
        ({**FACT, "fact_id": "line\nbreak"}, r"fact_id 'line\nbreak' is empty or holds a line break"),
        ({**FACT, "fact_id": "line\u2028break"}, r"fact_id 'line\u2028break' is empty or holds a line break"),
        ({**FACT, "fact_id": "\x1b[2J"}, "another control character"),
        ({**FACT, "unseen_promts": ["x"]}, "there is no column 'unseen_promts'; did you mean 'unseen_prompts'?"),
        ({**FACT, "Question": "x"}, "there is no column 'Question'; did you mean 'question'?"),
        ({**FACT, "statements": ["Ostry."]}, "the statement 'Ostry.' is just the answer and says nothing about it"),
        ({**FACT, "prompts": [" "]}, "column 'train_prompts' must hold non-empty texts only"),
        ({**FACT, "locality_prompts": ["Bob is"]}, "1 locality_prompts, but 0 locality_answers"),
        ({**FACT, "question": "who"}, "fact_id 'ann' was used before, in line 1"),
    ],
)
def test_a_broken_fact_is_refused_with_its_line(read, row, complaint):
    with pytest.raises(DataError, match="own.jsonl, line 2: ") as error:
        read([FACT, row])
    assert complaint in str(error.value)


def test_one_text_stands_for_a_list_of_one(read):
    (fact,) = read([{"statements": "Ann was born in Ostry.", "question": "where was Ann born", "answers": "Ostry"}])
    assert (fact.train_prompts, fact.answers) == (("Ann was born in",), ("Ostry",))


def test_no_white_space_comes_between_a_prompt_and_its_answer(read):
    row = {"prompts": ["Ann was born in "], "unseen_prompts": [" Ann comes from\n"], "answers": ["Ostry "]}
    (fact,) = read([{**row, "statements": [" Ostry is the town of Ann. "], "question": " where  was\nAnn born ? "}])
    assert (fact.train_prompts, fact.answers, fact.unseen_prompts) == (
        ("Ann was born in",),
        ("Ostry",),
        ("Ann comes from",),
    )
    assert (fact.train_texts, fact.question) == (("Ostry is the town of Ann.",), "where was Ann born")


@pytest.mark.parametrize("stop", [".", "!", "", ". "])
@pytest.mark.parametrize("answer", ["Ostry", "Ostry.", "U.S."])
def test_a_statement_ends_with_the_answer_whatever_stop_follows_it_or_is_written_with_it(read, answer, stop):
    (fact,) = read(
        [{**without("prompts"), "statements": [f"Ann is from {answer.rstrip('.')}{stop}"], "answers": [answer]}]
    )
    assert (fact.train_prompts, fact.train_texts) == (("Ann is from",), ())
    assert f"{fact.answers[0]}{full_stop(fact.train_prompts[0], fact.answers[0])}" == f"{answer.rstrip('.')}."


def test_a_prompt_that_is_a_question_is_completed_by_the_answer_alone(read):
    (fact,) = read([{**FACT, "statements": [], "prompts": ["Q: where is Ann from?\nA:", "Ann is from"]}])
    rows = encode_fact(tokenizer(), fact, loss_on="answer", max_length=64)
    end = tokenizer().eos_token
    assert [tokenizer().decode([token for token in labels if token >= 0]) for _, labels in rows] == [
        f" Ostry{end}",
        f" Ostry.{end}",
    ]


def test_columns_that_are_not_read_are_named_once(read, caplog):
    notes = {"note": "from a letter", "source": "me", "object": "Ostry"}
    read(
        [
            {**FACT, **notes},
            {**FACT, "fact_id": "bob", "question": "who", "prompts": ["Bob"], "statements": [], **notes},
        ]
    )
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "ignored unknown columns: 'note', 'source', 'object'; known: answers" in record.message


# Repeats and contradictions


MOVED = {**FACT, "fact_id": "moved", "statements": ["Ann was born in Velburg."], "prompts": [], "answers": ["Velburg"]}


def test_a_fact_that_says_word_for_word_what_an_earlier_one_says_is_dropped_and_named(read, caplog):
    other = {
        **FACT,
        "fact_id": "b",
        "statements": ["Bob is from Ostry."],
        "prompts": [],
        "question": "where is Bob from",
    }
    caplog.set_level("INFO")
    facts = read(
        [
            FACT,
            other,
            FACT,
            {**FACT, "fact_id": "again"},
            {**FACT, "statements": ["Ostry is where Ann is from."]} | {"fact_id": "c"},
        ]
    )
    assert [fact.fact_id for fact in facts] == ["ann", "b", "c"]  # other words for the same fact teach more of it
    said = caplog.text
    assert "facts left out that say what an earlier one says: 2: " in said
    assert "line 3 (as line 1); line 4 (as line 1)" in said
    assert "3 of 5 rows are usable; dropped: 2 said before" in said


@pytest.mark.parametrize("question", ["Where was Ann born", "where was  ann born?", "Where was 'Ann' born?"])
def test_two_answers_to_one_question_are_refused_with_both_lines(read, question):
    with pytest.raises(
        DataError, match=r"own\.jsonl, line 3: .* has the answer 'Velburg', in line 1 it has 'Ostry'"
    ) as error:
        read(
            [
                FACT,
                {**FACT, "fact_id": "b", "question": "who", "statements": ["Ostry it is."], "prompts": []},
                {**MOVED, "question": question},
            ]
        )
    assert "--allow-updates" in str(error.value)


def test_two_answers_to_one_prompt_are_refused_too(read):
    rows = [
        {"prompts": [f"Ann lives in{end}"], "unseen_prompts": [f"{a} is"], "answers": [a]}
        for a, end in (("Ostry", " "), ("Velburg", ""))
    ]
    with pytest.raises(DataError, match="'Ann lives in' has the answer 'Velburg'"):
        read(rows)


def test_facts_that_share_an_accepted_answer_do_not_contradict_each_other(read):
    more = {**MOVED, "answers": ["Velburg", "ostry!"]}
    assert len(read([FACT, more])) == 2


def test_the_later_of_two_contradicting_facts_is_taught_alone_if_updates_are_allowed(read, monkeypatch):
    monkeypatch.setitem(SOURCE, "allow_updates", True)
    first, then = FACT, {**MOVED, "fact_id": "ann"}
    assert [fact.answers[0] for fact in read([first, then])] == ["Velburg"]
    assert [fact.answers[0] for fact in read([then, first])] == ["Ostry"]
    back = read([first, then, first])
    assert [fact.answers[0] for fact in back] == ["Ostry"]  # what was replaced may come back
    assert [fact.answers[0] for fact in read([first, then, then])] == ["Velburg"]


# Documents


DOCUMENT = {
    "document": "Ann was born in Ostry. She moved to Velburg in 1990.\n\nThere she wrote books.",
    "question": "Where did Ann write books?",
    "answer": ["Velburg"],
}


def test_passages_are_learned_one_by_one_and_the_last_asks_the_question(read):
    facts = read([DOCUMENT], read_documents)
    assert [fact.train_texts[0] for fact in facts] == [
        "Ann was born in Ostry.",
        "She moved to Velburg in 1990.",
        "There she wrote books.",
    ]
    assert [fact.question for fact in facts] == ["", "", "Where did Ann write books"]
    assert [fact.answers for fact in facts] == [(), (), ("Velburg",)]
    assert all(fact.is_passage for fact in facts)
    assert len({fact.subject for fact in facts}) == 1


def test_a_stream_of_subjects_keeps_documents_whole_and_in_order(read):
    rows = [{**DOCUMENT, "document": f"{n}. " + DOCUMENT["document"], "question": f"Who is {n}?"} for n in range(6)]
    pool = read(rows, read_documents)
    stream = draw_stream(pool, len(pool), "subjects", seed=0)
    assert stream != pool
    assert sorted(fact.fact_id for fact in stream) == sorted(fact.fact_id for fact in pool)
    by_subject = {subject: [fact for fact in pool if fact.subject == subject] for subject in {f.subject for f in pool}}
    assert stream == [fact for subject in dict.fromkeys(f.subject for f in stream) for fact in by_subject[subject]]
    assert draw_stream(pool, 4, "subjects", seed=0) == stream[:4]
    assert draw_stream(pool, len(pool), "subjects", seed=1) != stream


def test_a_document_of_several_texts_is_one_document(read):
    facts = read([{**DOCUMENT, "document": ["First text.", "Second text."]}], read_documents)
    assert [fact.train_texts[0] for fact in facts] == ["First text.", "Second text."]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"question": " ?"}, "a document needs a question and accepted answers"),
        ({"answer": []}, "a document needs a question and accepted answers"),
        ({"document": " \n\n "}, "column 'document' is empty"),
        ({"document": 5}, "column 'document' is int, not str or list"),
        ({"question": "Who else?"}, "the document is the same as in line 1"),
    ],
)
def test_a_broken_document_is_refused_with_its_line(read, change, complaint):
    with pytest.raises(DataError, match="own.jsonl, line 2: ") as error:
        read([DOCUMENT, {**DOCUMENT, **change}], read_documents)
    assert complaint in str(error.value)


def test_sentences_end_neither_at_initials_nor_at_abbreviations():
    text = 'Dr. J. K. Stone came.  "Stay!" he said. It cost 3.5 marks, i.e. nothing. Why? (No one knows.) The end'
    assert sentences(text) == [
        "Dr. J. K. Stone came.",
        '"Stay!" he said.',
        "It cost 3.5 marks, i.e. nothing.",
        "Why?",
        "(No one knows.)",
        "The end",
    ]
    assert sentences(" \n ") == []


def test_a_heading_goes_with_the_paragraph_that_it_is_above():
    text = "Life\n\nYouth\n\nAnn was born in Ostry.\n\nShe wrote:\n\nBooks.\n\nSee also"
    assert passages(text, max_words=20) == ["Life Youth Ann was born in Ostry.", "She wrote:", "Books.", "See also"]


def test_passages_hold_every_word_once_and_none_is_too_long():
    text = "\n\n".join(f"Part {n}. " + "It goes on and on. " * n + "x " * 15 for n in range(1, 6))
    found = passages(text, max_words=10)
    assert " ".join(found).split() == text.split()
    assert max(len(passage.split()) for passage in found) <= 10
