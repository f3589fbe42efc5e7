"""Files: whole under their final name or not at all, and refused by name when they cannot be read."""

import errno
import hashlib
import json
import os
import resource
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import save_file

from smf.errors import CheckpointError, DataError
from smf.files.artifacts import (
    read_json,
    read_jsonl,
    read_table,
    sha256,
    write_json,
    write_jsonl,
    write_table,
    write_text,
)
from smf.files.atomic import atomic_path, put_in_place, temporary_folder
from smf.files.seals import seal, verified
from smf.files.tensors import read_tensors, write_tensors
from smf.models.checkpoint import model_hash
from tests.helpers import same_bytes

LONG = 20_000
WRITERS = {
    "text.txt": lambda path: write_text(path, "x" * LONG),
    "json.json": lambda path: write_json(path, {"text": "x" * LONG}),
    "jsonl.jsonl": lambda path: write_jsonl(path, [{"text": "x" * LONG}]),
    "table.csv": lambda path: write_table(path, pd.DataFrame({"number": range(LONG)})),
    "tensors.safetensors": lambda path: write_tensors(path, {"numbers": torch.arange(LONG)}, {"seed": 1}),
}
every_writer = pytest.mark.parametrize("name", WRITERS)
old_or_new = pytest.mark.parametrize("old", [b"what was here before", None], ids=["over an old file", "new file"])


def prepare(folder, name, old):
    path = folder / name
    if old is not None:
        path.write_bytes(old)
    return path


def assert_untouched(path, old):
    """The old file with its old bytes, or no file; and no temporary beside it."""
    assert [child.name for child in path.parent.iterdir()] == ([] if old is None else [path.name])
    assert old is None or path.read_bytes() == old


@contextmanager
def disk_of(num_bytes):
    """No file can grow beyond ``num_bytes``: writes fail in the kernel, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# Writing


@every_writer
@old_or_new
def test_a_file_is_written_whole_with_nothing_beside_it(tmp_path, name, old):
    path = prepare(tmp_path / "made" / "on the way" if old is None else tmp_path, name, old)
    WRITERS[name](path)
    assert [child.name for child in path.parent.iterdir()] == [name]
    assert path.stat().st_size >= LONG
    first = path.read_bytes()
    for _ in range(5):
        WRITERS[name](path)
        assert path.read_bytes() == first


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def umask(request):
    """A umask that the shell has set."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path):
    return path.stat().st_mode & 0o777


@every_writer
def test_a_file_has_the_mode_that_the_umask_says(tmp_path, umask, name):
    WRITERS[name](tmp_path / name)
    assert mode(tmp_path / name) == 0o666 & ~umask


def test_so_have_files_that_a_library_wrote_for_their_owner_alone_and_folders(tmp_path, umask):
    (tmp_path / "written").touch(mode=0o600)
    put_in_place(tmp_path / "written", tmp_path / "place")
    assert mode(tmp_path / "place") == 0o666 & ~umask
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    assert mode(temporary_folder(tmp_path, ".new.")) == 0o777 & ~umask


@every_writer
@old_or_new
def test_a_disk_that_is_full_leaves_nothing_half_written(tmp_path, name, old):
    path = prepare(tmp_path, name, old)
    with pytest.raises((OSError, SafetensorError)) as caught, disk_of(4096):
        WRITERS[name](path)
    assert f"{path} was not written; free space" in caught.value.__notes__[-1]
    assert_untouched(path, old)


