"""A job that is a copy of the server behaves as a script that Python starts, and none outlives who waits for it."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from smf.jobs.fork_server import AVAILABLE, ONE_THREAD, start
from smf.jobs.hand_over import SERVER
from tests.workflow.runs import ROOT

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="needs Linux")

HEAD = "snakemake = None\nimport smf.jobs.hand_over\nimport json, os, signal, sys, time\n"
PRELOADED = """
import os, time
end = time.process_time() + 0.5
while time.process_time() < end: pass
os.environ["SET_BY_AN_IMPORT"] = "1"
"""
PATIENCE = 60.0


class Jobs:
    """Scripts handed over to one server, or not."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.folder = folder
        (folder / "slow_to_import.py").write_text(PRELOADED)
        monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{folder}")
        monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
        monkeypatch.setenv(SERVER, "none yet")  # so that it is removed at the end
        self.plain = {**os.environ, **ONE_THREAD}
        del self.plain[SERVER]
        self.server = start(["slow_to_import"])
        self.handed_over = {**self.plain, SERVER: os.environ[SERVER]}
        self._begun: list[subprocess.Popen] = []

    def begin(self, text: str, environment: dict[str, str] | None = None) -> subprocess.Popen:
        script = self.folder / "script.py"
        script.write_text(HEAD + text)
        job = subprocess.Popen(
            [sys.executable, str(script), "an argument"],  # by its whole path, as Snakemake does
            cwd=self.folder,
            env=self.handed_over if environment is None else environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._begun.append(job)
        return job

    def end(self) -> None:
        """Leave neither a process nor an open pipe behind, also of a test that failed."""
        for job in self._begun:
            job.kill()
            job.wait(timeout=PATIENCE)
            for pipe in (job.stdin, job.stdout, job.stderr):
                with suppress(BrokenPipeError):  # what was not written yet
                    pipe.close()
        self.server.stdin.close()
        self.server.stdin = None  # at the end of the process it is only waited for
        self.server.wait(timeout=PATIENCE)

    def run(self, text: str, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
        job = self.begin(text, environment)
        said = job.communicate("told\n", timeout=PATIENCE)
        return job.returncode, *said


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    jobs = Jobs(tmp_path, monkeypatch)
    yield jobs
    jobs.end()


def wait_for(true):
    end = time.monotonic() + PATIENCE
    while not (value := true()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
    return value


def is_there(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def process_of(job: subprocess.Popen) -> int:
    """The process that a script runs in, which it prints first."""
    return int(job.stdout.readline())


ENDS = {
    "its last line": "pass",
    "a status": "sys.exit(3)",
    "a text": "sys.exit('no more')",
    "an error": "raise ValueError('wrong')",
    "Ctrl-C": "signal.raise_signal(signal.SIGINT)",
    "SIGTERM": "signal.raise_signal(signal.SIGTERM)",
    "SIGKILL": "signal.raise_signal(signal.SIGKILL)",
}


def test_a_script_ends_as_it_does_when_python_starts_it(jobs):
    for name, text in ENDS.items():
        (code, out, err), (own_code, own_out, own_err) = jobs.run(text), jobs.run(text, jobs.plain)
        assert (code, out, err.splitlines()[-1:]) == (own_code, own_out, own_err.splitlines()[-1:]), name


def test_a_script_finds_what_it_finds_when_python_starts_it(jobs):
    text = """
found = {
    "name": __name__, "file": __file__, "folder": os.getcwd(), "arguments": sys.argv, "path": sys.path,
    "environment": {name: text for name, text in os.environ.items() if name not in ("_", "SHLVL")},
    "told": sys.stdin.read(), "handlers": [str(signal.getsignal(number)) for number in range(1, 32)],
    "files": sorted(map(int, os.listdir("/proc/self/fd")))[:-1], "is main": vars(sys.modules["__main__"]) is globals(),
}
print(json.dumps([found, os.getppid(), "slow_to_import" in sys.modules]))
sys.stderr.write("to the terminal")
"""
    code, out, err = jobs.run(text)
    found, parent, imported = json.loads(out)
    own_code, own_out, own_err = jobs.run("import slow_to_import\n" + text, jobs.plain)
    assert (code, found, err) == (own_code, json.loads(own_out)[0], own_err)
    assert parent == jobs.server.pid
    assert imported


def test_what_an_import_sets_makes_no_job_start_on_its_own(jobs):
    for _ in range(2):
        assert jobs.run("print(os.getppid(), os.environ['SET_BY_AN_IMPORT'])")[1:] == (f"{jobs.server.pid} 1\n", "")


@pytest.mark.parametrize(("name", "value"), [("OMP_NUM_THREADS", "2"), ("HF_HOME", "elsewhere")])
def test_a_job_with_another_environment_imports_by_itself_and_says_so(jobs, name, value):
    code, out, err = jobs.run(f"print(os.getppid(), os.environ['{name}'])", {**jobs.handed_over, name: value})
    assert (code, out) == (0, f"{os.getpid()} {value}\n")
    assert err == f"this job imports its packages itself: its environment differs in {name}\n"


def test_a_job_finds_its_own_folder_for_temporary_files(jobs):
    other = jobs.folder / "other"
    other.mkdir()
    environment = {**jobs.handed_over, "TMPDIR": str(other)}
    assert jobs.run("import tempfile; print(tempfile.gettempdir(), os.getppid())", environment)[1:] == (
        f"{other} {jobs.server.pid}\n",
        "",
    )


def test_two_jobs_run_at_once(jobs):
    text = """
print(os.getpid(), flush=True)
open(sys.stdin.readline().strip(), "w").close()
while not (os.path.exists("first") and os.path.exists("second")): time.sleep(0.01)
"""
    first, second = jobs.begin(text), jobs.begin(text)
    assert process_of(first) != process_of(second)
    for job, name in ((first, "first"), (second, "second")):
        job.stdin.write(f"{name}\n")
        job.stdin.flush()
    assert [job.wait(timeout=PATIENCE) for job in (first, second)] == [0, 0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_job_once(jobs, number):
    job = jobs.begin(f"""
got = []
signal.signal({number.value}, lambda *_: got.append(1))
print(os.getpid(), flush=True)
while not got: time.sleep(0.01)
time.sleep(0.3)
sys.exit(10 + len(got))
""")
    process_of(job)
    job.send_signal(number)
    assert job.wait(timeout=PATIENCE) == 11


def test_a_job_stops_and_goes_on_with_the_process_that_waits_for_it(jobs):
    job = jobs.begin("print(os.getpid(), flush=True)\nwhile True: time.sleep(0.01)")
    process = process_of(job)

    def state(of):
        return Path(f"/proc/{of}/stat").read_text().rpartition(")")[2].split()[0]

    job.send_signal(signal.SIGTSTP)
    wait_for(lambda: state(process) == state(job.pid) == "T")
    job.send_signal(signal.SIGCONT)
    wait_for(lambda: "T" not in (state(process), state(job.pid)))
    job.terminate()
    assert job.wait(timeout=PATIENCE) == -signal.SIGTERM


ENDLESS = """
signal.signal(signal.SIGTERM, lambda *_: (open("interrupted", "w").close(), sys.exit(4)))
print(os.getpid(), flush=True)
while True: time.sleep(0.01)
"""


def test_a_job_ends_with_the_process_that_waits_for_it(jobs):
    job = jobs.begin(ENDLESS)
    process = process_of(job)
    job.kill()
    wait_for(lambda: not is_there(process))
    assert jobs.run("print(os.getppid())")[1] == f"{jobs.server.pid}\n"  # the server goes on


def test_a_job_ends_with_the_server_and_its_process_says_so(jobs):
    job = jobs.begin(ENDLESS)
    process = process_of(job)
    jobs.server.kill()
    _, err = job.communicate(timeout=PATIENCE)
    wait_for(lambda: not is_there(process))
    assert job.returncode == 1
    assert err.startswith(
        "the process that this job was copied from has ended, and the job with it; repeat the command"
    )


def test_without_the_server_a_job_imports_by_itself_and_says_so(jobs):
    jobs.server.kill()
    jobs.server.wait()
    code, out, err = jobs.run("print(os.getppid())")
    assert (code, out) == (0, f"{os.getpid()}\n")
    assert err.startswith("this job imports its packages itself: the process that has them cannot be reached (")


def test_the_server_interrupts_its_jobs_and_ends_with_the_main_process(jobs):
    job = jobs.begin(ENDLESS)
    process_of(job)
    jobs.server.stdin.close()  # as when the main process ends, however that ends
    assert jobs.server.wait(timeout=PATIENCE) == 0
    assert job.wait(timeout=PATIENCE) == 4
    assert (jobs.folder / "interrupted").exists()
    assert not Path(os.environ[SERVER]).parent.exists()


def test_the_server_ends_when_the_main_process_is_killed(jobs):
    main = jobs.begin(
        "from smf.jobs.fork_server import start\nprint(start([]).pid, flush=True)\nsys.stdin.read()", jobs.plain
    )
    server = process_of(main)
    assert is_there(server)
    main.kill()
    wait_for(lambda: not is_there(server))


def test_a_job_counts_its_own_time_and_memory(jobs):
    text = """
from smf.jobs.cost import cost
before = cost()
block = b"x" * (64 << 20)
del block
end = time.process_time() + 0.3
while time.process_time() < end: pass
print(json.dumps([before, cost()]))
"""
    before, after = json.loads(jobs.run(text)[1])
    assert before["cpu_time"] < 0.3  # the server has used 0.5 s
    assert after["cpu_time"] - before["cpu_time"] == pytest.approx(0.3, abs=0.2)
    assert after["max_rss"] - before["max_rss"] == pytest.approx(64, abs=8)
