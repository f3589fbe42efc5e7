"""How much a memory holds: streams of up to 1,000 facts, tables of three sizes, in one to three layers.

    python benchmarks/scaling.py --cores 2

runs the experiment of config.yaml with benchmarks/scaling.yaml laid over it once for each size of memory, all from one
base model, and writes `results/scaling/tables/scaling.csv`, `results/scaling/figures/scaling.pdf` and `.png`. What is
there already is not made again. The methods are two that choose the length of their steps themselves, so that no rate
has to be found anew for each size.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from smf.analysis.scaling.figure import scaling_figure
from smf.analysis.scaling.table import scaling_table
from smf.figures.style import save_figure
from smf.files.artifacts import read_json, write_table
from smf.scores.metrics import held_out_metric
from smf.scores.table import scores_table

ROOT = Path(__file__).parents[1]
CELLS = {
    f"scaling_{keys}_{len(layers)}": (keys, layers) for keys in (64, 128, 256) for layers in ([2], [1, 2], [0, 1, 2])
}
METHODS = ("smf_trust", "tfidf_polyak")
OVERLAY = yaml.safe_load((ROOT / "benchmarks/scaling.yaml").read_text(encoding="utf-8"))
POSITIONS = (*OVERLAY["stream"]["snapshots"], OVERLAY["stream"]["num_facts"])


def main() -> None:
    """Run all cells, gather their scores, draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=1, help="jobs at a time")
    cores = parser.parse_args().cores
    snakemake(cores, ["results/scaling/base/model.safetensors"], {})
    evaluations = {}
    for name, (keys, layers) in CELLS.items():
        snakemake(cores, score_files(name), cell(name, keys, layers))
        evaluations[keys, len(layers)] = scores_table([read_json(path) for path in score_files(name)])
    learned, metric = "facts_question_f1", held_out_metric("nq_f1", {"nq": "questions"})
    table = scaling_table(evaluations, dict.fromkeys(METHODS, "healed"), learned, metric.name)
    write_table("results/scaling/tables/scaling.csv", table)
    labels = read_json("results/scaling/data/labels.json")
    figure = scaling_figure(table, labels, learned, metric)
    for suffix in ("pdf", "png"):
        save_figure(figure, f"results/scaling/figures/scaling.{suffix}")


def cell(name: str, keys: int, layers: Sequence[int]) -> dict:
    """What one size of memory changes of the config."""
    base = "results/scaling/base"
    # The tokenizer may have found fewer tokens than the config of the base allows.
    vocabulary = read_json(f"{base}/config.json")["vocab_size"]
    return {
        "results": f"results/{name}",
        "base": {"source": "checkpoint", "checkpoint": base, "architecture": {"vocab_size": vocabulary}},
        "memory": {"num_keys": keys, "layers": list(layers)},
        "methods": {method: {"frontier_only": False} for method in METHODS},
    }


def score_files(name: str) -> list[str]:
    """The scores of the healed model, which all methods start from, and of all snapshots of one cell."""
    seeds = OVERLAY["seeds"]
    starts = [f"results/{name}/healed/evaluate/seed-{seed}.json" for seed in seeds]
    runs = [f"results/{name}/runs/{method}/seed-{seed}/evaluate" for method in METHODS for seed in seeds]
    return starts + [f"{run}/position-{position}.json" for run in runs for position in POSITIONS]


def snakemake(cores: int, targets: Sequence[str], changes: dict) -> None:
    """Make targets with changes of the config."""
    folder = Path("results/scaling")
    folder.mkdir(parents=True, exist_ok=True)
    overlay = folder / "cell.yaml"
    overlay.write_text(json.dumps(changes), encoding="utf-8")
    configs = [ROOT / "config.yaml", ROOT / "benchmarks/scaling.yaml", *([overlay] if changes else [])]
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", cores, *targets]
    subprocess.run([*map(str, command), "--configfile", *map(str, configs)], check=True)


if __name__ == "__main__":
    main()
