"""Data sets from the hub: a server on the loopback answers as the hub does; every failure says what to do."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import yaml
import zstandard

from smf.config.experiment import Experiment
from smf.files.artifacts import read_json, read_jsonl
from smf.streams.facts import read_facts
from tests.unit.data_hub import NO_COMMIT, commit_of, serve

ROOT = Path(__file__).parents[2]
HELD_OUT = ("held_out.nq", "held_out.hellaswag", "held_out.gsm8k")
DCLM = "mlfoundations/dclm-baseline-1.0"
SHARDS = "global-shard_01_of_10/local-shard_0_of_10"
ROWS_OF_A_SHARD = 40

SOURCES = {
    "shards": {"hub": DCLM, "first_rows": 60},
    "one folder of shards": {"hub": DCLM, "first_rows": 45, "data_dir": "global-shard_02_of_10/local-shard_0_of_10"},
    "all shards as one table": {"hub": DCLM},
    "no such folder": {"hub": DCLM, "first_rows": 1, "data_dir": "shards"},
    "script": {"hub": "old/script", "hub_config": "plain"},
    "script as parquet": {"hub": "old/script", "revision": "refs/convert/parquet", "data_dir": "plain"},
    "beginning of parquet": {"hub": "old/script", "revision": "refs/convert/parquet", "first_rows": 2},
    "gated": {"hub": "closed/gated"},
    "hidden": {"hub": "closed/hidden"},
    "broken hub": {"hub": "closed/broken"},
    "not there": {"hub": "no/such"},
    "no commit": {"hub": NO_COMMIT},
    "no name": {"hub": "no//such"},
    "revision": {"hub": "some/set", "revision": "v2"},
    "commit": {"hub": "some/set", "revision": commit_of("some/set", "main")},
    "split": {"hub": "some/set", "split": "tran"},
    "slice of a stream": {"hub": "some/set", "split": "train[:1]", "first_rows": 1},
    "column": {"hub": "some/other"},
    "unknown container": {"hub": "some/pictures"},
    "several configurations": {"hub": "some/two"},
    "configuration": {"hub": "some/two", "hub_config": "hrad"},
    "one configuration": {"hub": "some/two", "hub_config": "hard"},
}
MESSAGES = {
    "all shards as one table": r"cannot load mlfoundations/dclm.* train from the hub.*with first_rows .*row by row",
    "no such folder": r"doesn't contain any data files; the set has no files below shards in a form.*check data_dir",
    "script": r"^old/script is a script.*`revision` to refs/convert/parquet.*data_dir: plain in place of hub_config",
    "gated": r"closed/gated is gated: accept its terms on .*/datasets/closed/gated, then log in with `hf auth login`",
    "hidden": r"has no data set closed/hidden, or hides it; check the name, or log in with `hf auth login`",
    "broken hub": r"fails \(.*500.*the cache in .*datasets does not hold it; try again later, or set data_root",
    "not there": r"^data.background: .* has no data set no/such, or hides it; check the name",
    "no commit": r"does not say which commit of some/mirrored it has; set HF_ENDPOINT to another hub, or set data_root",
    "no name": r"'no//such' is not a hub data set name; write owner/name",
    "revision": r"some/set has no revision 'v2' on .*; look for branches, tags and commits under its `Files`",
    "split": r"some/set has no split 'tran'; did you mean 'train'\? it has train, test",
    "slice of a stream": r"the split is 'train\[:1\]', but first_rows reads the beginning of a whole one; name one",
    "column": r"some/other train, row 1: no column 'text'; found content",
    "unknown container": r"No \(supported\) data files found.*in a format that datasets reads.*take a copy of it in",
    "several configurations": r"some/two has several configurations; set hub_config to one of easy, hard",
    "configuration": r"some/two has no configuration 'hrad'; did you mean 'hard'\? set hub_config to one of easy, hard",
}


def shard(number: int) -> list[dict]:
    """Rows as crawled text has them: what is known of a page changes from row to row."""
    rows = []
    for index in range(ROWS_OF_A_SHARD):
        metadata = {"WARC-Date": "2014-01-01T00:00:00Z", "Content-Length": "12"}
        row = {"text": f"Shard {number}, page {index}.", "metadata": metadata, "url": "http://example.org"}
        if index > 20:
            metadata |= {"WARC-Truncated": "length", "Content-Length": 12}
            row["edu_score"] = [index]
        rows.append(row)
    return rows


def write(path: Path, rows: list[dict]):
    """JSONL; as .zst in two frames, which some writers cut a file into."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    if path.suffix == ".zst":
        half = len(lines) // 2
        lines = [zstandard.compress(b"".join(part)) for part in (lines[:half], lines[half:])]
    path.write_bytes(b"".join(lines))