@every_writer
@old_or_new
def test_a_disk_that_is_full_when_synced_leaves_nothing_half_written(tmp_path, monkeypatch, name, old):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = prepare(tmp_path, name, old)
    monkeypatch.setattr("smf.files.atomic.os.fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        WRITERS[name](path)
    assert_untouched(path, old)


def fail_half_way(path):
    path.write_text("half")
    raise ZeroDivisionError


@old_or_new
def test_an_exception_while_writing_leaves_the_old_file(tmp_path, old):
    path = prepare(tmp_path, "file.txt", old)
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        fail_half_way(temporary)
    assert temporary.parent == path.parent  # a rename within one file system
    assert_untouched(path, old)


@old_or_new
def test_a_job_killed_while_writing_leaves_the_old_file_under_the_final_name(tmp_path, old):
    path = prepare(tmp_path, "file.txt", old)
    child = os.fork()
    if child == 0:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert path.exists() == (old is not None)
    assert old is None or path.read_bytes() == old


def test_bytes_reach_the_disk_before_the_final_name_does(tmp_path, monkeypatch):
    path, synced = tmp_path / "file.txt", []

    def fsync(descriptor):
        synced.append((os.fstat(descriptor).st_size, path.exists()))

    monkeypatch.setattr("smf.files.atomic.os.fsync", fsync)
    write_text(path, "whole")
    assert synced == [(5, False)]


# JSON


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_in_json(tmp_path, number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", {"loss": [1.0, number]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_jsonl(tmp_path / "file.jsonl", [{"loss": 1.0}, {"loss": number}])
    assert list(tmp_path.iterdir()) == []


def test_equal_json_values_give_equal_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 0.1], "a": {"ü": None, "d": True}})
    write_json(tmp_path / "b.json", {"a": {"d": True, "ü": None}, "b": [1, 0.1]})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_json(tmp_path / "a.json") == {"b": [1, 0.1], "a": {"ü": None, "d": True}}
    assert "ü" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b'{"a": 1', "is not valid JSON"),
        (b"[1]", "expected a JSON object, found list"),
        (b'{"a": "\xff"}', "is not UTF-8 text"),
        (None, "cannot read"),
    ],
)
def test_broken_json_is_refused_by_name(tmp_path, content, message):
    path = prepare(tmp_path, "report.json", content)
    with pytest.raises(DataError, match=message) as caught:
        read_json(path)
    assert "report.json" in str(caught.value)


COLUMNS = {"name": str, "number": (int, float)}


def test_rows_round_trip_whatever_characters_they_hold(tmp_path):
    rows = [{"name": "a\u2028b\u2029c\x85d\x0be\x1cf\r\n\tg \U0001f642", "number": 1}, {"name": "", "number": 0.5}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert len((tmp_path / "rows.jsonl").read_bytes().split(b"\n")) == 3
    assert read_jsonl(tmp_path / "rows.jsonl", COLUMNS) == rows


def test_a_last_line_without_its_end_is_read(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"name": "a", "number": 1}\n{"name": "b", "number": 2}')
    assert [row["name"] for row in read_jsonl(tmp_path / "rows.jsonl", COLUMNS)] == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"name": "b", "numb', "line 2: not valid JSON .*one object a line is expected"),
        ("", "line 2: not valid JSON"),
        ("3", "line 2: expected an object, found int"),
        ('{"name": "b"}', "line 2: no column 'number'; found name"),
        ("{}", "line 2: no column 'name'; found none"),
        ('{"name": "b", "number": "2"}', "line 2: column 'number' is str, not int or float"),
        ('{"name": null, "number": 2}', "line 2: column 'name' is null, not str"),
    ],
)
def test_a_broken_row_is_refused_with_file_and_line(tmp_path, line, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"name": "a", "number": 1}}\n{line}\n{{"name": "c", "number": 3}}\n')
    with pytest.raises(DataError, match=rf"rows\.jsonl, {message}"):
        read_jsonl(path, COLUMNS)


def test_a_file_cut_off_in_a_row_is_refused_with_that_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"name": "x" * 50, "number": number} for number in range(10)])
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"rows\.jsonl, line 10: not valid JSON"):
        read_jsonl(path, COLUMNS)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "holds no rows"), (b"\xff", "is not UTF-8 text"), (None, "cannot read")]
)
def test_a_file_without_rows_is_refused_by_name(tmp_path, content, message):
    path = prepare(tmp_path, "rows.jsonl", content)
    with pytest.raises(DataError, match=message) as caught:
        read_jsonl(path, COLUMNS)
    assert "rows.jsonl" in str(caught.value)


