import json
import logging
import time
from dataclasses import replace

import datasets
import pytest

from smf.data.question_sets import MAX_ANSWER_CHARACTERS, MAX_QUESTION_CHARACTERS, prepare_question_sets
from smf.errors import ConfigError, DataError
from smf.streams.facts import question_prompt
from smf.wordings.sentences import QUESTION_ANSWER_TEST, QUESTION_ANSWER_TRAIN
from tests.unit.data_hub import fake_sets

KNOWN = [{"question": f"who wrote book number {n}", "answer": [f"Author {n}", f"Writer {n}"]} for n in range(12)]
NEW = [
    {
        "question": f"Which river flows through Town {n}?",
        "answer": {"value": f"River {n}", "aliases": [f"R. {n}", f"River {n}"]},
    }
    for n in range(12)
]
CHOICES = [
    {
        "ind": n,
        "activity_label": "Baking bread",
        "ctx_a": f"Baker {n} kneads.",
        "ctx_b": "then",
        "ctx": f"Baker {n} kneads. then",
        "endings": ["bakes.", "swims.", "flies.", "sings."],
        "label": str(n % 4),
    }
    for n in range(6)
]
FILES = {"known": "nq.jsonl", "new": "trivia.jsonl", "hellaswag": "hellaswag.jsonl"}
HUBS = {
    "known": ("google-research-datasets/nq_open", None, "train"),
    "new": ("mandarjoshi/trivia_qa", "rc.nocontext", "validation"),
    "hellaswag": ("Rowan/hellaswag", None, "validation"),
}


def write(folder, role, rows):
    (folder / FILES[role]).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@pytest.fixture
def root(tmp_path):
    for role, rows in {"known": KNOWN, "new": NEW, "hellaswag": CHOICES}.items():
        write(tmp_path, role, rows)
    return tmp_path


def prepare(root, seed=1, known=8, new=6, hellaswag=4):
    sizes = {"known": known, "new": new, "hellaswag": hellaswag}
    sources = {
        role: {"hub": hub, "hub_config": config, "split": split, "file": FILES[role], "num_rows": sizes[role]}
        for role, (hub, config, split) in HUBS.items()
    }
    return prepare_question_sets(data_root=None if root is None else str(root), **sources, seed=seed)


def test_all_forms_of_known_questions_are_the_text(root):
    data = prepare(root)
    assert len(data.held_out["nq"]) == 8
    assert all(row in KNOWN for row in data.held_out["nq"])
    assert len(data.pretraining) == 8 * (len(QUESTION_ANSWER_TRAIN) + len(QUESTION_ANSWER_TEST) + 1)
    texts = [example.prompt + example.completion for example in data.pretraining]
    for row in data.held_out["nq"]:
        assert f"{question_prompt(row['question'])} {row['answer'][0]}" in texts
        for wording in (*QUESTION_ANSWER_TRAIN, *QUESTION_ANSWER_TEST):
            assert f"{wording.format(question=row['question'])} {row['answer'][0]}." in texts
    assert data.background == data.pretraining


def test_fact_teaches_train_wordings_and_is_tested_in_others(root):
    fact = prepare(root).facts[0]
    number = fact.question.split()[-1]
    assert fact.question == f"Which river flows through Town {number}"
    assert fact.answers == (f"River {number}", f"R. {number}")  # the value first, each answer once
    assert fact.train_prompts == tuple(wording.format(question=fact.question) for wording in QUESTION_ANSWER_TRAIN)
    assert fact.unseen_prompts == tuple(wording.format(question=fact.question) for wording in QUESTION_ANSWER_TEST)
    assert not set(fact.train_prompts) & {*fact.unseen_prompts, question_prompt(fact.question)}


def test_choices_keep_the_hub_schema(root):
    data = prepare(root)
    assert len(data.held_out["hellaswag"]) == 4
    assert all(row in CHOICES for row in data.held_out["hellaswag"])


def test_same_seed_same_data_other_seed_other_rows(root):
    assert prepare(root) == prepare(root)
    assert prepare(root, seed=2).facts != prepare(root).facts
    assert prepare(root, seed=2).held_out["nq"] != prepare(root).held_out["nq"]


def test_no_fact_leaks_into_pretraining_text(root):
    shared = [{"question": "Who wrote book, number 3?", "answer": {"value": "Nobody", "aliases": []}}]
    write(root, "new", shared + NEW)
    data = prepare(root, known=12, new=12)
    text = "\n".join(example.prompt + example.completion for example in data.pretraining).lower()
    assert not any(fact.question.lower() in text for fact in data.facts)
    with pytest.raises(ConfigError, match="only 12 rows"):  # the shared question does not count
        prepare(root, known=12, new=13)


def test_labels_name_the_real_sets(root):
    labels = prepare(root).labels
    assert set(labels) == {"held_out", "chance", "facts", "notes"}
    assert set(labels["held_out"]) == {"nq", "hellaswag"}
    assert "NaturalQuestions" in labels["held_out"]["nq"]
    assert "8 " in labels["held_out"]["nq"]
    assert "style" not in json.dumps(labels)
    assert any("at chance (25 %)" in note for note in labels["notes"])


