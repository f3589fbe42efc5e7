"""The memory core against published ways to train chosen slots.

Run from the repository's root:

    python benchmarks/memory.py --out results/benchmarks/memory.json

One CPU thread; twenty minutes and 12 GB, or two minutes on one table and a smaller model with ``--quick``. Writes a row
for each comparison (name, value, target, holds; for ratios the quartiles over pairs) and, beside it, a figure.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks import exactness, layer_cells
from benchmarks.figure import draw
from benchmarks.layers import DENSE, DENSE_SGD, FLAT, OURS, OURS_SGD, SPARSE, STEPS, Sizes, StepInputs, whole_step
from benchmarks.measuring import in_own_process, line, paired_times, ratio, row
from benchmarks.stream_cells import QUICK, QWEN
from smf.memory.product_keys import best_half_scores

PUBLISHED = (DENSE, DENSE_SGD, SPARSE, FLAT)
FLAT_MOST_SLOTS = 2**16  # its keys alone would take gigabytes, and a step minutes


class Rows:
    """The result: each row is printed as soon as it is known."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def add(self, name: str, value: float, target: str = "", **more: object) -> None:
        """Add a row; a target is written as ``<= 1.5`` or ``>= 20``."""
        self.rows.append(row(name, value, target, **more))
        print(line(self.rows[-1]), flush=True)

    def add_ratio(self, name: str, ratio_: dict[str, float], target: str = "") -> None:
        """Add a ratio with its quartiles."""
        self.add(name, ratio_["value"], target, low=ratio_["low"], high=ratio_["high"])


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file; the figure goes beside it")
    parser.add_argument("--quick", action="store_true", help="smaller tables and models, fewer repeats")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)  # before minutes of work
    torch.set_num_threads(1)
    repeats = 5 if arguments.quick else 11
    rows = Rows()
    changed_slots(rows, arguments.quick)
    cells = layer_times(rows, arguments.quick, repeats)
    profile = growth(rows, arguments.quick, repeats)
    streams = stream_steps(rows, arguments.quick)
    setting = {"torch": torch.__version__, "cpu": _cpu(), "threads": 1, "quick": arguments.quick}
    result = {"setting": setting, "rows": rows.rows, "cells": cells, "profile": profile, "streams": streams}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    draw(result, arguments.out.with_suffix(""))
    print(f"written: {arguments.out} and {arguments.out.with_suffix('.png')}")


def changed_slots(rows: Rows, quick: bool) -> None:
    """Slots that a step changed although it had not selected them."""
    sizes = Sizes(num_keys=32 if quick else 64, value_dim=64, num_tokens=64, top_t=64)
    for optimizer in exactness.OPTIMIZERS:
        changed = exactness.changed_outside(optimizer, sizes, steps=20)
        rows.add(f"slots changed outside, smf, {optimizer}: decay, accumulation, resume", changed, "<= 0")
    for name in PUBLISHED:
        changed = layer_cells.changed_outside(name, sizes, steps=20) / 20
        rows.add(f"slots changed outside a step, {name} (of {sizes.num_slots}, {sizes.top_t} selected)", changed)


def layer_times(rows: Rows, quick: bool, repeats: int) -> list[dict]:
    """A whole step of each implementation on tables of several sizes: time in turns, peak memory apart."""
    shapes = [(128, 256)] if quick else [(128, 256), (256, 256), (512, 256), (1024, 256), (512, 896)]
    targets = {(512, 896): ">= 20", (1024, 256): ">= 25"}
    cells = []
    for num_keys, value_dim in shapes:
        sizes, times, peaks = Sizes(num_keys, value_dim), {}, {}
        inputs = StepInputs.draw(sizes, 0)
        for name in (OURS_SGD, *PUBLISHED):
            if name == FLAT and sizes.num_slots > FLAT_MOST_SLOTS:
                continue
            # Two at a time: the tables, gradients and moments of all would not fit into memory together.
            steps = {key: STEPS[key](sizes) for key in (OURS, name)}
            pair = paired_times({key: _step(step, inputs) for key, step in steps.items()}, repeats)
            del steps
            times.setdefault(OURS, pair[OURS])
            times[name] = pair[name]
            target = targets.get((num_keys, value_dim), "") if name == DENSE else ""
            if name in PUBLISHED:
                rows.add_ratio(f"step, {sizes}: times faster than {name}", ratio(pair[name], pair[OURS]), target)
        for name in times:
            peaks[name] = in_own_process(
                "benchmarks.layer_cells", implementation=name, steps=3, num_keys=num_keys, value_dim=value_dim
            )["peak_bytes"]
        target = "<= 0.25" if (num_keys, value_dim) == (512, 896) else ""
        rows.add(f"peak memory, {sizes}: of that of {DENSE}", peaks[OURS] / peaks[DENSE], target)
        cells += [
            {
                "implementation": name,
                "num_slots": sizes.num_slots,
                "value_dim": value_dim,
                "seconds": times[name],
                "peak_bytes": peaks[name],
            }
            for name in times
        ]
    return cells