# Tables


def test_tables_round_trip_with_ten_digits_and_empty_cells(tmp_path):
    table = pd.DataFrame({"method": ["full", "a,b"], "value": [1 / 3, float("nan")], "seed": [1, 2]})
    write_table(tmp_path / "table.csv", table)
    assert (tmp_path / "table.csv").read_bytes() == b'method,value,seed\nfull,0.3333333333,1\n"a,b",,2\n'
    read = read_table(tmp_path / "table.csv")
    assert read["value"].isna().tolist() == [False, True]
    assert read["method"].tolist() == ["full", "a,b"]


@pytest.mark.parametrize("name", ["null", "nan", "NA", "None", "n/a", "inf", "infinity", "true", "false", "1", "1e3"])
def test_a_method_may_be_called_what_other_programs_take_for_missing(tmp_path, name):
    write_table(tmp_path / "table.csv", pd.DataFrame({"method": [name], "value": [float("nan")]}))
    read = read_table(tmp_path / "table.csv")
    assert read["method"].tolist() == [name]
    assert read["value"].isna().tolist() == [True]


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\xff", b'a,b\n"1,2\n'])
def test_a_broken_table_is_refused_by_name(tmp_path, content):
    path = prepare(tmp_path, "scores.csv", content)
    with pytest.raises(DataError, match=r"cannot read the table .*scores\.csv"):
        read_table(path)


# Tensors


def test_tensors_round_trip_with_their_types_and_metadata(tmp_path):
    path = tmp_path / "delta.safetensors"
    tensors = {
        "slots": torch.tensor([3, 1, 2]),
        "values": torch.tensor([[1.5, -0.0, float("nan")]]).double(),
        "half": torch.randn(2, 3).bfloat16().float().half(),
        "empty": torch.empty(0, 4),
        "view": torch.arange(12.0).view(3, 4).t(),
        "trained": torch.ones(2, requires_grad=True),
    }
    metadata = {"seed": 1, "method": {"kind": "smf", "rates": [0.1, 2]}, "text": "ü"}
    write_tensors(path, tensors, metadata)
    read, found = read_tensors(path)
    assert found == metadata
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert same_bytes(read[name], tensor.detach().contiguous())


@pytest.fixture
def tensor_file(tmp_path):
    write_tensors(tmp_path / "delta.safetensors", {"numbers": torch.arange(100)}, {"seed": 1})
    return tmp_path / "delta.safetensors"


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.999])
def test_truncated_tensors_are_refused(tensor_file, share):
    tensor_file.write_bytes(tensor_file.read_bytes()[: int(share * tensor_file.stat().st_size)])
    with pytest.raises(
        CheckpointError, match=r"cannot read .*delta\.safetensors: .*; get a new copy, or rerun the job that made it"
    ):
        read_tensors(tensor_file)


