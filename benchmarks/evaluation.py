"""Multiple choice by our bridge against lm-eval's own HFLM on the same model: the same scores, in less time.

Run from the repository's root:

    python benchmarks/evaluation.py --out results/benchmarks/evaluation.json

Items have the lengths of HellaSwag: contexts of 20 to 120 tokens, four endings of 10 to 40. One CPU thread, two models
with random weights: a small one, and the shape of Qwen2.5-0.5B. Half a minute and four minutes.
"""

import argparse
import json
import os
import random
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from lm_eval.models.huggingface import HFLM
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks.measuring import line, paired_times, ratio, row
from benchmarks.stream_cells import QWEN
from smf.evaluation.harness import EvaluationSettings, _Model
from smf.streams.examples import Example
from smf.training.pretrain import train_tokenizer

SMALL = {
    "vocab_size": 512,
    "hidden_size": 64,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "intermediate_size": 172,
}


def main() -> None:
    """Compare both on both models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--quick", action="store_true", help="the small model alone")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    rows = []
    models = {"a small model (64 wide, 5 blocks)": (SMALL, 100, 5), "the shape of Qwen2.5-0.5B": (QWEN, 4, 3)}
    for name, (shape, num_items, repeats) in list(models.items())[: 1 if arguments.quick else 2]:
        rows += compare(name, shape, num_items, repeats)
    for result in rows:
        print(line(result))
    arguments.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


def compare(name: str, shape: dict, num_items: int, repeats: int) -> list[dict]:
    """Time and largest difference of the log-likelihoods."""
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**shape)).eval()
    tokenizer = train_tokenizer([Example("a text", " of no importance")], 300)
    lm = _Model(model, tokenizer, EvaluationSettings(batch_size=16, max_length=256))
    rng = random.Random(0)

    def tokens(fewest: int, most: int) -> list[int]:
        return [rng.randrange(shape["vocab_size"]) for _ in range(rng.randint(fewest, most))]

    requests = []
    for _ in range(num_items):
        context = tokens(20, 120)
        requests += [(("", ""), context, tokens(10, 40)) for _ in range(4)]
    found = {}

    def run(key: str, method) -> None:
        found[key] = method(lm, requests, disable_tqdm=True)

    calls = {
        "ours": lambda: run("ours", _Model._loglikelihood_tokens),
        "hflm": lambda: run("hflm", HFLM._loglikelihood_tokens),
    }
    times = paired_times(calls, repeats, warm_up=1)
    faster = ratio(times["hflm"], times["ours"])
    difference = max(abs(a - b) / abs(b) for (a, _), (b, _) in zip(found["ours"], found["hflm"], strict=True))
    return [
        row(f"{name}: times faster than HFLM", target=">= 2", **faster),
        row(f"{name}: largest relative difference of a log-likelihood", difference, "<= 1e-6"),
    ]


if __name__ == "__main__":
    main()
