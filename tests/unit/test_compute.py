"""The table of what a run cost."""

import json

import pytest

from smf.analysis.compute import COMPUTE_COLUMNS, compute_table
from smf.errors import DataError
from smf.jobs.status import costs
from smf.stages.report import write_compute

JOBS = [
    ("learn", "full.seed-0", {"s": 10.0, "cpu_time": 8.0, "max_rss": 500.0}),
    ("learn", "full.seed-1", {"s": 14.0, "cpu_time": 9.0, "max_rss": 700.0}),
    ("learn", "smf.seed-0", {"s": 5.0, "cpu_time": 4.0, "max_rss": 400.0}),
    ("trial", "smf--lr-1.0--top_t-8.seed-0", {"s": 3.0, "cpu_time": 2.0, "max_rss": 300.0}),
    ("trial", "smf--lr-2.0--top_t-8.seed-0", {"s": 4.0, "cpu_time": 3.0, "max_rss": 350.0}),
    ("scores", "scores", {"s": 0.4, "cpu_time": 0, "max_rss": "-"}),
]


def test_jobs_of_one_rule_and_method_are_one_row_the_dearest_first():
    table = compute_table(JOBS)
    assert tuple(table.columns) == COMPUTE_COLUMNS
    assert table.to_numpy().tolist() == [
        ["learn", "full", 2, 24.0, 17.0, 700.0],
        ["trial", "smf", 2, 7.0, 5.0, 350.0],
        ["learn", "smf", 1, 5.0, 4.0, 400.0],
        ["scores", "", 1, 0.4, 0.0, 0.0],
    ]


def test_benchmarks_on_disk_are_found_and_their_absence_is_named(tmp_path):
    for rule, name, measured in JOBS:
        path = tmp_path / "benchmarks" / rule / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(measured) + "\n")
    write_compute(tmp_path / "benchmarks", {}, tmp_path / "compute.csv")
    assert (tmp_path / "compute.csv").read_text().splitlines()[1] == "learn,full,2,24,17,700"
    with pytest.raises(DataError, match="no job has been benchmarked yet; run the experiment first"):
        write_compute(tmp_path / "nowhere", {}, tmp_path / "compute.csv")


def test_what_a_job_counted_itself_stands_in_place_of_what_was_sampled(tmp_path):
    for rule, name, measured in JOBS[:2]:
        path = tmp_path / "benchmarks" / rule / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(measured) + "\n")
    states = {
        "full.seed-0": {"state": "done", "cpu_time": 100.25, "max_rss": 650.5},
        "full.seed-1": {"state": "failed", "cpu_time": 1000, "max_rss": 1000},  # the benchmark is of an earlier call
    }
    for name, state in states.items():
        path = tmp_path / "logs/learn" / f"{name}.state.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        began = {"rule": "learn", "wildcards": {}, "why": "", "host": "", "pid": 1, "started": 0, "changed": 1}
        path.write_text(json.dumps({**began, **state}))
    write_compute(tmp_path / "benchmarks", costs(tmp_path / "logs"), tmp_path / "compute.csv")
    assert (tmp_path / "compute.csv").read_text().splitlines()[1:] == ["learn,full,2,24,109.2,700"]
