"""README's table of ratios: from the files that benchmarks leave, and from the states of an experiment's jobs."""

import json

import pytest

from benchmarks.measuring import row
from benchmarks.performance import MEASURED, learning, markdown, measured


def finished(folder, job, seconds):
    path = folder / "logs" / "learn" / f"{job}.state.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    method, _, seed = job.partition(".seed-")
    state = {"rule": "learn", "wildcards": {"method": method, "seed": seed}, "host": "here", "pid": 1, "why": ""}
    counted = {} if seconds is None else {"cpu_time": seconds}
    path.write_text(json.dumps({**state, "state": "done", "started": 0.0, "changed": 1.0, **counted}))


def test_learning_is_compared_over_the_streams_that_both_methods_learned(tmp_path):
    for job, seconds in {
        "smf.seed-0": 10,
        "smf.seed-1": 20,
        "smf.seed-2": 99,
        "lora.seed-0": 40,
        "lora.seed-1": 80,
    }.items():
        finished(tmp_path, job, seconds)
    finished(tmp_path, "lora--lr-0.1.seed-2", 1)  # a trial at another rate is no run of the method
    finished(tmp_path, "lora.seed-2", None)  # a job that did not count its time
    (found,) = learning(tmp_path, "smf", ["lora"])
    assert (found["value"], found["holds"]) == (30 / 120, True)
    assert "seeds 0, 1:" in found["name"]


def test_methods_without_a_common_stream_are_named(tmp_path):
    finished(tmp_path, "smf.seed-0", 10)
    with pytest.raises(SystemExit, match="no stream that both smf and full have learned"):
        list(learning(tmp_path, "smf", ["full"]))


def test_every_row_is_found_by_its_name_and_a_missing_file_says_what_makes_it(tmp_path):
    for name, parts in MEASURED.items():
        rows = [row(f"one model{part} of it", 2, ">= 1") for part in parts] + [row("another", 1)]
        (tmp_path / name).write_text(json.dumps({"rows": rows}))
    assert [found["value"] for found in measured(tmp_path)] == [2] * sum(map(len, MEASURED.values()))
    (tmp_path / "memory.json").write_text(json.dumps({"rows": []}))
    with pytest.raises(SystemExit, match="has 0 rows named"):
        list(measured(tmp_path))
    (tmp_path / "memory.json").write_text('{"rows": [')
    with pytest.raises(SystemExit, match="is not what a benchmark writes; delete it"):
        list(measured(tmp_path))
    (tmp_path / "memory.json").unlink()
    with pytest.raises(SystemExit, match="make performance"):
        list(measured(tmp_path))


def test_a_row_shows_quartiles_target_and_verdict():
    missed = row("step, 2^20 x 896", 1.234, "<= 1", low=1.2, high=1.3)
    assert markdown(missed) == "| step, 2^20 × 896 | 1.23 (1.2 to 1.3) | ≤ 1 | **missed** |"
    assert markdown(row("more", 4)) == "| more | 4 |  |  |"
