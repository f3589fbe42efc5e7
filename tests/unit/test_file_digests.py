"""Digests of files: computed anew when a file may have changed, and else remembered."""

import os
import time

import pytest

from smf.files import digests as file_digests
from smf.files.artifacts import read_json, sha256
from smf.files.digests import FileDigests


@pytest.fixture
def computed(monkeypatch):
    """The files whose digests were computed, in order."""
    calls = []
    monkeypatch.setattr(file_digests, "sha256", lambda path: calls.append(path.name) or sha256(path))
    return calls


@pytest.fixture
def file(tmp_path):
    """A file that was written a while ago."""
    path = tmp_path / "weights.bin"
    write(path, b"abc", age=100)
    return path


def write(path, content, age):
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)


def digest(path, memory):
    digests = FileDigests(memory)
    found = digests.sha256(path)
    digests.save()
    return found


def test_a_digest_is_computed_once_until_the_file_changes(file, tmp_path, computed):
    memory = tmp_path / "memory" / "digests.json"
    assert digest(file, memory) == digest(file, memory) == sha256(file)
    assert computed == ["weights.bin"]
    write(file, b"abd", age=50)
    assert digest(file, memory) == sha256(file)
    assert computed == ["weights.bin"] * 2


def test_a_file_that_was_written_just_now_is_read_again(file, tmp_path, computed):
    """It may change once more within the same tick of the clock."""
    write(file, b"abc", age=0)
    digest(file, tmp_path / "digests.json")
    digest(file, tmp_path / "digests.json")
    assert computed == ["weights.bin"] * 2


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"%s": 3}', '{"%s": []}', '{"%s": [1, 2]}'])
def test_a_damaged_memory_is_not_trusted(file, tmp_path, damage):
    memory = tmp_path / "digests.json"
    memory.write_text(damage.replace("%s", str(file)))
    assert digest(file, memory) == sha256(file)


def test_where_nothing_can_be_written_nothing_is_remembered(file, tmp_path):
    (tmp_path / "taken").write_text("")
    assert digest(file, tmp_path / "taken" / "digests.json") == sha256(file)


def test_files_that_are_gone_are_forgotten(file, tmp_path):
    memory = tmp_path / "digests.json"
    digest(file, memory)
    other = tmp_path / "other.bin"
    write(other, b"xyz", age=100)
    file.unlink()
    digest(other, memory)
    assert list(read_json(memory)) == [str(other)]
