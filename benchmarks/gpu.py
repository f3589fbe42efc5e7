"""On a GPU: bandwidth of the read and of the row gradient, stream steps against LoRA and full, and scores.

Run from the repository's root, on a machine with CUDA:

    python benchmarks/gpu.py --out results/benchmarks/gpu.json

The kernels in bfloat16, 64 x 64 tokens, 4 heads, top_k 32, top_t 512. Bandwidth counts a row once for each lookup that
reads it; it can exceed that of the memory where the cache helps. Stream steps and scores are of models with the shapes
of Qwen2.5-0.5B and SmolLM2-135M and random weights, in float32 and in bfloat16 (values stay in float32).
``--device cpu --quick`` only shows that the script runs. ``make gpu`` also compares peaks of memory with the plan.
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks import stream_cells
from benchmarks.evaluation import random_choices
from benchmarks.layers import DENSE, OURS, STEPS, Sizes, StepInputs, whole_step
from benchmarks.measuring import line, row
from smf.evaluation.language_model import LanguageModel
from smf.memory.bags import uses_triton, weighted_sums
from smf.memory.row_sparse import row_gradient
from smf.streams.examples import Example
from smf.training.pretrain import train_tokenizer

SHAPES = {
    "Qwen2.5-0.5B": (stream_cells.QWEN, (6, 12, 18)),
    "SmolLM2-135M": (stream_cells.SMOLLM, (3,)),
}
QUICK_SHAPES = {"a small model": (stream_cells.QUICK, (3, 6, 9))}
DTYPES = ("float32", "bfloat16")


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small tables and models")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "benchmarks/gpu.py needs a CUDA device, and torch sees none; --device cpu --quick tries it out"
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    setting = {"device": name, "torch": torch.__version__, "triton": uses_triton(torch.empty(0, device=device))}
    rows = []
    for found in measurements(device, arguments.quick):
        rows += found
        for result in found:
            print(line(result), flush=True)
        # after each, so that a run that ends early leaves what it has
        arguments.out.write_text(json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n")


def measurements(device: torch.device, quick: bool) -> Iterator[list[dict]]:
    """All measurements, one after the other."""
    copy = copy_bandwidth(device, quick)
    yield [row("copy bandwidth, GB/s", copy / 1e9)]
    for num_keys in (64, 128) if quick else (256, 1024):
        for value_dim in (96,) if quick else (896, 1024):
            yield bandwidths(device, Sizes(num_keys, value_dim), copy, quick)
            yield steps(device, Sizes(num_keys, value_dim), quick)
    for name, (shape, layers) in (QUICK_SHAPES if quick else SHAPES).items():
        for dtype in DTYPES:
            yield streams(device, f"{name}, {dtype}", shape, layers, dtype, quick)
        yield scores(device, name, shape, quick)


def seconds(device: torch.device, call: Callable[[], object], repeats: int = 30) -> float:
    """Median over ``repeats``; on CUDA between events, so that the host's own time does not count."""
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        if device.type == "cuda":
            started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            started.record()
            call()
            ended.record()
            ended.synchronize()
            times.append(started.elapsed_time(ended) / 1e3)
        else:
            moment = time.perf_counter()
            call()
            times.append(time.perf_counter() - moment)
    return statistics.median(times)


