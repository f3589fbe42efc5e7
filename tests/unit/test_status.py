"""What `smf status` says of done, running, killed and failed jobs."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smf import cli
from smf.errors import DataError
from smf.files.artifacts import read_json, write_json, write_text
from smf.jobs.process import process_start
from smf.jobs.status import job_states, status_text

NO_PROCESS = 2**22 + 1  # beyond what Linux gives


def job(results, rule, name, state, pid=None, host=None, why="", progress=()):
    now = time.time()
    write_json(
        results / "logs" / rule / f"{name}.state.json",
        {
            "rule": rule,
            "wildcards": {"method": name},
            "state": state,
            "why": why,
            "host": host or socket.gethostname(),
            "pid": os.getpid() if pid is None else pid,
            "started": now - 100,
            "changed": now - 40,
        },
    )
    lines = "".join(f"2026-11-23 06:00:00,000 INFO progress: {line}\n" for line in progress)
    write_text(results / "logs" / rule / f"{name}.log", lines)


@pytest.fixture
def results(tmp_path):
    job(tmp_path, "learn", "full", "done", progress=["100 %"])
    job(tmp_path, "learn", "lora", "running", progress=["facts: 1 of 9", "facts: 5 of 9"])
    job(tmp_path, "learn", "smf", "running", pid=NO_PROCESS)
    job(tmp_path, "learn", "far", "running", pid=NO_PROCESS, host="another")
    job(tmp_path, "evaluate", "full", "failed", why="DataError: no such file")
    return tmp_path


def test_each_job_is_what_it_is(results):
    found = {(state["rule"], state["wildcards"]["method"]): state["state"] for state in job_states(results)}
    assert found == {
        ("learn", "full"): "done",
        ("learn", "lora"): "running",
        ("learn", "smf"): "killed",
        ("learn", "far"): "running",  # its host is not this one
        ("evaluate", "full"): "failed",
    }


def test_a_job_whose_number_another_process_got_was_killed(results):
    """A state file from before processes' starts were recorded tells nothing of it."""
    path = results / "logs/learn/lora.state.json"
    for start, state in ((process_start(os.getpid()), "running"), ("another boot 7", "killed"), ("", "running")):
        write_json(path, {**read_json(path), "process_start": start})
        assert {known["state"] for known in job_states(results) if known["log"].endswith("lora.log")} == {state}, start


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells when a process started")
def test_a_process_keeps_its_start_and_shares_it_with_no_later_one():
    sleepers = []
    for _ in range(2):
        sleepers.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        time.sleep(0.05)  # a clock tick is 0.01 s
    starts = [process_start(sleeper.pid) for sleeper in sleepers]
    assert starts == [process_start(sleeper.pid) for sleeper in sleepers]
    assert len(set(starts)) == 2
    for sleeper in sleepers:
        sleeper.communicate(b"\n")
    ticks = [int(start.rpartition(" ")[2]) / os.sysconf("SC_CLK_TCK") for start in starts]
    assert [time.clock_gettime(time.CLOCK_BOOTTIME) - start for start in ticks] == pytest.approx([0, 0], abs=30)
    assert process_start(NO_PROCESS) == ""


def test_seconds_go_on_while_a_job_runs_and_stop_when_it_ends(results):
    seconds = {
        state["wildcards"]["method"]: state["seconds"] for state in job_states(results) if state["rule"] == "learn"
    }
    assert seconds["full"] == pytest.approx(60, abs=1)
    assert seconds["lora"] == pytest.approx(100, abs=5)


def test_a_killed_job_ran_until_it_was_last_heard_of(results):
    log = results / "logs/learn/smf.log"
    os.utime(log, (time.time() - 20, time.time() - 20))
    (killed,) = [state for state in job_states(results) if state["state"] == "killed"]
    assert killed["seconds"] == pytest.approx(80, abs=1)


