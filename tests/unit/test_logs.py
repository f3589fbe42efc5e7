"""A job's log file holds everything; the terminal holds what a user can act on."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORTS = (
    "import logging, sys, warnings; from smf.errors import DataError; "
    "from smf.logs import configure_logging, progress; "
)


def run(tmp_path, code):
    """Standard error and the log file of a process that logs to it."""
    path = tmp_path / "logs" / "job.log"
    command = f"{IMPORTS}configure_logging({str(path)!r}); {code}"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True)
    return done, path.read_text()


def test_an_smf_error_is_shown_as_its_message_and_logged_with_its_traceback(tmp_path):
    done, log = run(tmp_path, "raise DataError('facts.jsonl, line 3: 100 % broken')")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "DataError: facts.jsonl, line 3: 100 % broken",
        f"(log: {tmp_path / 'logs' / 'job.log'})",
    ]
    assert "Traceback" in log
    assert "smf.errors.DataError: facts.jsonl, line 3: 100 % broken" in log


def test_any_other_error_is_shown_and_logged_with_its_traceback(tmp_path):
    done, log = run(tmp_path, "1 / 0")
    assert done.returncode == 1
    for text in (done.stderr, log):
        assert "Traceback" in text
        assert "ZeroDivisionError: division by zero" in text


@pytest.mark.parametrize("code", ["raise KeyboardInterrupt", "import signal; signal.raise_signal(signal.SIGINT)"])
def test_an_interrupt_is_one_line_on_the_terminal(tmp_path, code):
    done, log = run(tmp_path, code)
    assert done.returncode != 0
    assert done.stderr.strip() == "interrupted; repeat the command to resume"
    assert "KeyboardInterrupt" in log


def test_so_is_one_that_comes_while_a_script_still_imports():
    code = "from smf.jobs.job import Job; raise KeyboardInterrupt"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.strip() == "interrupted; repeat the command to resume"


@pytest.mark.parametrize(
    ("code", "on_terminal"),
    [
        ("logging.getLogger('smf.training').info('message')", True),
        ("logging.getLogger('other').warning('message')", False),
        ("logging.getLogger('other').error('message')", True),
        ("warnings.warn('message')", False),
    ],
)
def test_messages_go_to_the_log_and_the_important_ones_to_the_terminal(tmp_path, code, on_terminal):
    done, log = run(tmp_path, code)
    assert done.returncode == 0
    assert "message" in log
    assert ("message" in done.stderr) == on_terminal


def test_progress_yields_every_item(tmp_path):
    done, _ = run(tmp_path, "print(sum(progress(range(5), 'counting')))")
    assert done.stdout.strip() == "10"
    assert "counting" in done.stderr