def growth(rows: Rows, quick: bool, repeats: int) -> dict[str, dict[str, float]]:
    """What our step costs on a large table against a small one, and against what no step can do without.

    Returns:
        Seconds of the parts of a step, by table.
    """
    small, large = (Sizes(64, 256), Sizes(256, 256)) if quick else (Sizes(128, 256), Sizes(1024, 256))
    steps, inputs = {}, {}
    for sizes in (small, large):
        steps[sizes], inputs[sizes] = STEPS[OURS](sizes), StepInputs.draw(sizes, 0)
    by_phase: dict[Sizes, list[dict[str, float]]] = {small: [], large: []}
    for _ in range(2 * repeats):
        for sizes in (small, large):
            by_phase[sizes].append(layer_cells.phases(steps[sizes], inputs[sizes]))
    for phase, target in (("forward", ""), ("select", ""), ("backward and update", "<= 1.1")):
        seconds = {sizes: [parts[phase] for parts in by_phase[sizes][2:]] for sizes in (small, large)}
        rows.add_ratio(f"{phase}, {small} to {large}: growth", ratio(seconds[large], seconds[small]), target)
    seconds = {sizes: [sum(parts.values()) for parts in by_phase[sizes][2:]] for sizes in (small, large)}
    rows.add_ratio(f"whole step, {small} to {large}: growth", ratio(seconds[large], seconds[small]), "<= 1.5")
    for sizes in (small, large):
        step, drawn = steps[sizes], inputs[sizes]
        unavoidable = layer_cells.unavoidable(step, drawn)
        times = paired_times({"whole": _step(step, drawn), "unavoidable": unavoidable}, repeats)
        name = f"whole step, {sizes}: over half-key products, half top-k and read alone"
        rows.add_ratio(name, ratio(times["whole"], times["unavoidable"]), "<= 1.5")
        scores_H2TN = torch.randn(4, 2, sizes.num_tokens, sizes.num_keys)
        halves = {
            "ours": lambda s=scores_H2TN, k=sizes.top_k: best_half_scores(s, k),
            "topk": lambda s=scores_H2TN, k=sizes.top_k: s.topk(k, dim=-1),
        }
        times = paired_times(halves, repeats)
        rows.add_ratio(f"best of each half, {sizes}: times faster than torch.topk", ratio(times["topk"], times["ours"]))
    profile = {str(sizes): layer_cells.parts(steps[sizes], inputs[sizes], repeats) for sizes in (small, large)}
    print(f"{'where the time of a step goes, CPU milliseconds':<58}" + "".join(f"{name:>14}" for name in profile))
    for part in profile[str(small)]:
        print(f"    {part:<54}" + "".join(f"{1000 * parts[part]:>14.2f}" for parts in profile.values()))
    return profile


def stream_steps(rows: Rows, quick: bool) -> dict[str, dict]:
    """Steps of a stream at the shape of Qwen2.5-0.5B, each method in a process of its own, in turns."""
    shape, layers = (QUICK, [3, 6, 9]) if quick else (QWEN, [6, 12, 18])
    facts, steps, rounds = (2, 3, 1) if quick else (2, 4, 2)
    found: dict[str, list[dict]] = {"smf": [], "lora": [], "full": []}
    for _ in range(rounds):
        for kind, results in found.items():
            results.append(
                in_own_process(
                    "benchmarks.stream_cells", kind=kind, shape=shape, layers=layers, facts=facts, steps=steps
                )
            )
    seconds = {kind: [time for result in results for time in result["seconds"]] for kind, results in found.items()}
    peaks = {kind: max(result["peak_bytes"] for result in results) for kind, results in found.items()}
    rows.add_ratio("stream step: of LoRA's (r 16, all linear maps)", ratio(seconds["smf"], seconds["lora"]), "<= 0.8")
    rows.add_ratio("stream step: of full finetuning's (AdamW)", ratio(seconds["smf"], seconds["full"]), "<= 0.55")
    rows.add("stream, peak memory: of LoRA's", peaks["smf"] / peaks["lora"], "<= 1")
    rows.add("stream, peak memory: of full finetuning's", peaks["smf"] / peaks["full"])
    times = {name: [time for result in found["smf"] for time in result[name]] for name in ("counting", "plain")}
    rows.add_ratio("counting pass: of a plain forward pass", ratio(times["counting"], times["plain"]), "<= 0.8")
    split = [result["micro_batched"] for result in found["smf"]]
    whole = [result["seconds"][-1] for result in found["smf"]]
    rows.add_ratio("stream step in two micro-batches, slots selected once: of one in one piece", ratio(split, whole))
    first = found["smf"][0]
    name = "gradient and AdamW state after the first step: of 2 top_t layers value_dim (1 + states) 4 bytes"
    rows.add(name, first["first_step_bytes"] / first["allowed_bytes"], "<= 1")
    return {kind: {"seconds": seconds[kind], "peak_bytes": peaks[kind]} for kind in found}


def _step(step, inputs: StepInputs) -> Callable[[], object]:
    return lambda: whole_step(step, inputs)


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
