"""A table larger than the machine's memory: a step on 2^24 slots of 896 numbers (60 GB) against one on 2^20.

Run from the repository's root, on Linux:

    python benchmarks/large_tables.py --out results/benchmarks/large_tables.json

One CPU thread, a minute, 1 GB. Both tables start at zero (:mod:`smf.memory.tables`). The times are those of a step on a
batch that was not seen before, the pages of whose rows the kernel has yet to map, and of a second step on it. Bounds
say what growth is possible at all: the products of queries with the sub-keys alone, and finding the highest of these.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks import layer_cells
from benchmarks.layers import OURS, STEPS, Sizes, StepInputs, whole_step
from benchmarks.measuring import in_own_process, line, page_table_memory, paired_times, peak_memory, ratio, row

SMALL, LARGE = Sizes(1024, 896, zero_values=True), Sizes(4096, 896, zero_values=True)


def main() -> None:
    """Run the cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--batches", type=int, default=8)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    rows = [
        row(f"peak memory of a process with {arguments.batches} steps on {LARGE}, GB", _peak(LARGE, arguments), "<= 4"),
        row(f"the same on {SMALL}, GB", _peak(SMALL, arguments)),
    ]
    times, parts, bounds = _times(arguments.batches)
    for name, target in (("first", ""), ("second", "<= 1.5")):
        pair = ratio(times[LARGE][name], times[SMALL][name])
        rows.append(row(f"step on {LARGE} over {SMALL}, {name} on its batch", pair.pop("value"), target, **pair))
    for name, seconds in bounds[LARGE].items():
        pair = ratio(seconds, bounds[SMALL][name])
        rows.append(row(f"{name} alone, {LARGE} over {SMALL}", pair.pop("value"), "", **pair))
    for each in rows:
        print(line(each), flush=True)
    print(f"CPU milliseconds of each part{'':<31}{SMALL!s:>14}{LARGE!s:>14}")
    for part in parts[SMALL]:
        print(f"    {part:<54}" + "".join(f"{1000 * parts[sizes][part]:>14.2f}" for sizes in (SMALL, LARGE)))
    found = {"rows": rows, "parts": {str(sizes): part for sizes, part in parts.items()}}
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def steps(num_keys: int, value_dim: int, batches: int) -> dict[str, int]:
    """Peak bytes of this process, the interpreter and its libraries included, over steps on new batches."""
    torch.set_num_threads(1)
    sizes = Sizes(num_keys, value_dim, zero_values=True)
    step, inputs = STEPS[OURS](sizes), StepInputs.draw(sizes, 0)
    for seed in range(batches):
        whole_step(step, _batch(sizes, inputs, seed))
    return {"peak_bytes": peak_memory(), "page_tables": page_table_memory()}


def _peak(sizes: Sizes, arguments: argparse.Namespace) -> float:
    found = in_own_process(
        "benchmarks.large_tables",
        "steps",
        num_keys=sizes.num_keys,
        value_dim=sizes.value_dim,
        batches=arguments.batches,
    )
    return sum(found.values()) / 1e9


def _times(batches: int) -> tuple[Mapping, Mapping, Mapping]:
    """CPU seconds of steps, taken in turns, of their parts, and of what no exact search does without."""
    made = {sizes: (STEPS[OURS](sizes), StepInputs.draw(sizes, 0)) for sizes in (SMALL, LARGE)}
    times: dict[Sizes, dict[str, list[float]]] = {sizes: {"first": [], "second": []} for sizes in made}
    for seed in range(batches + 1):
        for sizes, (step, inputs) in made.items():
            batch = _batch(sizes, inputs, seed)
            for name in ("first", "second"):
                started = time.process_time()
                whole_step(step, batch)
                if seed:  # the first batch warms up
                    times[sizes][name].append(time.process_time() - started)
    parts = {sizes: layer_cells.parts(*drawn, batches) for sizes, drawn in made.items()}
    scores = {sizes: _bounds(sizes) for sizes in made}
    bounds: dict[Sizes, dict[str, list[float]]] = {sizes: {} for sizes in made}
    for name in scores[SMALL]:
        pair = paired_times({str(sizes): scores[sizes][name] for sizes in made}, batches)
        for sizes in made:
            bounds[sizes][name] = pair[str(sizes)]
            parts[sizes][f"bound: {name}"] = statistics.median(pair[str(sizes)])
    return times, parts, bounds


def _bounds(sizes: Sizes) -> dict:
    """The least that an exact search by all sub-keys computes: their products, and one look at each."""
    queries = torch.randn(sizes.num_heads, 2, sizes.num_tokens, sizes.key_dim // 2)
    keys = torch.randn(sizes.num_heads, 2, sizes.num_keys, sizes.key_dim // 2)
    products = queries @ keys.transpose(-1, -2)
    return {
        "products with all sub-keys": lambda: torch.matmul(queries, keys.transpose(-1, -2), out=products),
        "highest product of each query": lambda: products.amax(-1),
    }


def _batch(sizes: Sizes, inputs: StepInputs, seed: int) -> StepInputs:
    generator = torch.Generator().manual_seed(seed)
    shape = (sizes.num_tokens, sizes.value_dim)
    hidden_TD, upstream_TD = (torch.randn(shape, generator=generator) for _ in range(2))
    return replace(inputs, hidden_TD=hidden_TD, upstream_TD=upstream_TD)


if __name__ == "__main__":
    main()
