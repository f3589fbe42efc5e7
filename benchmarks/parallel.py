"""How much sooner N independent branches are done with --cores N than with --cores 1.

    python benchmarks/parallel.py results --cores 2 --folder FOLDER

The start models and the rest that branches need are taken from a finished experiment; every method then learns one
stream and is evaluated, with one core and with N, each in a folder of its own below --folder, on a machine that has
nothing else to do. A job has one thread, so N branches should be done nearly N times as fast; what is missing is the
start of Snakemake, and the end, when fewer jobs are left than cores.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import line, row
from smf.config.experiment import Experiment
from smf.files.artifacts import write_json

ROOT = Path(__file__).parents[1]
MADE_ANEW = ("runs", "tables", "figures", "logs", "benchmarks", "resume")


def main() -> None:
    """Run the branches with one core and with several."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="of a finished experiment")
    parser.add_argument("--config", type=Path, default=ROOT / "config.yaml")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/parallel.json"))
    options = parser.parse_args()
    experiment = Experiment(yaml.safe_load(options.config.read_text(encoding="utf-8")))
    seed, last = experiment.config["seeds"][0], experiment.positions[-1]
    targets = [f"results/runs/{name}/seed-{seed}/evaluate/position-{last}.json" for name in experiment.starts]
    seconds = {cores: timed(options, targets, cores) for cores in (1, options.cores)}
    speed = row(
        f"{len(targets)} branches, --cores 1 over --cores {options.cores}",
        seconds[1] / seconds[options.cores],
        f">= {0.8 * options.cores:g}",
        seconds={str(cores): value for cores, value in seconds.items()},
    )
    sys.stdout.write(line(speed) + "\n" + json.dumps(speed["seconds"]) + "\n")
    write_json(options.out, [speed])


def timed(options: argparse.Namespace, targets: list[str], cores: int) -> float:
    """Seconds until all targets are there."""
    folder = options.folder / f"cores-{cores}"
    shutil.copytree(options.results, folder / "results", ignore=shutil.ignore_patterns(*MADE_ANEW))
    # What the start models are made of has not changed: only what is missing is to be made.
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--rerun-triggers", "mtime"]
    started = time.monotonic()
    with open(folder / "snakemake.log", "wb") as log:
        done = subprocess.run(
            [*command, "--cores", str(cores), *targets, "--configfile", str(options.config.resolve())],
            cwd=folder, stdout=log, stderr=log, check=False,
        )  # fmt: skip
    if done.returncode:
        sys.exit(f"the run in {folder} failed; see {folder / 'snakemake.log'}")
    return time.monotonic() - started


if __name__ == "__main__":
    main()
