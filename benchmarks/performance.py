"""README's table of ratios: our memory core, learning and evaluation against each peer, from what benchmarks measured.

    make performance RESULTS=results/smollm2_cpu

runs the benchmarks whose result is not there yet, then this script. How long facts took to learn is read from the
states of the experiment's own ``learn`` jobs: CPU seconds, over the seeds that both methods were run on.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import row
from smf.jobs.status import costs

MEASURED = {
    "memory.json": (
        "step, 2^14 x 256: times faster than dense gradient, mask, AdamW",
        "step, 2^20 x 256: times faster than dense gradient, mask, AdamW",
        "step, 2^20 x 256: times faster than sparse gradient, SparseAdam",
        "peak memory, 2^20 x 256: of that of dense gradient, mask, AdamW",
        "whole step, 2^14 x 256 to 2^20 x 256: growth",
        "stream step: of LoRA's",
        "stream step: of full finetuning's",
        "counting pass: of a plain forward pass",
    ),
    "large_tables.json": ("peak memory of a process", "step on 2^24 x 896 over 2^20 x 896, second"),
    "evaluation.json": (": times faster than HFLM", ": largest difference", "HFLM's over ours, all"),
}
"""Rows by the file that holds them; a part of a row's name is enough if no other row has it."""
TARGETS = {"lora": "<= 0.5", "full": "<= 0.25"}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", type=Path, help="folder of a finished experiment's results")
    parser.add_argument("--benchmarks", type=Path, default=Path("results/benchmarks"), help="folder of JSON files")
    parser.add_argument("--ours", default="tfidf_trust", help="a method of the experiment")
    parser.add_argument("--peers", nargs="+", default=["lora", "full"], help="the methods to compare it with")
    arguments = parser.parse_args()
    print("| | measured (quartiles) | target | |\n|---|---|---|---|")
    learned = learning(arguments.experiment, arguments.ours, arguments.peers)
    for result in chain(measured(arguments.benchmarks), learned):
        print(markdown(result), flush=True)


def measured(folder: Path) -> Iterator[dict]:
    """The chosen rows of the other benchmarks.

    Raises:
        SystemExit: A file is missing or damaged, or not one of its rows has the name.
    """
    for name, parts in MEASURED.items():
        path = folder / name
        if not path.is_file():
            sys.exit(f"there is no {path}; make performance makes it")
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        except (json.JSONDecodeError, KeyError):
            sys.exit(f"{path} is not what a benchmark writes; delete it, and make performance again")
        for part in parts:
            found = [result for result in rows if part in result["name"]]
            if len(found) != 1:
                sys.exit(f"{path} has {len(found)} rows named {part!r}, not one; delete it, and make performance again")
            yield found[0]


def learning(experiment: Path, ours: str, peers: list[str]) -> Iterator[dict]:
    """CPU seconds of our ``learn`` jobs over those of each peer, on the same streams.

    Raises:
        SystemExit: They have no stream in common whose jobs counted their time.
    """
    jobs = costs(experiment / "logs").items()
    spent = {job: counted["cpu_time"] for (rule, job), counted in jobs if rule == "learn" and "cpu_time" in counted}
    for peer in peers:
        seeds = sorted(
            job.removeprefix(f"{ours}.") for job in spent if job.startswith(f"{ours}.seed-") and _as(peer, job) in spent
        )
        if not seeds:
            sys.exit(f"{experiment} has no stream that both {ours} and {peer} have learned; run it first")
        both = [sum(spent[f"{method}.{seed}"] for seed in seeds) for method in (ours, peer)]
        same = ", ".join(seed.removeprefix("seed-") for seed in seeds)
        name = f"learning, {experiment.name}, seeds {same}: CPU time of {ours}, of {peer}'s"
        yield row(name, both[0] / both[1], TARGETS.get(peer, ""))


def _as(method: str, job: str) -> str:
    return f"{method}.{job.partition('.')[2]}"


def markdown(result: Mapping) -> str:
    """A result as a line of a table."""
    spread = f" ({result['low']:.3g} to {result['high']:.3g})" if "low" in result else ""
    verdict = {True: "holds", False: "**missed**", None: ""}[result["holds"]]
    target = (result["target"] or "").replace("<=", "≤").replace(">=", "≥")
    name = result["name"].replace(" x ", " × ")
    return f"| {name} | {result['value']:.3g}{spread} | {target} | {verdict} |"


if __name__ == "__main__":
    main()