def test_the_text_begins_with_what_needs_attention_and_says_why(results):
    text = status_text(results)
    assert text.startswith("1 failed, 1 killed, 2 running, 1 done\n")
    assert text.index("DataError: no such file") < text.index("facts: 5 of 9")
    assert "facts: 1 of 9" not in text
    assert "100 %" not in text
    assert str(results / "logs/evaluate/full.log") in text
    assert "unknown" not in text


def test_an_interrupted_job_is_no_failure_and_says_how_to_go_on(results):
    job(results, "evaluate", "lora", "interrupted", why="by Ctrl-C")
    text = status_text(results)
    assert text.startswith("1 failed, 1 killed, 1 interrupted, 2 running, 1 done\n")
    assert re.search(r"interrupted evaluate method lora  0:01:00\n +by Ctrl-C\n +repeat the command", text)
    header, evaluate, _ = text.split("\n\n")[-1].splitlines()
    assert header.split() == ["rule", "done", "running", "interrupted", "killed", "failed"]
    assert evaluate.index("1") == header.index("interrupted") + len("interrupted") - 1


def test_a_job_on_another_host_says_when_it_was_last_heard_of(results):
    log = results / "logs/learn/far.log"
    os.utime(log, (time.time() - 20, time.time() - 20))
    assert re.search(r"on another, last heard from 0:00:2\d ago", status_text(results))


@pytest.mark.parametrize(
    "damage",
    [
        '{"rule": "learn", ',
        "[]",
        '{"rule": "learn"}',
        "",
        {"changed": "x"},
        {"changed": None},
        {"started": None},
        {"wildcards": []},
        {"wildcards": {"seed": 3}},
        {"rule": None},
        {"pid": "x"},
        {"pid": 1.5},
        {"state": "asleep"},
    ],
)
def test_a_damaged_state_hides_no_other_job(results, damage):
    path = results / "logs/learn/full.state.json"
    path.write_text(damage if isinstance(damage, str) else json.dumps({**json.loads(path.read_text()), **damage}))
    said = status_text(results)
    assert said.startswith("1 failed, 1 killed, 1 unknown, 2 running\n")
    assert str(path) in said
    assert "DataError: no such file" in said


def test_branches_are_told_by_method_and_seed_with_the_job_that_began_last(tmp_path):
    def run(rule, method, seed, state, began):
        name = f"{method}.seed-{seed}"
        job(tmp_path, rule, name, state)
        path = tmp_path / "logs" / rule / f"{name}.state.json"
        known = read_json(path)
        write_json(path, {**known, "wildcards": {"method": method, "seed": seed}, "started": known["started"] + began})

    run("learn", "lora", "0", "done", 0)
    run("evaluate", "lora", "0", "failed", 1)
    run("learn", "lora", "10", "done", 2)
    run("learn", "full", "2", "running", 3)
    run("trial", "lora--lr-1", "0", "done", 4)
    table = status_text(tmp_path).split("\n\n")[-1].splitlines()
    assert [line.split() for line in table] == [
        ["branch", "seed", "0", "seed", "2", "seed", "10"],
        ["full", "–", "learn", "running", "–"],
        ["lora", "evaluate", "failed", "–", "learn", "done"],
    ]


def test_the_command_prints_it_and_a_folder_without_jobs_is_refused(results, tmp_path, capsys):
    assert cli.main(["status", str(results)]) == 0
    assert capsys.readouterr().out == status_text(results) + "\n"
    with pytest.raises(DataError, match="no job has run in"):
        status_text(tmp_path / "nowhere")


def test_progress_reaches_the_log_file(tmp_path):
    program = (
        "from smf.logs import configure_logging, progress\n"
        f"configure_logging({str(tmp_path / 'x.log')!r})\n"
        "list(progress(range(3), 'things'))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    lines = (tmp_path / "x.log").read_text().splitlines()
    assert "INFO progress: things: 100%" in lines[-1]