def copy_bandwidth(device: torch.device, quick: bool) -> float:
    """Bytes per second that a large copy reads and writes."""
    source = torch.empty(2**24 if quick else 2**31, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(device, lambda: target.copy_(source))


def bandwidths(device: torch.device, sizes: Sizes, copy: float, quick: bool) -> list[dict]:
    """The read and the row gradient as shares of the copy bandwidth, and against ``F.embedding_bag``."""
    tokens, lookups = (64 if quick else 64 * 64), sizes.num_heads * sizes.top_k
    values_SV = torch.randn(sizes.num_slots, sizes.value_dim, device=device, dtype=torch.bfloat16)
    slots_TL = torch.randint(sizes.num_slots, (tokens, lookups), device=device)
    weights_TL = torch.rand(tokens, lookups, device=device, dtype=torch.bfloat16)
    grad_TV = torch.randn(tokens, sizes.value_dim, device=device, dtype=torch.bfloat16)
    # Those read most often: the most work that a selection can make.
    unique, counts = slots_TL.unique(return_counts=True)
    chosen_R = unique[counts.topk(min(sizes.top_t, len(unique))).indices].sort().values
    hits = int(torch.isin(slots_TL, chosen_R).sum())
    row_bytes = sizes.value_dim * 2

    def dense_gradient() -> Tensor:
        table = values_SV.detach().requires_grad_()
        out = F.embedding_bag(slots_TL, table, mode="sum", per_sample_weights=weights_TL)
        return torch.autograd.grad(out, table, grad_TV)[0]

    read = seconds(device, lambda: weighted_sums(values_SV, slots_TL, weights_TL))
    library = seconds(device, lambda: F.embedding_bag(slots_TL, values_SV, mode="sum", per_sample_weights=weights_TL))
    gradient = seconds(device, lambda: row_gradient(chosen_R, slots_TL, weights_TL, grad_TV))
    read_bytes = (tokens * lookups + tokens) * row_bytes
    gradient_bytes = slots_TL.nbytes + weights_TL.nbytes + (hits + len(chosen_R)) * row_bytes
    result = [
        row(f"read, {sizes}: share of the copy bandwidth", read_bytes / read / copy, ">= 0.7"),
        row(f"read, {sizes}: times faster than F.embedding_bag", library / read),
        row(f"row gradient, {sizes}: share of the copy bandwidth", gradient_bytes / gradient / copy, ">= 0.7"),
    ]
    dense = seconds(device, dense_gradient, repeats=5)
    return [
        *result,
        row(f"row gradient, {sizes}: times faster than embedding_bag with dense gradient", dense / gradient),
    ]


def steps(device: torch.device, sizes: Sizes, quick: bool) -> list[dict]:
    """A whole step on the slots against the dense gradient with mask and AdamW, in float32."""
    times = {}
    for name in (OURS, DENSE):
        with torch.device(device):
            step = STEPS[name](sizes)
        inputs = StepInputs.draw(sizes, 0).to(device)
        times[name] = seconds(device, lambda s=step, i=inputs: whole_step(s, i), repeats=3 if quick else 15)
        del step
    return [row(f"step, {sizes}: times faster than {DENSE}", times[DENSE] / times[OURS])]


def streams(
    device: torch.device, name: str, shape: dict, layers: tuple[int, ...], dtype: str, quick: bool
) -> list[dict]:
    """Stream steps and their peaks of memory, of those of LoRA and of full finetuning."""
    times, peaks = {}, {}
    for kind in ("smf", "lora", "full"):
        method = stream_cells.start(kind, shape, layers, device, dtype)
        batch = stream_cells.fact(shape["vocab_size"], 0).to(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        times[kind] = seconds(device, lambda m=method, b=batch: m.step(b), repeats=2 if quick else 20)
        peaks[kind] = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
        del method
    rows = [
        row(f"stream step, {name}: of LoRA's (r 16, all linear maps)", times["smf"] / times["lora"], "<= 0.8"),
        row(f"stream step, {name}: of full finetuning's (AdamW)", times["smf"] / times["full"], "<= 0.55"),
    ]
    if device.type == "cuda":
        rows.append(row(f"stream, {name}, peak memory: of LoRA's", peaks["smf"] / peaks["lora"], "<= 1"))
        rows.append(row(f"stream, {name}, peak memory: of full finetuning's", peaks["smf"] / peaks["full"]))
    return rows


def scores(device: torch.device, name: str, shape: dict, quick: bool) -> list[dict]:
    """Multiple choice at batch sizes 1, 8 and 64: items a second, and how far scores are from float32's at 1."""
    choices = random_choices(random.Random(0), shape["vocab_size"], 2 if quick else 64)
    tokenizer = train_tokenizer([Example("a text", " of no importance")], 300)
    rows, reference = [], None
    for dtype in DTYPES:
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(Qwen2Config(**shape)).eval().to(device, getattr(torch, dtype))
        for batch_size in (1, 8, 64):
            lm = LanguageModel(model, tokenizer, batch_size=batch_size, max_length=512)
            spent = seconds(device, lambda m=lm: m._loglikelihood_tokens(choices), repeats=1 if quick else 5)
            values = torch.tensor([value for value, _ in lm._loglikelihood_tokens(choices)])
            reference = values if reference is None else reference
            difference = float(((values - reference) / reference).abs().max())
            title = f"scores, {name}, {dtype}, batches of {batch_size}"
            rows.append(row(f"{title}: items a second", len(choices) / 4 / spent))
            rows.append(row(f"{title}: largest relative difference from float32 at 1", difference))
    return rows


if __name__ == "__main__":
    main()
