"""Stream steps of whole models: sparse memory finetuning, LoRA and full finetuning on the same batch."""

import time

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks.measuring import peak_memory, reset_peak_memory
from smf.methods.registry import method_class
from smf.models import MemorySettings
from smf.models.retrofit import retrofit
from smf.selection.background import BackgroundCounts, LayerCounts
from smf.streams.batches import IGNORED, Batch

# The shape of Qwen2.5-0.5B, with random weights: time and memory do not depend on what the weights know.
QWEN = {
    "vocab_size": 151_936,
    "hidden_size": 896,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
    "tie_word_embeddings": True,
}
SMOLLM = {  # of SmolLM2-135M
    "vocab_size": 49_152,
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "tie_word_embeddings": True,
}
QUICK = {**QWEN, "vocab_size": 20_000, "hidden_size": 256, "num_hidden_layers": 12, "num_attention_heads": 4}
MEMORY = {"mode": "additive", "num_keys": 128, "num_heads": 4, "top_k": 32, "key_dim": 256}
SETTINGS = {
    "full": {"learning_rate": 1e-5},
    "lora": {"learning_rate": 1e-4, "rank": 16},
    "smf": {"learning_rate": 1.0, "top_t": 512, "selector": "tfidf", "optimizer": "adamw"},
}


def start(kind: str, shape: dict, layers: tuple[int, ...], device: str = "cpu", dtype: str = "float32"):
    """A method at the beginning of a stream, on a model with random weights."""
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**shape)).eval().to(getattr(torch, dtype))
    chosen = method_class(kind)
    background = None
    if chosen.starts_from == "healed":
        model = retrofit(model, MemorySettings(layers=layers, value_dim=shape["hidden_size"], **MEMORY), seed=0)
        counts = {}
        for block, layer in model.memory_layers().items():
            torch.nn.init.normal_(layer.output.weight, std=0.02)  # as if healed: not zero
            frequency_S = torch.randint(100, (layer.num_slots,))
            counts[block] = LayerCounts(frequency_S, frequency_S, 100, frequency_S.double())
        background = BackgroundCounts(counts, {})
    return chosen(model.to(device), SETTINGS[kind], background, 0)


def fact(vocab_size: int, seed: int, wordings: int = 8, tokens: int = 32, answer: int = 4) -> Batch:
    """A batch as a fact's: wordings of different lengths, the loss on their last tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids_BT = torch.randint(1, vocab_size, (wordings, tokens), generator=generator)
    mask_BT, labels_BT = torch.ones_like(ids_BT), torch.full_like(ids_BT, IGNORED)
    for row in range(wordings):
        length = tokens - row % 4
        mask_BT[row, length:] = 0
        labels_BT[row, length - answer : length] = ids_BT[row, length - answer : length]
    return Batch(ids_BT, mask_BT, labels_BT)


def main(kind: str, shape: dict, layers: list[int], facts: int, steps: int) -> dict:
    """CPU seconds per step, averaged over each fact's steps, and the peak of the process (measuring.in_own_process)."""
    torch.set_num_threads(1)
    before = reset_peak_memory()
    method = start(kind, shape, tuple(layers))
    seconds = []
    for seed in range(facts):
        batch = fact(shape["vocab_size"], seed)
        started = time.process_time()
        for _ in range(steps):
            method.step(batch)
        seconds.append((time.process_time() - started) / steps)
    result = {"seconds": seconds, "peak_bytes": peak_memory() - before}
    if kind == "smf":
        result |= _first_step_bytes(shape, layers) | _counting(method.model, shape)
        method.micro_batch_size = 4
        batch = fact(shape["vocab_size"], facts)
        started = time.process_time()
        for _ in range(steps):
            method.step(batch)
        result["micro_batched"] = (time.process_time() - started) / steps
    return result


def _first_step_bytes(shape: dict, layers: list[int]) -> dict:
    method = start("smf", {**shape, "vocab_size": 1000, "num_hidden_layers": max(layers) + 1}, tuple(layers))
    method.step(fact(1000, 0))
    tables = method.model.memory_layers()
    gradient = sum(layer.row_gradient.gradient_RV.nbytes for layer in tables.values())
    state = sum(optimizer.state_bytes for optimizer in method.optimizers.values())
    allowed = 2 * SETTINGS["smf"]["top_t"] * len(tables) * shape["hidden_size"] * (1 + 2) * 4
    return {"first_step_bytes": gradient + state, "allowed_bytes": allowed}


def _counting(model, shape: dict, repeats: int = 5) -> dict:
    """CPU seconds of the counting pass and of a plain pass over the same batch, in turns."""
    batch = fact(shape["vocab_size"], 0, wordings=4, tokens=64)
    inputs = {"input_ids": batch.input_ids_BT, "attention_mask": batch.attention_mask_BT}
    times = {"counting": [], "plain": []}
    with torch.no_grad():
        for _ in range(repeats):
            for name, call in (
                ("counting", lambda: model.read_memories(**inputs)),
                ("plain", lambda: model(**inputs, use_cache=False)),
            ):
                started = time.process_time()
                call()
                times[name].append(time.process_time() - started)
    return times
