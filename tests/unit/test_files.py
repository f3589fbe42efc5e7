"""Files in the containers that people have, and as they write them by hand."""

import bz2
import gzip
import json
import lzma

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from smf.data.documents import read_documents
from smf.data.own_facts import read_own_facts
from smf.errors import DataError
from smf.evaluation.documents import READERS
from smf.files.artifacts import read_jsonl
from smf.rows.files import read_file
from smf.rows.sources import read_rows
from smf.teaching.given_files import kind_of, read_user_facts

FACTS = [
    {
        "fact_id": f"fact {n}",
        "statements": [f"{name} was born in Ostry.", f"In Ostry, {name} was born."],
        "question": f"where was {name} born",
        "answers": ["Ostry", "Ostra"],
    }
    for n, name in enumerate(("Ann", "Ben, of Ostry", 'Cleo "C" Dörr'))
]
JSONL = "".join(json.dumps(fact) + "\n" for fact in FACTS).encode()


def csv_of(delimiter: str) -> bytes:
    def cell(value):
        text = json.dumps(value) if isinstance(value, list) else value
        return '"' + text.replace('"', '""') + '"'

    lines = [delimiter.join(FACTS[0]), *(delimiter.join(map(cell, fact.values())) for fact in FACTS)]
    return ("\n".join(lines) + "\n").encode()


def parquet() -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(FACTS), sink)
    return sink.getvalue().to_pybytes()