def write_sets(folder: Path):
    for number in range(4):
        place = f"global-shard_0{1 + number // 2}_of_10/local-shard_0_of_10/shard_0000000{number}_processed.jsonl.zst"
        write(folder / DCLM / "main" / place, shard(number))
    (folder / DCLM / "main/README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    (folder / "old/script/main").mkdir(parents=True)
    (folder / "old/script/main/script.py").write_text("import datasets\n")
    converted = folder / "old/script/refs_convert_parquet/plain/train"
    converted.mkdir(parents=True)
    table = pyarrow.table({"text": ["a", "b", "c"], "number": [1, 2, 3]})
    pyarrow.parquet.write_table(table, converted / "0000.parquet")
    (folder / "closed/gated/main").mkdir(parents=True)
    write(folder / "some/set/main/train.jsonl", [{"text": "one"}, {"text": "two"}])
    write(folder / "some/set/main/test.jsonl", [{"text": "three"}])
    write(folder / "some/other/main/train.jsonl", [{"content": "one"}])
    write(folder / NO_COMMIT / "main/train.jsonl", [{"text": "one"}])
    (folder / "some/pictures/main").mkdir(parents=True)
    (folder / "some/pictures/main/all.bin").write_bytes(b"x")
    card = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in ("easy", "hard"))
    write(folder / "some/two/main/easy.jsonl", [{"text": "easy"}])
    write(folder / "some/two/main/hard.jsonl", [{"text": "hard"}])
    (folder / "some/two/main/README.md").write_text(f"---\nconfigs:\n{card}---\n")


def write_presets_sets(folder: Path):
    """The sets of the presets, small, in the containers in which the hub has them."""
    questions = [{"question": f"who wrote book {n}", "answer": [f"Author {n}"]} for n in range(6)]
    trivia = [
        {"question": f"Where is {n}?", "answer": {"value": f"Town {n}", "aliases": [], "type": "x"}} for n in range(6)
    ]
    choices = {
        "ind": 1,
        "activity_label": "a",
        "ctx_a": "b",
        "ctx_b": "",
        "ctx": "b",
        "endings": ["c", "d"],
        "label": "1",
    }
    sets = {
        "google-research-datasets/nq_open": ("nq_open", "validation", questions),
        "mandarjoshi/trivia_qa": ("rc.nocontext", "validation", trivia),
        "Rowan/hellaswag": ("default", "validation", [choices]),
        "openai/gsm8k": ("main", "test", [{"question": f"{n} + 1?", "answer": f"#### {n + 1}"} for n in range(3)]),
    }
    for name, (config, split, rows) in sets.items():
        place = folder / name / "main"
        path = place / config / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        files = f"  data_files:\n  - split: {split}\n    path: {config}/{split}-*\n"
        (place / "README.md").write_text(f"---\nconfigs:\n- config_name: {config}\n{files}---\n")
    # as OpenAI published it
    metadata = "\"{'topic': 'Art', 'urls': ['https://en.wikipedia.org/wiki/Book_%d', 'https://example.org']}\""
    lines = ["metadata,problem,answer", *(f"{metadata % n},Where is book {n} from?,Ostry" for n in range(2))]
    (folder / "basicv8vc/SimpleQA/main").mkdir(parents=True)
    (folder / "basicv8vc/SimpleQA/main/simple_qa_test_set.csv").write_text("\n".join(lines) + "\n")


READ = """
import json, sys
from smf.errors import SmfError
from smf.rows.sources import at_commits, read_rows
found = {}
for name, source in json.loads(sys.argv[1]).items():
    source = {"hub_config": None, "split": "train", "file": None, **source}
    try:
        sources, commits = at_commits({"data_root": None, "background": source}, "data")
        texts = [row.values["text"] for row in read_rows(None, sources["background"], {"text": str})]
        found[name] = {"texts": texts, "commits": commits}
    except SmfError as error:
        found[name] = {"error": str(error)}
print(json.dumps(found))
"""


PREPARE = """
import json, sys
from smf.stages.prepare import prepare_data
for settings, folder in json.loads(sys.argv[1]):
    prepare_data(settings, folder)
"""


def run(code: str, argument: str, endpoint: str, cache: Path, **environment) -> str:
    """Run in a process of its own: the hub's client reads the environment once."""
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-c", code, argument],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    write_sets(folder)
    write_presets_sets(folder)
    with serve(folder) as (address, asked):
        yield address, asked, tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def found(hub):
    return json.loads(run(READ, json.dumps(SOURCES), hub[0], hub[2]))


def test_zst_shards_are_read_whatever_their_other_columns(found):
    expected = [row["text"] for number in range(2) for row in shard(number)]
    assert found["shards"]["texts"] == expected[:60]


