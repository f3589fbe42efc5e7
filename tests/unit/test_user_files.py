"""What makes stale what was made of a user's files: what is in them, not their names and times."""

import copy
import os
import shutil

import pytest

from smf.files.digests import FileDigests
from smf.jobs.user_files import UserFiles

ON_HUB = {"hub": "owner/name", "hub_config": None, "split": "train", "file": "facts.jsonl", "format": "text"}
FILE = {**ON_HUB, "hub": None}


@pytest.fixture
def folder(tmp_path):
    """A user's data, model and tasks."""
    for name in (
        "data/facts.jsonl",
        "data/text.txt",
        "model/config.json",
        "model/model.safetensors",
        "model/README.md",
        "tasks/mine/mine.yaml",
        "tasks/mine/score.py",
        "tasks/mine/rows.jsonl",
    ):
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text(f"what {name} holds")
    return tmp_path / "mine"


def config(folder, root=True, source=FILE):
    return {
        "data": {
            "source": "collection",
            "seed": 1,
            "world": {"file": "not read"},
            "collection": {
                "data_root": str(folder / "data") if root else None,
                "facts": dict(source),
                "background": {**source, "file": "text.txt"},
                "held_out": {"mine": dict(source)},
                "healing": None,
            },
        }
    }


def seen(folder, **options):
    """All that jobs depend on."""
    files = UserFiles(config(folder, **options), FileDigests(folder.parent / "digests.json"))
    return copy.deepcopy(
        {
            "data": files.data,
            "base": files.with_checkpoint({"source": "checkpoint", "checkpoint": str(folder / "model"), "dtype": "x"}),
            "paraphrases": files.with_checkpoint({"checkpoint": str(folder / "model")}),
            "tasks": files.with_tasks({"include_path": str(folder / "tasks"), "seed": 3}),
        }
    )


def changed(before, after):
    return {key for key in before if before[key] != after[key]}


@pytest.mark.parametrize(
    ("name", "stale"),
    [
        ("data/facts.jsonl", {"data"}),
        ("data/text.txt", {"data"}),
        ("model/model.safetensors", {"base", "paraphrases"}),
        ("model/config.json", {"base", "paraphrases"}),
        ("tasks/mine/mine.yaml", {"tasks"}),
        ("tasks/mine/score.py", {"tasks"}),
        ("tasks/mine/rows.jsonl", {"tasks"}),
        ("data/another.jsonl", set()),
        ("model/README.md", set()),
        ("model/.cache/lock", set()),
        ("tasks/mine/__pycache__/score.pyc", set()),
    ],
)
def test_an_edit_in_place_makes_stale_what_reads_the_file_and_nothing_else(folder, name, stale):
    before = seen(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(f"What {name} holds")  # of the same size
    assert changed(before, seen(folder)) == stale


def test_a_touch_a_copy_elsewhere_and_another_name_change_nothing(folder, tmp_path):
    before = seen(folder)
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))
    assert seen(folder) == before
    shutil.copytree(folder, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    assert seen(tmp_path / "elsewhere") == before
    (folder / "data/facts.jsonl").rename(folder / "data/my_facts.jsonl")
    renamed = seen(folder, source={**FILE, "file": "my_facts.jsonl"})
    assert renamed["data"] == before["data"]


def test_what_chooses_among_rows_that_are_written_does_not_write_them_anew(folder):
    before = seen(folder)
    assert changed(before, seen(folder, source={**FILE, "known_only": True, "unknown_only": True})) == set()


def test_the_ending_of_a_name_counts_as_it_tells_how_rows_are_read(folder):
    before = seen(folder)
    (folder / "data/facts.jsonl").rename(folder / "data/facts.txt")
    assert changed(before, seen(folder, source={**FILE, "file": "facts.txt"})) == {"data"}


def test_files_that_are_not_read_do_not_matter(folder):
    """Sets of the hub, a checkpoint beside a model that is pretrained, and the settings of other sources."""
    from_hub = seen(folder, root=False, source=ON_HUB)["data"]
    assert from_hub["collection"]["facts"] == ON_HUB
    assert from_hub["world"] == {"file": "not read"}
    files = UserFiles(config(folder), FileDigests(folder.parent / "digests.json"))
    pretrained = {"source": "pretrain", "checkpoint": str(folder / "model")}
    assert files.with_checkpoint(pretrained) == pretrained
    assert files.with_tasks({"include_path": None}) == {"include_path": None}


def test_with_a_root_sets_that_have_a_name_on_the_hub_are_read_from_files_too(folder):
    before = seen(folder, source=ON_HUB)
    (folder / "data/facts.jsonl").write_text("edited")
    assert changed(before, seen(folder, source=ON_HUB)) == {"data"}


def test_what_is_missing_is_left_to_the_job_to_refuse(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    assert seen(folder)["data"]["collection"]["facts"]["file"] == "cannot be read"
    assert seen(folder)["base"]["checkpoint"] == {}
