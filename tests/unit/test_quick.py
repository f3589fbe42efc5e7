"""``make quick`` runs what fits into its time, by what tests took on this machine before."""

import os
import subprocess
import sys

import pytest

from tests.quick import LONGEST, chosen
from tests.workflow.runs import ROOT

FAST = "def test_fast():\n    pass\n"
SLOW = "import time\n\ndef test_slow():\n    time.sleep(0.6)\n\ndef test_beside():\n    pass\n"


def run_pytest(folder, *arguments):
    command = [sys.executable, "-m", "pytest", "-p", "tests.quick", "-v", *arguments, "."]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def write_tests(folder):
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_fast.py").write_text(FAST)
    (folder / "test_slow.py").write_text(SLOW)


def test_files_that_took_too_long_are_left_out_and_named(tmp_path):
    write_tests(tmp_path)
    assert "3 passed" in run_pytest(tmp_path).stdout
    quick = run_pytest(tmp_path, "--within", "0.5").stdout
    assert "left out, as they took too long: test_slow.py\n" in quick
    assert "1 passed, 2 deselected" in quick
    parallel = run_pytest(tmp_path, "-p", "xdist.plugin", "-n", "2", "--within", "0.5").stdout
    assert "left out, as they took too long: test_slow.py\n" in parallel
    assert "1 passed" in parallel
    (tmp_path / "test_new.py").write_text(FAST)
    assert "2 passed, 2 deselected" in run_pytest(tmp_path, "--within", "0.5").stdout  # what is new is run


def test_before_the_first_whole_run_quick_says_what_to_do(tmp_path):
    write_tests(tmp_path)
    done = run_pytest(tmp_path, "--within", "100")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "run `make test` once" in done.stdout + done.stderr


def test_single_long_tests_go_first_and_then_the_longest_files():
    seconds = {"a::long": LONGEST + 1, "a::short": 1.0, "b::one": 2.0, "b::two": 2.5, "c::one": 3.0}
    assert chosen(seconds, seconds, within=4.0) == ({"a::short", "c::one"}, ["b"])
    assert chosen(seconds, seconds, within=8.5) == ({"a::short", "b::one", "b::two", "c::one"}, [])
