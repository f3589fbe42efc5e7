"""What a job that failed, was interrupted or killed has cost is found; what somebody removed is not asked for."""

import pytest

from smf.files.artifacts import write_json, write_text
from smf.files.seals import seal, seal_path
from smf.jobs.lost import lost_files


@pytest.fixture
def results(tmp_path):
    """Two jobs of a rule, done and sealed, and a file beside the folders."""
    for seed in "01":
        made(tmp_path, f"runs/seed-{seed}/facts.jsonl", f"learn/seed-{seed}")
    made(tmp_path, "plan.txt", "plan/plan")
    return tmp_path


def made(results, name, job):
    write_text(results / name, "what it made")
    seal(results, [results / name], {}, rule=job.split("/")[0], job=job, wildcards={})
    tell(results, job, "done")


def tell(results, job, state):
    write_json(results / "logs" / f"{job}.state.json", {"state": state})


@pytest.mark.parametrize("state", ["failed", "interrupted", "running"])
@pytest.mark.parametrize(("name", "job"), [("runs/seed-0/facts.jsonl", "learn/seed-0"), ("plan.txt", "plan/plan")])
def test_what_a_job_took_with_it_is_lost(results, state, name, job):
    (results / name).unlink()
    tell(results, job, state)
    assert lost_files(results) == [results / name]


def test_what_somebody_removed_is_not_lost(results):
    (results / "runs/seed-0/facts.jsonl").unlink()
    tell(results, "learn/seed-1", "failed")  # another job, which has taken nothing with it
    assert lost_files(results) == []


def test_damaged_states_and_seals_are_passed_over(results):
    (results / "runs/seed-0/facts.jsonl").unlink()
    write_text(results / "logs/learn/seed-0.state.json", "{")
    write_text(seal_path(results, results / "plan.txt"), "{")
    assert lost_files(results) == [results / "runs/seed-0/facts.jsonl"]


def test_a_folder_without_results_has_lost_nothing(tmp_path):
    assert lost_files(tmp_path / "results") == []