def test_data_dir_narrows_a_set_to_one_folder(found):
    expected = [row["text"] for number in (2, 3) for row in shard(number)]
    assert found["one folder of shards"]["texts"] == expected[:45]


def test_the_parquet_copy_of_a_script_is_read(found):
    assert found["script as parquet"]["texts"] == ["a", "b", "c"]
    assert found["beginning of parquet"]["texts"] == ["a", "b"]


def test_the_commit_that_was_read_is_known_whatever_the_revision(found):
    assert found["script as parquet"]["commits"] == {
        "data.background": {
            "name": "old/script",
            "revision": "refs/convert/parquet",
            "commit": commit_of("old/script", "refs/convert/parquet"),
        }
    }
    assert found["shards"]["commits"]["data.background"]["commit"] == commit_of(DCLM, "main")
    assert found["commit"] == {
        "texts": ["one", "two"],
        "commits": {
            "data.background": {"name": "some/set"}
            | dict.fromkeys(("revision", "commit"), commit_of("some/set", "main"))
        },
    }
    assert found["one configuration"]["texts"] == ["hard"]


@pytest.mark.parametrize("name", MESSAGES)
def test_what_the_hub_cannot_give_is_explained(found, name):
    assert re.search(MESSAGES[name], found[name]["error"]), found[name]
    assert "check the network" not in found[name]["error"]


def test_without_network_the_cache_is_read_and_else_named(found, hub):
    sources = {
        "cached": {"hub": "some/set"},
        "other commit": {"hub": "some/set", "revision": "0" * 40},
        "stream": SOURCES["shards"],
    }
    unreachable = "http://127.0.0.1:9"  # nobody listens there
    for endpoint, environment, why in (
        (unreachable, {}, rf"{unreachable} does not answer \(.*\)"),
        (hub[0], {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
    ):
        offline = json.loads(run(READ, json.dumps(sources), endpoint, hub[2], **environment))
        assert offline["cached"]["texts"] == ["one", "two"]
        commit = commit_of("some/set", "main")
        assert offline["cached"]["commits"]["data.background"]["commit"] == commit
        assert re.search(
            f"{why}, and the cache in .* holds commit {commit}, not revision 0000", offline["other commit"]["error"]
        )
        assert re.search(
            f"{why}, and the cache in {hub[2]}/datasets does not hold it; .*, or set data_root to a folder",
            offline["stream"]["error"],
        )


def settings_of(preset: str, address: str) -> dict:
    """The data of a preset, of whose facts all are wanted."""
    config = yaml.safe_load((ROOT / "presets" / f"{preset}.yaml").read_text(encoding="utf-8"))
    data = Experiment(config).config["data"]
    data["collection"]["facts"] |= {"num_rows": None, "endpoint": f"{address}/w/api.php"}
    return data


def test_the_presets_of_lin_et_al_prepare_their_data_from_the_hub(hub, tmp_path):
    address, _, cache = hub
    names = ("lin2025_facts", "lin2025_documents")
    run(
        PREPARE,
        json.dumps([(settings_of(name, address), str(tmp_path / name / "data")) for name in names]),
        address,
        cache,
    )
    pages = [row["text"] for number in range(2) for row in shard(number)]
    for name in names:
        data = tmp_path / name / "data"
        assert [row["completion"] for row in read_jsonl(data / "background.jsonl", {"completion": str})] == pages
        assert len(read_jsonl(data / "held_out/nq.jsonl", {})) == 6
        commits = read_json(data / "labels.json")["hub"]
        assert commits["data.collection.background"] == {
            "name": DCLM,
            "revision": "main",
            "commit": commit_of(DCLM, "main"),
        }
        assert set(commits) == {f"data.collection.{key}" for key in ("background", "facts", *HELD_OUT)}
    assert {fact.answers for fact in read_facts(tmp_path / "lin2025_facts/data/facts.jsonl")} == {
        (f"Town {number}",) for number in range(6)
    }
    passages = read_facts(tmp_path / "lin2025_documents/data/facts.jsonl")
    assert [fact.question for fact in passages if fact.question] == ["Where is book 0 from", "Where is book 1 from"]
    assert "Book 1 is of Ostry." in passages[-1].train_texts[0]


def test_every_set_that_a_preset_names_on_the_hub_says_its_revision():
    def sources(value):
        if isinstance(value, dict):
            yield from [value] if "hub" in value else [found for part in value.values() for found in sources(part)]

    for path in sorted((ROOT / "presets").glob("*.yaml")):
        found = list(sources(yaml.safe_load(path.read_text(encoding="utf-8"))["data"]))
        assert found
        assert [source["hub"] for source in found if "revision" not in source] == [], path.name