CONTAINERS = {
    "facts.jsonl": JSONL,
    "facts.ndjson": JSONL,
    "facts.jsonl.gz": gzip.compress(JSONL),
    "facts.jsonl.bz2": bz2.compress(JSONL),
    "facts.jsonl.xz": lzma.compress(JSONL),
    "facts.jsonl.zst": zstandard.compress(JSONL),
    "frames.jsonl.zst": b"".join(map(zstandard.compress, JSONL.splitlines(keepends=True))),
    "misnamed.jsonl": gzip.compress(JSONL),
    "facts.json": json.dumps(FACTS, indent=1).encode(),
    "a line.json": json.dumps(FACTS).encode(),
    "pretty.jsonl": "\n".join(json.dumps(fact, indent=2) for fact in FACTS).encode(),
    "blank.jsonl": b"\n" + JSONL.replace(b"\n", b"\n\n \t\n"),
    "crlf.jsonl": JSONL.replace(b"\n", b"\r\n"),
    "mark.jsonl": b"\xef\xbb\xbf" + JSONL,
    "facts.csv": csv_of(","),
    "crlf.csv": csv_of(",").replace(b"\n", b"\r\n"),
    "mark.csv": b"\xef\xbb\xbf" + csv_of(","),
    "semicolons.csv": csv_of(";"),
    "blank.csv": csv_of(",").replace(b"\n", b"\n\n"),
    "facts.tsv": csv_of("\t"),
    "facts.csv.gz": gzip.compress(csv_of(",")),
    "facts.parquet": parquet(),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_own_facts_are_the_same_in_every_container(tmp_path, name):
    (tmp_path / name).write_bytes(CONTAINERS[name])
    (tmp_path / "strict.jsonl").write_bytes(JSONL)
    expected = [(fact["fact_id"], fact["question"], tuple(fact["answers"])) for fact in FACTS]
    found = read_user_facts(tmp_path / name)
    assert [(fact.fact_id, fact.question, fact.answers) for fact in found] == expected
    assert found == read_user_facts(tmp_path / "strict.jsonl")


def rows(path, columns, optional=None, **source):
    return list(read_rows(None, {"hub": None, "file": str(path), **source}, columns, optional))


def test_the_place_of_a_row_is_its_line_and_its_number_is_its_own(tmp_path):
    (tmp_path / "rows.jsonl").write_text('\n{"text": "a"}\n\n\n{"text": "b"}\n')
    (tmp_path / "rows.json").write_text('[\n {"text": "a"}, {"text": "b"},\n\n {\n"text": "c"}\n]\n')
    (tmp_path / "rows.csv").write_text('text,n\n"a\nb",1\n\nc,2\n')
    (tmp_path / "rows.txt").write_text("a\n\nb\n")
    found = {path.suffix: rows(path, {"text": str}) for path in tmp_path.iterdir()}
    assert [(row.number, row.place) for row in found[".jsonl"]] == [(1, "line 2"), (2, "line 5")]
    assert [row.place for row in found[".json"]] == ["item 1 (line 2)", "item 2 (line 2)", "item 3 (line 4)"]
    assert [(row.place, row.values["text"]) for row in found[".csv"]] == [("line 2", "a\nb"), ("line 5", "c")]
    assert [(row.place, row.values["text"]) for row in found[".txt"]] == [
        ("line 1", "a"),
        ("line 2", ""),
        ("line 3", "b"),
    ]
    assert found[".csv"][0].where == f"{tmp_path / 'rows.csv'}, line 2"


def test_cells_become_what_their_columns_hold_and_nothing_else(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('answer,label,cop,rank,value,note\n1984,0,2,0.5,"{""value"": ""007""}",\n007,1,3,,{},2026-11-27\n')
    columns = {"answer": list, "label": (str, int), "cop": int, "value": dict}
    found = [row.values for row in rows(path, columns, {"rank": (int, float), "note": str})]
    assert found == [
        {"answer": ["1984"], "label": "0", "cop": 2, "value": {"value": "007"}, "rank": 0.5, "note": None},
        {"answer": ["007"], "label": "1", "cop": 3, "value": {}, "rank": None, "note": "2026-11-27"},
    ]


def test_null_in_parquet_is_nothing_where_a_column_may_be_missing_and_refused_where_not(tmp_path):
    table = pyarrow.table({"text": ["a", None], "note": pyarrow.array([None, "b"], pyarrow.string())})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    found = rows(tmp_path / "rows.parquet", {}, {"text": str, "note": str})
    assert [row.values for row in found] == [{"text": "a", "note": None}, {"text": None, "note": "b"}]
    with pytest.raises(DataError, match=r"rows\.parquet, row 2: column 'text' is null, not str"):
        rows(tmp_path / "rows.parquet", {"text": str})


def test_no_more_is_read_than_the_rows_that_are_looked_at(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": "b"}\nbroken\n')
    assert len(rows(tmp_path / "rows.jsonl", {"text": str}, first_rows=2)) == 2
    with pytest.raises(DataError, match="line 3: not valid JSON"):
        rows(tmp_path / "rows.jsonl", {"text": str}, first_rows=3)


def test_a_blank_line_is_damage_in_a_file_of_the_pipeline(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n\n{"text": "b"}\n')
    with pytest.raises(DataError, match="line 2: not valid JSON"):
        read_jsonl(tmp_path / "rows.jsonl", {"text": str})


TEXTS = b"".join(b'{"text": "Text %d."}\n' % number for number in range(50))
BROKEN = {
    "a comma ends the line": ('{"text": "a"},\n{"text": "b"}\n', "line 1: .*remove the comma at the end"),
    "a comma before a bracket": (
        '{"text": "a"}\n{"text": "b",}\n',
        "line 2: .*remove the comma before the closing bracket",
    ),
    "single quotes": ("{'text': 'a'}\n", "line 1: .*written as in Python; JSON needs double quotes"),
    "True": ('{"text": "a"}\n{"text": True}\n', "line 2: .*written as in Python; .*true, false and null"),
    "curly quotes": ("{“text”: “a”}\n", "line 1: .*quotes are curly; JSON needs straight double quotes"),
    "no quotes": ('{text: "a"}\n', "line 1: .*names of columns need double quotes"),
    "a comment": ('// mine\n{"text": "a"}\n', "line 1: .*JSON has no comments; remove the line"),
    "a later comment": ('{"text": "a"}\n# mine\n', "line 2: .*JSON has no comments"),
    "NaN": ('{"text": NaN}\n', "line 1: NaN is not a JSON value; write null"),
    "a key twice": ('{"text": "a", "text": "b"}\n', "line 1: the key 'text' appears twice in one object"),
    "a cut last line": ('{"text": "a"}\n{"text": "b', r"line 2: .*the file ends within this row \(line 2, column 10\)"),
    "a cut line": (
        '{"text": "a\n{"text": "b"}\n',
        "line 1: .*a text is not closed .*write line breaks and tabs within",
    ),
    "a bracket missing": ('{"text": "a"\n{"text": "b"}\n', r"line 1: not valid JSON \(Expecting ',' delimiter: line 2"),
    "a bracket too many": (
        '{"text": "a"}\n{"text": "b"}}\n',
        r"line 2: not valid JSON \(Extra data: line 2, column 14",
    ),
    "two in a line": ('{"text": "a"}{"text": "b"}\n', r"line 1: not valid JSON \(Extra data: .*one object a line"),
    "no comma in an array": ('[{"text": "a"}\n{"text": "b"}]', "item 1 .line 1.: .*write a comma between its objects"),
    "a cut array": ('[{"text": "a"},\n{"text": "b"}', r"item 2 \(line 2\): the file's end follows in the array"),
    "broken in an array": (
        '[{"text": "a"},\n{"text": b}]',
        r"item 2 \(line 2\): not valid JSON \(Expecting value: line 2",
    ),
    "behind an array": ('[{"text": "a"}]\n{"text": "b"}\n', "line 2: text follows the array's end"),
    "an array of texts": ('["a"]\n', r"item 1 \(line 1\): expected an object, found str"),
    "an array in a line": ('{"text": "a"}\n["b"]\n', "line 2: expected an object, found list"),
    "half a character": ('{"text": "\\ud83d"}\n', "line 1: holds '.*', an unpaired surrogate"),
    "rows within an object": (
        '{"data": [{"text": "a"}]}',
        "line 1: no column 'text'; found data; if 'data' lists the rows",
    ),
    "another name": ('{"texts": "a"}', "line 1: no column 'text'; found texts; if 'texts' is what is meant, rename it"),
    "a number": ('{"text": 1984}\n', "line 1: column 'text' is int, not str; write it in double quotes, \"1984\""),
    "true": ('{"text": true}\n', "line 1: column 'text' is bool, not str"),
    "a web page": ("<!DOCTYPE html>\n<html>\n", "line 1: .*web page or XML; download the raw file"),
    "a pointer": ("version https://git-lfs.github.com/spec/v1\noid 1\n", "line 1: .*pointer of Git LFS.*git lfs pull"),
    "nothing": ("", "holds no rows"),
    "blank lines alone": ("\n \n", "holds no rows"),
    "an empty array": ("[]", "holds no rows"),
    "Windows": ('{"text": "a"}\n{"text": "Dörr"}\n'.encode("cp1252"), "line 2, is not UTF-8 text .*; save it as UTF-8"),
    "UTF-16": ('{"text": "a"}\n'.encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
    "a zip archive": (b"PK\x03\x04abcdefgh", "is a zip archive or a spreadsheet; unpack it, or save the sheet as CSV"),
    "a cut .gz": (gzip.compress(TEXTS)[:-9], "compressed, and damaged or cut off .*; copy or write it again"),
    "a cut .bz2": (bz2.compress(TEXTS)[:-9], "compressed, and damaged or cut off"),
    "a cut .xz": (lzma.compress(TEXTS)[:-9], "compressed, and damaged or cut off"),
    "a cut .zst": (zstandard.compress(TEXTS)[:-9], "compressed, and damaged or cut off"),
    "a damaged .zst": (zstandard.compress(TEXTS)[:8] + b"\xff" * 9, "compressed, and damaged or cut off"),
    "cut Parquet": (parquet()[:-9], "is damaged Parquet .*; copy or write it again"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_with_a_file_is_said_with_its_place_and_remedy(tmp_path, content, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=f"{path}.*{message}"):
        rows(path, {"text": str})


BROKEN_CSV = {
    "too many cells": ("text,n\na,1\nb, c,2\n", "line 3: 3 cells, but the header has 2; put text that holds ','"),
    "too few cells": ("text,n\na,1\nb\n", "line 3: 1 cells, but the header has 2"),
    "quotes": ('text,n\n"a "b" c",1\n', "line 2: not valid CSV .*put text with quotes in double quotes, and double"),
    "quotes not closed": ('text,n\na,1\n"b,2\n', "line 3: not valid CSV"),
    "a column twice": ("text,text\na,b\n", "line 1: the column 'text' appears twice"),
    "no list": (
        'text,answer\na,"[""b"""\n',
        r"line 2: column 'answer' is not JSON .*; write \[\"one text\", \"another\"\]",
    ),
    "no such column": (
        "texts,answer\na,b\n",
        "line 2: no column 'text'; found answer, texts; if 'texts' is what is meant",
    ),
    "no rows": ("text,answer\n", "holds no rows"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN_CSV.values(), ids=BROKEN_CSV)
def test_what_is_wrong_with_csv_is_said_with_its_line(tmp_path, content, message):
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(DataError, match=f"{tmp_path / 'rows.csv'}.*{message}"):
        rows(tmp_path / "rows.csv", {"text": str}, {"answer": list})


def test_other_things_than_files_are_refused_by_name(tmp_path):
    (tmp_path / "rows.parquet").write_text('{"text": "a"}\n')
    for name, message in (
        ("rows.parquet", "is not Parquet, despite its name"),
        ("none.jsonl", "cannot read .*none.jsonl: .*No such file"),
        ("", "it is a folder; name one of its files"),
    ):
        with pytest.raises(DataError, match=message):
            list(read_file(tmp_path / name))


def test_a_table_of_facts_with_other_columns_is_answered_with_an_example(tmp_path):
    (tmp_path / "facts.csv").write_text("statement,question,answer\nAnn was born in Ostry.,where was Ann born,Ostry\n")
    message = (
        r"facts\.csv, line 2: no column 'answers'; found answer, .*rename it; a row is such as \{\"statements\": \["
    )
    with pytest.raises(DataError, match=message):
        read_user_facts(tmp_path / "facts.csv")


def test_a_fact_or_document_that_comes_again_is_named_by_the_line_of_the_first(tmp_path):
    fact, other = json.dumps(FACTS[0]), json.dumps({**FACTS[1], "fact_id": "fact 0"})
    document = json.dumps({"document": "Ann was born in Ostry.", "question": "where was Ann born", "answer": ["Ostry"]})
    (tmp_path / "documents.jsonl").write_text(f"\n{document}\n\n{document}\n")
    (tmp_path / "facts.jsonl").write_text(f"\n{fact}\n\n{other}\n")
    source = {"hub": None, "passage_words": 20}
    with pytest.raises(DataError, match="line 4: the document is the same as in line 2"):
        read_documents(str(tmp_path), {**source, "file": "documents.jsonl"}, set())
    with pytest.raises(DataError, match="line 4: fact_id 'fact 0' was used before, in line 2"):
        read_own_facts(str(tmp_path), {**source, "file": "facts.jsonl"}, set())


def test_the_kind_of_a_held_out_set_is_seen_in_every_container(tmp_path):
    (tmp_path / "set.csv.gz").write_bytes(gzip.compress(b"question,answer\nwho,me\n"))
    (tmp_path / "set.json").write_text('[{"text": "a"}]')
    assert kind_of(tmp_path / "set.csv.gz") == "questions"
    assert kind_of(tmp_path / "set.json") == "texts"


def test_held_out_files_of_the_user_are_asked_in_every_container(tmp_path):
    (tmp_path / "questions.csv").write_text("question,answer\nwho wrote it,Ann\nwhen,1984\n")
    table = pyarrow.table({"query": ["Who?"], "choices": [["Ann", "Ben"]], "gold": [1]})
    pyarrow.parquet.write_table(table, tmp_path / "choices.parquet")
    (tmp_path / "texts.jsonl.gz").write_bytes(gzip.compress(b'{"text": "One."}\n\n{"text": " "}\n'))
    assert READERS["questions"](tmp_path / "questions.csv") == [
        {"question": "who wrote it", "answer": ["Ann"]},
        {"question": "when", "answer": ["1984"]},
    ]
    assert READERS["choices"](tmp_path / "choices.parquet") == table.to_pylist()
    with pytest.raises(DataError, match=r"texts\.jsonl\.gz, line 3: column 'text' is empty"):
        READERS["texts"](tmp_path / "texts.jsonl.gz")