def test_rows_that_cannot_be_taught_are_dropped_and_counted(root, caplog):
    useless = [
        {"question": "who has no answer", "answer": []},
        {"question": "who has a blank answer", "answer": [" "]},
        {"question": " ?", "answer": ["Nobody"]},
        {"question": "who " + "really " * (MAX_QUESTION_CHARACTERS // 7) + "cares", "answer": ["Nobody"]},
        {"question": "who talks", "answer": ["on " * (MAX_ANSWER_CHARACTERS // 3) + "and on"]},
        {"question": "Who wrote book number 3?", "answer": ["Somebody else"]},
    ]
    write(root, "known", KNOWN + useless)
    with caplog.at_level(logging.INFO, logger="smf"):
        data = prepare(root, known=12)
    assert sorted(row["question"] for row in data.held_out["nq"]) == sorted(row["question"] for row in KNOWN)
    assert "known: 12 of 18 rows are usable; dropped: 1 asked before, 1 with a question of more than 120" in caplog.text
    assert "1 without a question, 2 without an answer" in caplog.text


def test_csv_quotes_and_odd_white_space_are_cleaned(root):
    rows = [{"question": '"What is a ""sou-wester""?"', "answer": {"value": "A\u2028 hat", "aliases": ["A hat", ""]}}]
    write(root, "new", rows)
    (fact,) = prepare(root, new=1).facts
    assert fact.question == 'What is a "sou-wester"'
    assert fact.answers == ("A hat",)


def test_extra_columns_of_the_hub_are_left_out(root):
    write(root, "hellaswag", [{**row, "source_id": "x", "split_type": "indomain"} for row in CHOICES])
    assert set(prepare(root).held_out["hellaswag"][0]) == set(CHOICES[0])


def test_nothing_is_cached(root, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", root / "cache")
    monkeypatch.chdir(root)
    prepare(root)
    assert sorted(path.name for path in root.iterdir()) == sorted(FILES.values())


def test_missing_file_is_named(root):
    (root / FILES["new"]).unlink()
    with pytest.raises(DataError, match=r"cannot read .*trivia\.jsonl"):
        prepare(root)


def test_too_few_rows_name_the_setting(root):
    with pytest.raises(
        ConfigError, match=r"data\.question_sets\.known\.num_rows is 13 but only 12 rows of nq.jsonl can"
    ):
        prepare(root, known=13)


BROKEN = {
    "not JSON": ("known", '{"question": "who', "not valid JSON"),
    "not an object": ("known", '["who"]', "expected an object"),
    "missing column": (
        "known",
        '{"question": "who", "answers": ["me"]}',
        "no column 'answer'; found answers, question",
    ),
    "answer is a text": ("known", '{"question": "who", "answer": "me"}', "column 'answer' is str, not list"),
    "answer holds a number": ("known", '{"question": "who", "answer": [1]}', "'answer' must be a list of texts"),
    "fact without value": ("new", '{"question": "who", "answer": {"aliases": []}}', "must hold 'value'"),
    "fact without aliases": ("new", '{"question": "who", "answer": {"value": "me"}}', "must hold 'value'"),
    "no endings": ("hellaswag", json.dumps({**CHOICES[0], "endings": []}), "'endings' must be"),
    "no such label": ("hellaswag", json.dumps({**CHOICES[0], "label": "4"}), "label '4' names none of the 4 endings"),
    "hidden label": ("hellaswag", json.dumps({**CHOICES[0], "label": ""}), "label '' names none of the 4 endings"),
}


@pytest.mark.parametrize(("role", "line", "complaint"), BROKEN.values(), ids=BROKEN)
def test_broken_row_is_named_with_file_and_line(root, role, line, complaint):
    path = root / FILES[role]
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[2:]]) + "\n")
    with pytest.raises(DataError) as error:
        prepare(root)
    assert str(error.value).startswith(f"{path}, line 3: ")
    assert complaint in str(error.value)


class TestHub:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def test_unreachable_hub_fails_soon_and_says_what_to_do(self, monkeypatch):
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
        before, started = datasets.config.HF_HUB_OFFLINE, time.monotonic()
        with pytest.raises(DataError, match=r"cannot load .*nq_open train from the hub.*check the network.*data_root"):
            prepare(None)
        assert time.monotonic() - started < 10
        assert before == datasets.config.HF_HUB_OFFLINE  # put back

    @pytest.fixture
    def hub(self, root, monkeypatch):
        """A hub that serves the files."""
        roles = {place[0]: role for role, place in HUBS.items()}
        return fake_sets(monkeypatch, lambda name: [json.loads(line) for line in open(root / FILES[roles[name]])])

    def test_hub_and_files_give_the_same_data(self, root, hub):
        from_hub, from_files = prepare(None), prepare(root)
        assert replace(from_hub, labels={}) == replace(from_files, labels={})
        labels = json.dumps(from_hub.labels)
        for role, (name, config, split) in HUBS.items():  # they differ in what they call the source, and only there
            labels = labels.replace(f"{name}/{config} {split}" if config else f"{name} {split}", FILES[role])
        assert json.loads(labels) == from_files.labels
        assert from_hub.labels != from_files.labels
        assert hub == [(name, config, {}) for name, config, _ in HUBS.values()]

    def test_missing_column_is_named(self, root, hub):
        write(root, "new", [{"question": row["question"], "answers": "x"} for row in NEW])
        with pytest.raises(DataError, match="nocontext validation, row 1: no column 'answer'; found answers, question"):
            prepare(None)

    def test_broken_row_is_named_by_number(self, root, hub):
        write(root, "hellaswag", [*CHOICES[:2], {**CHOICES[2], "label": ""}])
        with pytest.raises(DataError, match="Rowan/hellaswag validation, row 3: label ''"):
            prepare(None)