def test_missing_tensors_are_refused(tmp_path):
    for path in (tmp_path / "nothing.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match="cannot read"):
            read_tensors(path)


def test_a_full_disk_while_tensors_are_written_is_an_error_of_the_system(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("smf.files.tensors.save_file", full)
    with pytest.raises(OSError, match=r"cannot write .*delta\.safetensors: No space left on device") as failed:
        write_tensors(tmp_path / "delta.safetensors", {"a": torch.ones(2)}, {})
    assert "free space on its disk" in failed.value.__notes__[0]
    assert not list(tmp_path.iterdir())


def test_metadata_may_have_numbers_for_keys_as_json_has_texts(tmp_path):
    write_tensors(tmp_path / "delta.safetensors", {}, {"layers": {10: 1, 2: 3}})
    assert read_tensors(tmp_path / "delta.safetensors")[1] == {"layers": {"10": 1, "2": 3}}


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n', encoding="utf-8-sig")
    assert read_jsonl(tmp_path / "rows.jsonl", {"a": int}) == [{"a": 1}]


def test_tensors_of_another_format_version_are_refused(tmp_path):
    path = tmp_path / "delta.safetensors"
    save_file({"numbers": torch.arange(3)}, path, {"smf": json.dumps({"metadata": {}, "format_version": 1})})
    with pytest.raises(CheckpointError, match=r"delta\.safetensors has format version 1, this smf reads 2"):
        read_tensors(path)


@pytest.mark.parametrize("header", [{}, {"smf": "[]"}, {"smf": "{}"}, {"smf": "3"}, {"format": "pt"}])
def test_tensors_of_others_are_refused_without_advice_to_delete_them(tmp_path, header):
    path = tmp_path / "delta.safetensors"
    save_file({"numbers": torch.arange(3)}, path, header)
    with pytest.raises(CheckpointError, match=r"delta\.safetensors was not written by smf") as refused:
        read_tensors(path)
    assert "delete" not in str(refused.value)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"format_version": 1' + "0" * 5000 + "}"])
def test_tensors_with_a_header_that_is_no_json_are_refused(tmp_path, text):
    path = tmp_path / "delta.safetensors"
    save_file({"numbers": torch.arange(3)}, path, {"smf": text})
    with pytest.raises(CheckpointError, match=r"cannot read .*delta\.safetensors"):
        read_tensors(path)


@given(place=st.integers(0, 2**31), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_a_tensor_file_is_refused(tmp_path_factory, place, bit):
    path = tmp_path_factory.mktemp("flipped") / "delta.safetensors"
    write_tensors(path, {"a": torch.arange(6).float(), "b": torch.zeros(2, 2)}, {"seed": 1})
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"delta\.safetensors"):
        read_tensors(path)


# Hashes


@pytest.fixture
def read_files(monkeypatch):
    """The files whose contents were hashed, in order."""
    read, real = [], hashlib.file_digest
    monkeypatch.setattr(
        hashlib, "file_digest", lambda file, name: read.append(Path(file.name).name) or real(file, name)
    )
    return read


def write_hashed(path, content, age):
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_the_hash_of_a_file_is_sha256_of_its_contents_and_of_several_that_of_their_hashes_in_order(tmp_path):
    contents = [os.urandom((1 << 20) + 3), b"", b"end"]  # the first is longer than one block
    paths = [write_hashed(tmp_path / str(number), content, age=0) for number, content in enumerate(contents)]
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    assert [sha256(path) for path in paths] == digests
    assert sha256(*paths) == hashlib.sha256("".join(digests).encode()).hexdigest()
    assert sha256(*reversed(paths)) != sha256(*paths)
    assert sha256(paths[1]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_process_hashes_a_file_once_until_it_changes(tmp_path, read_files):
    first, second = (write_hashed(tmp_path / name, b"abc", age=100) for name in ("first", "second"))
    sha256(first), sha256(first, second), sha256(second)
    assert read_files == ["first", "second"]
    write_hashed(first, b"abd", age=50)
    assert sha256(first) == hashlib.sha256(b"abd").hexdigest()


def test_a_file_that_may_change_once_more_within_the_same_tick_is_hashed_again(tmp_path, read_files):
    path = write_hashed(tmp_path / "fresh", b"abc", age=0)
    sha256(path), sha256(path)
    assert read_files == ["fresh", "fresh"]


def test_a_job_reads_the_weights_once_to_check_their_seals_and_to_name_the_model(tmp_path, read_files):
    for name in ("config.json", "model.safetensors"):
        write_hashed(tmp_path / name, name.encode(), age=0)
    paths = sorted(tmp_path.iterdir())
    seal(tmp_path, paths, {}, rule="heal", job="heal/heal", wildcards={})
    for path in paths:
        write_hashed(path, path.name.encode(), age=100)
    read_files.clear()
    verified(tmp_path, paths)
    model_hash(tmp_path)
    assert read_files == ["config.json", "model.safetensors"]
