"""Kill the workflow at random moments, go on, and compare its tables with those of a run that was left alone.

    python benchmarks/kills.py --kills 50 --config config.yaml --folder FOLDER

Below FOLDER, `alone/` is the run that is left alone and `killed/` the one that is killed, with SIGKILL to Snakemake and
all its jobs at once, at moments drawn from a seed, counted from when its first job begins: of Snakemake's own start
there is nothing to lose. After each kill the lock is taken away and the command repeated. If
the run ends before all kills were made, its tables are compared, its results removed, and it begins again.

Printed are the kills by the rules that were running, how long ago a running job had kept its state (what the kill
cost, at most), and whether the tables are the same bytes. The exit status is 1 if a table differs or a run fails.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TABLES = ("scores.csv", "summary.csv", "summary.txt")


def main() -> None:
    """Run, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--interval", type=int, default=5, help="resume_interval, in seconds")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--config", type=Path, default=ROOT / "config.yaml")
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    config = {**yaml.safe_load(options.config.read_text(encoding="utf-8")), "resume_interval": options.interval}
    for name in ("alone", "killed"):
        (options.folder / name).mkdir(parents=True, exist_ok=True)
        (options.folder / name / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    alone, killed = Run(options.folder / "alone", options.cores), Run(options.folder / "killed", options.cores)
    started = time.monotonic()
    alone.until_done()
    seconds = time.monotonic() - started
    say(f"left alone: {seconds:.0f} s")
    rng, kills, rules, losses, passes = random.Random(options.seed), 0, Counter(), [], 0
    while kills < options.kills:
        # On average each start moves the run on by about a fiftieth.
        if killed.killed_after(rng.uniform(0.0, 2 * seconds / options.kills)):
            kills += 1
            rules.update(killed.running_rules() or ["between jobs"])
            losses += killed.seconds_since_state()
            say(f"kill {kills}: {', '.join(killed.running_rules()) or 'between jobs'}")
            killed.unlock()
        else:
            passes += 1
            compare(alone, killed)
            shutil.rmtree(killed.folder / "results")
    killed.until_done()
    passes += 1
    compare(alone, killed)
    say(f"{kills} kills, {passes} runs ended with the same tables, byte for byte")
    say("killed: " + ", ".join(f"{number} in {rule}" for rule, number in rules.most_common()))
    if losses:
        say(f"oldest state of a job at its kill: {max(losses):.1f} s; resume_interval is {options.interval} s")


class Run:
    """The workflow in a folder of its own.

    Args:
        folder: Where it runs; holds its config.
        cores: Jobs at a time.
    """

    def __init__(self, folder: Path, cores: int):
        self.folder = folder
        self._command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--nocolor"]
        self._arguments = ["--cores", str(cores), "--configfile", "config.yaml"]
        self._running: list[dict] = []

    def until_done(self) -> None:
        """Run to the end."""
        process = self._start()
        if process.wait():
            sys.exit(f"the run in {self.folder} failed; see {self.folder / 'snakemake.log'}")

    def killed_after(self, seconds: float) -> bool:
        """Run and kill so long after the first job has begun; False if the run ended before."""
        started = time.time()
        process = self._start()
        while process.poll() is None and not any(state["started"] > started for state in self._states()):
            time.sleep(0.2)
        try:
            if process.wait(seconds):
                sys.exit(f"the run in {self.folder} failed; see {self.folder / 'snakemake.log'}")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            # Those of earlier kills still say that they are running.
            states = [state for state in self._states() if state["started"] > started]
            self._running = [state for state in states if state["state"] == "running"]
            return True
        return False

    def unlock(self) -> None:
        """Take away the lock that a killed Snakemake leaves."""
        subprocess.run(
            [*self._command, "--unlock", *self._arguments], cwd=self.folder, env=environment(), check=True,
            capture_output=True,
        )  # fmt: skip

    def running_rules(self) -> list[str]:
        """Of the jobs that were killed last."""
        return sorted(state["rule"] for state in self._running)

    def seconds_since_state(self) -> list[float]:
        """How long ago each job that was killed last had started or kept a state."""
        now, found = time.time(), []
        for state in self._running:
            folder = self.folder / "results" / "resume" / state["rule"]
            kept = [path.stat().st_mtime for path in folder.rglob("*.safetensors")] if folder.is_dir() else []
            found.append(now - max([state["started"], *kept]))
        return found

    def tables(self) -> dict[str, bytes]:
        """The tables that are compared."""
        return {name: (self.folder / "results/tables" / name).read_bytes() for name in TABLES}

    def _start(self) -> subprocess.Popen:
        with open(self.folder / "snakemake.log", "ab") as log:
            return subprocess.Popen(
                [*self._command, *self._arguments], cwd=self.folder, env=environment(), stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _states(self) -> list[dict]:
        paths = (self.folder / "results/logs").glob("*/*.state.json")
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def environment() -> dict[str, str]:
    """One thread per process."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def compare(alone: Run, killed: Run) -> None:
    """Stop if a table differs."""
    expected = alone.tables()
    if differing := [name for name, content in killed.tables().items() if content != expected[name]]:
        sys.exit(f"{', '.join(differing)} differ between {alone.folder} and {killed.folder}")


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
