"""What keeping resume state costs: the share of a rule's time that goes into it.

    python benchmarks/resume.py results --out results/benchmarks/resume.json

Of a finished embedded experiment, jobs are done again in turns without resume state and with it, at --interval seconds
(the default of the config by default). Printed are, of each: the seconds spent in writing state, snapshots that wait
for the job's end and the state of its end among them, as a share of the job's time; the states kept; and the CPU time
against the same job without state, pair by pair, which also has the gathering of what is kept.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import yaml
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import line, ratio, row
from smf.config.experiment import Experiment
from smf.files.artifacts import copy_file, write_json
from smf.files.resume import NO_RESUME, Resume
from smf.stages.base_model import make_base_model
from smf.stages.evaluate import evaluate_run
from smf.stages.heal import write_background_counts
from smf.stages.learn import Learning, Run, learn

ROOT = Path(__file__).parents[1]
LARGEST_SHARE = 0.02


class Timed(Resume):
    """Resume state that tells what it cost."""

    def __init__(self, folder: Path, interval: float):
        super().__init__(folder, "key", interval)
        self.seconds, self.kept = 0.0, 0

    def save(self, name: str, tensors: Mapping[str, Tensor], values: Mapping[str, object]) -> None:
        """As in the product, with a clock."""
        started = time.monotonic()
        super().save(name, tensors, values)
        self.seconds += time.monotonic() - started
        self.kept += 1

    def copy(self, source: str | Path, path: str | Path) -> None:
        """Put a snapshot that waited where it belongs."""
        started = time.monotonic()
        copy_file(source, path)
        self.seconds += time.monotonic() - started


def main() -> None:
    """Do jobs again, with resume state and without."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--config", type=Path, default=ROOT / "config.yaml")
    parser.add_argument("--interval", type=float, help="seconds; by default the config's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", nargs="*", default=["full", "smf_tfidf", "smf_trust"])
    parser.add_argument("--steps", type=int, default=600, help="of the pretraining, which is cut short")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/resume.json"))
    options = parser.parse_args()
    experiment = Experiment(yaml.safe_load(options.config.read_text(encoding="utf-8")))
    interval = options.interval or float(experiment.config["resume_interval"])
    if options.repeats < 2:
        parser.error("--repeats must be at least 2")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, job in jobs(experiment, options, Path(folder)).items():
            rows += measured(name, job, interval, options.repeats, Path(folder))
            for result in rows[-2:]:
                sys.stdout.write(line(result) + "\n")
                sys.stdout.flush()
    write_json(options.out, rows)
    sys.stdout.write(json.dumps({"interval": interval, "holds": all(row["holds"] is not False for row in rows)}) + "\n")


def measured(name: str, job: Callable[[Resume], None], interval: float, repeats: int, folder: Path) -> list[dict]:
    """A job's share of time for state, and its CPU time over that without."""
    shares, kept, times = [], 0, {"with": [], "without": []}
    for number in range(repeats):
        timed = Timed(folder / f"resume-{number}", interval)
        for kind, resume in (("without", NO_RESUME), ("with", timed)):
            started, cpu = time.monotonic(), time.process_time()
            with mock.patch("smf.stages.learn.copy_file", timed.copy):
                job(resume)
            times[kind].append(time.process_time() - cpu)
            if resume is timed:
                shutil.rmtree(folder / f"resume-{number}", ignore_errors=True)
                shares.append(timed.seconds / (time.monotonic() - started))
                kept = timed.kept
    share = statistics.median(shares)
    return [
        row(f"{name}: share of the time for {kept} states", share, f"<= {LARGEST_SHARE}", kept=kept),
        row(f"{name}: CPU time, with state over without", **ratio(times["with"], times["without"])),
    ]


def jobs(experiment: Experiment, options: argparse.Namespace, folder: Path) -> dict[str, Callable[[Resume], None]]:
    """The long rules, each as a call that gets the resume state."""
    config, results = experiment.config, options.results
    counts = results / "background/counts.safetensors"
    stream = results / f"streams/seed-{config['seeds'][0]}.jsonl"
    held_out = {name: (kind, results / f"data/held_out/{name}.jsonl") for name, kind in experiment.probes.items()}

    def pretrain(resume: Resume) -> None:
        base = {**experiment.base, "min_recall": 0.0}
        base["pretraining"] = {**base["pretraining"], "num_steps": options.steps}
        corpus = results / "data/pretraining.jsonl"
        make_base_model(
            base, corpus, None, memory_layers=[], device=config["device"], folder=folder / "base", resume=resume
        )

    def count(resume: Resume) -> None:
        write_background_counts(
            config["background"], results / "healed", results / "data/background.jsonl",
            max_length=config["base"]["max_length"], device=config["device"], path=folder / "counts.safetensors",
            resume=resume,
        )  # fmt: skip

    def run(name: str) -> Run:
        background = counts if experiment.needs_background(name) else None
        start, how = results / experiment.start(name), {"seed": config["seeds"][0], "device": config["device"]}
        return Run(experiment.runs[name], start, stream, background, **how)

    def teach(name: str) -> Callable[[Resume], None]:
        return lambda resume: learn(
            run(name), Learning(experiment.learning, config["base"]["max_length"]),
            log_path=folder / "facts.jsonl", resume=resume,
            delta_paths={position: folder / f"{name}-{position}.safetensors" for position in experiment.positions},
        )  # fmt: skip

    def evaluate(name: str) -> Callable[[Resume], None]:
        return lambda resume: evaluate_run(
            name, run(name), experiment.asking, held_out, resume=resume,
            delta_paths={position: folder / f"{name}-{position}.safetensors" for position in experiment.positions},
            score_paths={position: folder / f"{name}-{position}.json" for position in experiment.positions},
        )  # fmt: skip

    return {
        f"base_model ({options.steps} steps)": pretrain,
        "count_background": count,
        **{f"learn {name}": teach(name) for name in options.methods},
        **{f"evaluate {name}": evaluate(name) for name in options.methods[-1:]},
    }


if __name__ == "__main__":
    main()
