"""Artifacts that were damaged, swapped or put there by hand are refused with their path and the remedy."""

import json
import os
import random
import shlex
import shutil
import signal
from types import SimpleNamespace

import lm_eval
import pandas as pd
import peft
import pytest
import torch
import transformers

from smf.errors import CheckpointError, ConfigError
from smf.files.artifacts import read_json, write_json, write_jsonl, write_table, write_text
from smf.files.atomic import atomic_path
from smf.files.seals import damaged, seal, seal_path, verified
from smf.files.tensors import write_tensors
from smf.jobs.job import Job
from smf.jobs.process import process_start

RULES = {
    "data/facts.jsonl": ("prepare_data", {}),
    "streams/seed-0.jsonl": ("draw_stream", {"seed": "0"}),
    "streams/seed-1.jsonl": ("draw_stream", {"seed": "1"}),
    "base/report.json": ("base_model", {}),
    "background/counts.safetensors": ("count_background", {}),
    "runs/smf/seed-0/learn/position-2.safetensors": ("learn", {"method": "smf", "seed": "0"}),
    "runs/smf/seed-1/learn/position-2.safetensors": ("learn", {"method": "smf", "seed": "1"}),
    "runs/smf/seed-0/evaluate/position-2.json": ("evaluate", {"method": "smf", "seed": "0"}),
    "tables/scores.csv": ("scores", {}),
    "plan.txt": ("plan", {}),
}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A results folder with a file of every kind."""
    results = tmp_path_factory.mktemp("sealed") / "results"
    for place, name in enumerate(RULES):
        path = results / name
        if path.suffix == ".jsonl":
            write_jsonl(path, [{"place": place, "row": row} for row in range(99)])
        elif path.suffix == ".json":
            write_json(path, {"place": place})
        elif path.suffix == ".csv":
            write_table(path, pd.DataFrame({"place": [place, place + 1]}))
        elif path.suffix == ".txt":
            write_text(path, f"place {place}\n")
        else:
            write_tensors(path, {"values": torch.full((4, 3), float(place))}, {"place": place})
        rule, wildcards = RULES[name]
        seal(results, [path], {}, rule=rule, job=f"{rule}/{place}", wildcards=wildcards)
    return results


def truncated(results, path, rng):
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def flipped(results, path, rng):
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))


def swapped(results, path, rng):
    other = results / rng.choice([name for name in RULES if results / name != path])
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def lengthened(results, path, rng):
    path.write_bytes(path.read_bytes() + b" ")


def foreign(results, path, rng):
    seal_path(results, path).unlink()


def of_another_version(results, path, rng):
    sealed_at = seal_path(results, path)
    write_json(sealed_at, {**json.loads(sealed_at.read_text()), "format": rng.choice([0, 1, None, "2"])})


def with_a_damaged_seal(results, path, rng):
    truncated(results, seal_path(results, path), rng)


def with_the_seal_of_another(results, path, rng):
    other = results / rng.choice([name for name in RULES if results / name != path])
    shutil.copyfile(seal_path(results, other), seal_path(results, path))


def with_content_and_seal_of_another(results, path, rng):
    other = results / rng.choice([name for name in RULES if results / name != path])
    shutil.copyfile(other, path)
    shutil.copyfile(seal_path(results, other), seal_path(results, path))


def lost(results, path, rng):
    path.unlink()


def with_a_flipped_seal(results, path, rng):
    flipped(results, seal_path(results, path), rng)


WAYS = (
    with_a_flipped_seal,
    truncated,
    flipped,
    swapped,
    lengthened,
    foreign,
    of_another_version,
    with_a_damaged_seal,
    with_the_seal_of_another,
    with_content_and_seal_of_another,
    lost,
)


@pytest.mark.parametrize("number", range(200))
def test_every_one_of_two_hundred_corrupted_artifacts_is_refused_with_path_and_remedy(sealed, tmp_path, number):
    rng = random.Random(number)
    results = tmp_path / "results"
    shutil.copytree(sealed, results)
    path = results / rng.choice(list(RULES))
    WAYS[number % len(WAYS)](results, path, rng)
    with pytest.raises(CheckpointError) as refused:
        verified(results, [path])
    assert str(path) in str(refused.value)
    assert f"make it again: snakemake --cores 1 --force {path}" in str(refused.value)


def test_whole_artifacts_are_accepted_and_files_elsewhere_are_the_users(sealed, tmp_path):
    write_text(tmp_path / "mine.txt", "mine\n")
    found = verified(sealed, [tmp_path / "mine.txt", *(sealed / name for name in RULES)])
    assert set(found) == {str(sealed / name) for name in RULES}


def call(results, rule="learn", params=None, inputs=(), outputs=(), interval=0, kept=None):
    return SimpleNamespace(
        log=[str(results / "logs" / rule / "job.log")],
        input=[str(path) for path in inputs],
        output=[str(path) for path in outputs],
        params=params or {},
        wildcards={"seed": "3"},
        resources={"resume_interval": interval},
        config={"kept": str(kept or results)},
        rule=rule,
    )


@pytest.mark.parametrize(
    ("gpu", "device", "taken"), [(1, "cuda", 1), (0, "cpu", 0), (0, "cuda", 0), (1, "cuda:1", 0), (1, "mps", 0)]
)
def test_a_job_takes_a_gpu_if_it_computes_on_whichever_is_free(gpu, device, taken, tmp_path, quiet, monkeypatch):
    takes = []
    monkeypatch.setattr("smf.jobs.job.take_gpu", lambda: takes.append(1))
    asked = call(tmp_path / "results", params={"device": device})
    asked.resources["gpu"] = gpu
    with Job(asked):
        assert len(takes) == taken


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr("smf.jobs.job.configure_logging", lambda path: None)


def state(results, rule="learn"):
    return json.loads((results / "logs" / rule / "job.state.json").read_text())


def test_a_job_seals_what_it_made_with_what_it_was_made_from(sealed, tmp_path, quiet):
    results = tmp_path / "results"
    shutil.copytree(sealed, results)
    source, made = results / "data/facts.jsonl", results / "runs/x.json"
    with Job(call(results, inputs=[source], outputs=[made])):
        assert state(results)["state"] == "running"
        assert state(results)["process_start"] == process_start(os.getpid())
        write_json(made, {})
    written = json.loads(seal_path(results, made).read_text())
    assert written["made_from"] == verified(results, [source])
    assert (written["rule"], written["seed"]) == ("learn", "3")
    assert written["versions"] == {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "lm-eval": lm_eval.__version__,
    }
    assert verified(results, [made])
    assert state(results)["state"] == "done"


def test_the_command_that_makes_an_input_again_has_the_options_of_the_config(sealed, tmp_path, quiet):
    results = tmp_path / "results"
    shutil.copytree(sealed, results)
    source = results / "data/facts.jsonl"
    source.write_bytes(b"")
    asked = call(results, inputs=[source])
    asked.config["command_options"] = ["--configfile", "my presets/a.yaml", "--config", 'methods={"lora": {"rank": 2}}']
    with pytest.raises(CheckpointError) as refused, Job(asked):
        pytest.fail("it works")
    told = shlex.split(str(refused.value).rpartition("make it again: ")[2])
    assert told == ["snakemake", "--cores", "1", "--force", str(source), *asked.config["command_options"]]


@pytest.fixture
def copies(sealed, tmp_path):
    """A results folder with what a storage copies to a job: its input; and the one that results are kept in."""
    kept = tmp_path / "kept/results"
    shutil.copytree(sealed, kept)
    results = tmp_path / "copies/kept/results"
    (results / "data").mkdir(parents=True)
    shutil.copy(kept / "data/facts.jsonl", results / "data")
    return results, kept


def test_a_job_on_copies_leaves_seal_and_state_where_its_output_will_be_kept(copies, quiet):
    results, kept = copies
    source, made = results / "data/facts.jsonl", results / "runs/x.json"
    with Job(call(results, inputs=[source], outputs=[made], kept=kept)) as job:
        job.resume.save("x", {}, {"n": 1})
        assert (kept / "resume/learn/job").is_dir()
        assert job.resume.path("x").is_relative_to(kept / "resume/learn/job")
        write_json(made, {})
    assert state(kept)["state"] == "done"
    assert (kept / "resume/learn/job").is_dir()  # until Snakemake has noted that the job is done
    assert {path.name for path in results.iterdir()} == {"data", "runs"}
    shutil.copytree(results / "runs", kept / "runs", dirs_exist_ok=True)
    assert verified(kept, [kept / "runs/x.json"])
    with Job(call(results, rule="evaluate", inputs=[results / "runs/x.json"], kept=kept)):
        assert not (kept / "resume").exists()
    made_from = json.loads(seal_path(kept, kept / "runs/x.json").read_text())["made_from"]
    assert made_from == verified(kept, [kept / "data/facts.jsonl"])


def test_a_damaged_copy_is_refused_by_the_name_of_what_it_is_a_copy_of(copies, quiet):
    results, kept = copies
    lengthened(results, results / "data/facts.jsonl", None)
    refused = pytest.raises(CheckpointError, match=f"^{kept}/data/facts.jsonl has .* --force {kept}/data/facts.jsonl$")
    with refused, Job(call(results, inputs=[results / "data/facts.jsonl"], kept=kept)):
        raise AssertionError("it does no work")


def test_a_job_with_a_damaged_input_does_no_work_and_says_why(sealed, tmp_path, quiet):
    results = tmp_path / "results"
    shutil.copytree(sealed, results)
    lengthened(results, results / "data/facts.jsonl", None)
    worked = []
    size = (sealed / "data/facts.jsonl").stat().st_size
    told = rf"facts\.jsonl has {size + 1:,} bytes, but rule prepare_data wrote {size:,}"
    refused = pytest.raises(CheckpointError, match=told)
    with refused, Job(call(results, inputs=[results / "data/facts.jsonl"])):
        worked.append(1)
    assert not worked
    assert state(results)["state"] == "failed"
    assert "facts.jsonl" in state(results)["why"]


def fail(results, params, interval=0):
    """A job that keeps a state and then fails."""

    def work():
        with Job(call(results, params=params, interval=interval)) as job:
            job.resume.save("x", {}, {"n": 1})
            raise RuntimeError("the power fails")

    with pytest.raises(RuntimeError, match="the power fails"):
        work()


def test_a_job_that_fails_keeps_its_resume_state_and_one_that_ends_keeps_it_till_its_output_is_read(tmp_path, quiet):
    results, made = tmp_path / "results", tmp_path / "results/runs/x.json"
    fail(results, {"a": 1})
    assert state(results)["why"] == "RuntimeError: the power fails"
    with Job(call(results, params={"a": 2}, outputs=[made])) as job:
        assert job.resume.load("x") is None  # other settings
        job.resume.save("x", {}, {"n": 2})
        write_json(made, {})
    made.unlink()  # what Snakemake does to an output of which it did not note that its job is done
    with Job(call(results, params={"a": 2}, outputs=[made])) as job:
        assert job.resume.load("x")[1] == {"n": 2}
        write_json(made, {})
    other = results / "resume/learn/another/state.json"
    write_json(other, {})
    with Job(call(results, rule="evaluate", inputs=[made])):
        assert not (results / "resume/learn/job").exists()
        assert other.is_file()


def test_a_job_of_many_leaves_no_state_once_its_outputs_are_sealed_but_keeps_it_if_it_fails(tmp_path, quiet):
    results, made = tmp_path / "results", tmp_path / "results/runs/x.json"
    other = results / "resume/learn/another/state.json"
    write_json(other, {})
    with pytest.raises(FileNotFoundError), Job(call(results, outputs=[made]), keep_state=False) as job:
        job.resume.save("x", {}, {"n": 1})
    with Job(call(results, outputs=[made]), keep_state=False) as job:
        assert job.resume.load("x")[1] == {"n": 1}
        write_json(made, {})
    assert verified(results, [made])
    assert list((results / "resume/learn").iterdir()) == [other.parent]


@pytest.mark.parametrize("maker", ["../healed", "..", "learn/..", "/", "", "learn"])
def test_a_seal_cannot_have_anything_removed_but_resume_state(tmp_path, quiet, maker):
    results = tmp_path / "results"
    made, healed, state = results / "x.json", results / "healed/model.json", results / "resume/learn/job/state.json"
    for path in (made, healed, state):
        write_json(path, {})
    seal(results, [made], {}, rule="learn", job=maker, wildcards={})
    with Job(call(results, inputs=[made])):
        assert healed.is_file()
        assert state.is_file()


def test_a_job_whose_outputs_cannot_be_sealed_failed_and_keeps_its_state(tmp_path, quiet):
    results = tmp_path / "results"
    missing = pytest.raises(FileNotFoundError)
    with missing, Job(call(results, outputs=[results / "runs/x.json"])) as job:
        job.resume.save("x", {}, {"n": 1})
    assert state(results)["state"] == "failed"
    assert "runs/x.json" in state(results)["why"]
    with Job(call(results)) as job:
        assert job.resume.load("x")[1] == {"n": 1}


def test_a_job_that_gets_no_gpu_failed(tmp_path, quiet, monkeypatch):
    def none_there():
        raise ConfigError("no GPU is free")

    monkeypatch.setattr("smf.jobs.job.take_gpu", none_there)
    asked = call(tmp_path / "results", params={"device": "cuda"})
    asked.resources["gpu"] = 1
    with pytest.raises(ConfigError), Job(asked):
        raise AssertionError("it does no work")
    assert state(tmp_path / "results")["why"] == "ConfigError: no GPU is free"


def test_the_same_job_finds_its_state_whatever_the_interval_is_now(tmp_path, quiet):
    results = tmp_path / "results"
    fail(results, {"a": 1}, interval=5)
    with Job(call(results, params={"a": 1}, interval=7)) as job:
        assert job.resume.load("x")[1] == {"n": 1}


def test_a_state_of_other_versions_of_libraries_is_not_resumed_and_the_log_says_so(
    tmp_path, quiet, monkeypatch, caplog
):
    results = tmp_path / "results"
    fail(results, {"a": 1})
    monkeypatch.setattr("smf.jobs.job.library_versions", lambda: {"torch": "0"})
    with caplog.at_level("INFO"), Job(call(results, params={"a": 1})) as job:
        assert job.resume.load("x") is None
    assert "versions of torch, transformers, peft or lm-eval; this one starts from scratch" in caplog.text


@pytest.mark.parametrize(("number", "why"), [(signal.SIGINT, "by Ctrl-C"), (signal.SIGTERM, "by SIGTERM")])
def test_a_job_that_is_interrupted_says_so_seals_nothing_and_tidies_up(number, why, tmp_path, quiet):
    results = tmp_path / "results"
    made = results / "runs/x.json"
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), Job(call(results, outputs=[made])), atomic_path(made):
        signal.raise_signal(number)
    state = read_json(results / "logs/learn/job.state.json")
    assert (state["state"], state["why"]) == ("interrupted", why)
    assert list(made.parent.iterdir()) == []
    assert not seal_path(results, made).exists()
    assert signal.getsignal(signal.SIGTERM) == before


# All at once, before anything begins


def test_all_files_that_are_damaged_are_named_at_once(sealed, tmp_path):
    results = shutil.copytree(sealed, tmp_path / "results")
    names = list(RULES)
    truncate = names[:2]
    for name in truncate:
        truncated(results, results / name, random.Random(0))
    foreign(results, results / names[3], None)
    faults = damaged(results, [*(results / name for name in names), results.parent / "outside.txt"])
    assert set(faults) == {results / name for name in (*truncate, names[3])}
    assert f"bytes, but rule {RULES[names[0]][0]} wrote" in faults[results / names[0]]
    assert "--force" not in "".join(faults.values())  # one command for all is up to the caller
