"""The user's own facts and documents: what is taught, what is only asked, and what is refused with its line."""

import json

import pytest

from smf.errors import DataError
from smf.streams.documents import read_documents
from smf.streams.facts import draw_stream
from smf.streams.own_facts import read_own_facts
from smf.streams.passages import passages, sentences

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


def test_a_fact_that_a_held_out_set_asks_for_is_left_out(read):
    other = {**FACT, "fact_id": "b", "question": "where is Bob"}
    assert [fact.fact_id for fact in read([FACT, other], taken={"wherewasannborn"})] == ["b"]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({**FACT, "statements": ["Ann lives in Ostrya."]}, "the statement 'Ann lives in Ostrya.' holds none of the"),
        ({**FACT, "answers": []}, "column 'answers' must list one accepted answer or more"),
        (without("answers"), "no column 'answers'; found fact_id, prompts, question"),
        (without("statements", "prompts"), "columns 'statements' and 'prompts' are empty"),
        (without("question", "unseen_prompts"), "there is neither a 'question' nor 'unseen_prompts'"),
        ({**FACT, "statements": "Ann was born in Ostry."}, "column 'statements' is str, not list; write a list"),
        ({**FACT, "prompts": [1]}, "column 'prompts' must hold texts only"),
        ({**FACT, "prompts": [" "]}, "column 'train_prompts' must hold non-empty texts only"),
        ({**FACT, "locality_prompts": ["Bob is"]}, "1 locality_prompts, but 0 locality_answers"),
        (FACT, "fact_id 'ann' was used before, in line 1"),
    ],
)
def test_a_broken_fact_is_refused_with_its_line(read, row, complaint):
    with pytest.raises(DataError, match="own.jsonl, line 2: ") as error:
        read([FACT, row])
    assert complaint in str(error.value)


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
        ({"question": "Who else?"}, "the document is that of line 1"),
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
