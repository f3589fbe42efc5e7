"""The plan's estimates of peak memory against measured peaks: full finetuning, LoRA and sparse memory finetuning.

    python benchmarks/plan.py --out results/benchmarks/plan.json

On a CPU (Linux) by the peak of a process of its own, with ``--device cuda`` by torch's. One thread, 3 GB, a minute;
``--qwen`` takes the shape of Qwen2.5-0.5B, 10 GB and five minutes. Writes a row for each: estimate over measurement.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.measuring import in_own_process, line, peak_memory, reset_peak_memory, row
from benchmarks.stream_cells import MEMORY, QUICK, QWEN, SETTINGS, fact, start
from smf.files.model_shape import BaseShape, MemoryShape
from smf.methods.registry import method_class
from smf.sizing import peak_memory as sizing
from smf.sizing.activations import BYTES, Texts

_STEPS = 3
_LAYERS = (1, 3, 5)


def measured(kind: str, shape: dict, texts: list[int], micro: int | None, device: str, dtype: str) -> int:
    """The peak of a few steps, in a process of its own."""
    torch.set_num_threads(1)
    before = reset_peak_memory() if device == "cpu" else 0
    method = start(kind, shape, _LAYERS, device, dtype)
    method.model.eval()
    method.micro_batch_size = micro
    rows, tokens, answer = texts
    for seed in range(_STEPS):
        method.step(fact(shape["vocab_size"], seed, wordings=rows, tokens=tokens, answer=answer).to(device))
    return peak_memory() - before if device == "cpu" else torch.cuda.max_memory_allocated()


def estimated(kind: str, shape: dict, texts: list[int], micro: int | None, device: str, dtype: str) -> dict:
    """The parts of the estimate for the same steps."""
    base = BaseShape.from_transformers({"model_type": "qwen2", **shape}, "the benchmark's shape")
    memory = MemoryShape.from_config({**MEMORY, "layers": _LAYERS, "value_dim": base.hidden_size}, base.hidden_size)
    rows, tokens, answer = texts
    batch = Texts(rows, tokens, answer + 3)  # texts end at up to four different places
    chosen = method_class(kind)
    footprint = chosen.footprint(
        chosen.settings_class.read(SETTINGS[kind]), base, memory, num_steps=_STEPS, tokens_per_step=batch.num_tokens
    )
    weight = BYTES[dtype]
    models = sizing.Models(base, memory, weight, weight, on_cpu=device == "cpu")
    parts = sizing.learning(models, chosen.starts_from, footprint, batch, micro)
    return {name: size for name, size in parts.items() if name != "CUDA"}  # which torch does not count


def main() -> None:
    """Compare all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--qwen", action="store_true", help="the shape of Qwen2.5-0.5B")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    arguments = parser.parse_args()
    shape = QWEN if arguments.qwen else {**QUICK, "num_hidden_layers": 6}
    batches = [([8, 32, 4], None)] if arguments.qwen else [([32, 64, 4], None), ([32, 64, 60], None), ([32, 64, 4], 8)]
    rows = []
    for kind in ("full", "lora", "smf"):
        for texts, micro in batches:
            setting = {"kind": kind, "shape": shape, "texts": texts, "micro": micro}
            setting |= {"device": arguments.device, "dtype": arguments.dtype}
            found = in_own_process("benchmarks.plan", function="measured", **setting)
            parts = estimated(**setting)
            name = f"{kind}, {texts[0]} × {texts[1]} tokens, {texts[2]} learned, micro-batches of {micro or texts[0]}"
            rows.append(row(name, sizing.total(parts) / found, measured_bytes=found, parts=parts, setting=setting))
            print(line(rows[-1]), f"measured {found / 1e9:.2f} GB", flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
