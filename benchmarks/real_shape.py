"""Writes a model folder of the shape of Qwen2.5-0.5B with random weights.

What the whole pipeline costs on it can be measured without the real weights. Run from the repository's root:

    python benchmarks/real_shape.py --tokenizer FOLDER --out results/real_shape/start

The tokenizer folder holds Qwen2's `vocab.json` and `merges.txt`, or any tokenizer that transformers loads. Then

    snakemake --cores 1 results/real_shape/runs/smf_tfidf/seed-0/evaluate/position-3.json \
        --configfile presets/lin2025_facts.yaml benchmarks/real_shape.yaml

takes the folder through the pipeline, one healing step, 20 batches of counts, 3 facts and 20 items of each probe;
`results/real_shape/benchmarks/` then holds seconds and peak memory (MiB) of each job; docs/reproduction.md has ours.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from benchmarks.stream_cells import QWEN
from smf.models.checkpoint import save_checkpoint


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    arguments = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer, local_files_only=True)
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**QWEN, eos_token_id=tokenizer.eos_token_id))
    save_checkpoint(model, tokenizer, arguments.out)


if __name__ == "__main__":
    main()
