"""Give a language model a memory that can be taught at once: `smf retrofit`.

The memory starts with zero values, so the model's output equals its base's bit for bit, and it needs no healing.
Ordinary text calibrates the queries, so that they spread over the table, and gives the background counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from smf.errors import CheckpointError, refuse
from smf.files.artifacts import sha256, write_json
from smf.files.atomic import new_folder
from smf.files.model_folder import COUNTS_FILE
from smf.logs import progress
from smf.models.checkpoint import load_model, load_tokenizer, model_hash, save_checkpoint
from smf.models.config import MODEL_TYPE
from smf.models.device import require_device
from smf.models.hub import find_model
from smf.models.retrofit import memory_for, retrofit
from smf.models.vocabulary import read_config
from smf.selection.background import count_background
from smf.settings.memory import MemorySettings
from smf.streams.asking import PromptFormat
from smf.streams.background_texts import text_batches
from smf.teaching.given_files import OWN_TEXT, read_user_texts
from smf.teaching.keeping import reserved
from smf.teaching.model_asking import num_questions, right_by_format, write_format
from smf.training.calibrate import calibrate_queries

_MAX_LENGTH = 128
_BATCH_SIZE = 4
_CALIBRATION_BATCHES = 25
_SEED = 0


@dataclass(frozen=True)
class Retrofit:
    """Settings of a retrofit.

    Attributes:
        text: Ordinary text.
        layers: Blocks that get a memory, counted from 0; None for one low block.
        num_keys: Sub-keys per half; a layer has ``num_keys ** 2`` slots.
        dtype: Type of the base's weights in the new folder. The memory's values are always float32. Many CPUs are
            some thirty times slower in bfloat16, so a model to be taught on a CPU should be float32, however it was
            saved.
        device: Where to compute.
    """

    text: Path = OWN_TEXT
    layers: Sequence[int] | None = None
    num_keys: int = 256
    dtype: str = "float32"
    device: str = "cpu"


@dataclass(frozen=True)
class Retrofitted:
    """Report of a retrofit.

    Attributes:
        memory: The memory layers.
        num_texts: Texts in the file.
        num_sequences: Sequences of these texts that were counted, each once.
        num_batches: Batches of these sequences.
        slots_read: Number of slots of each layer that they read, by block.
        right: Number of general-knowledge questions that the base answers, by prompt format.
        prompt_format: The format that the base answers best in.
    """

    memory: MemorySettings
    num_texts: int
    num_sequences: int
    num_batches: int
    slots_read: dict[int, int]
    right: dict[PromptFormat, int]
    prompt_format: PromptFormat


def retrofit_folder(name: str | Path, out: str | Path, chosen: Retrofit) -> Retrofitted:
    """Write a new model folder, with memory layers and their background counts.

    Args:
        name: The model's folder, or its name on the hub.
        out: The new folder; it appears only when it is complete.
        chosen: Text, place and size.

    Raises:
        CheckpointError: The model cannot be found, is damaged, already has a memory, or has no such block.
        ConfigError: A number is out of range, or the device is not available.
        DataError: ``out`` exists, or the text cannot be read.
    """
    if chosen.num_keys < 2:
        refuse("num_keys", chosen.num_keys, "2 at least")
    require_device(chosen.device)
    with reserved(out):
        texts = read_user_texts(chosen.text)
        source, commit = find_model(str(name))
        if read_config(source).model_type == MODEL_TYPE:
            raise CheckpointError(
                f"{name} already has memory layers; teach it, or retrofit the base that it is made of"
            )
        tokenizer = load_tokenizer(source)
        stream = text_batches(tokenizer, texts, batch_size=_BATCH_SIZE, max_length=_MAX_LENGTH, seed=_SEED)
        base = load_model(source, chosen.device, getattr(torch, chosen.dtype))
        right = right_by_format(base, tokenizer)
        memory = memory_for(base, layers=chosen.layers, num_keys=chosen.num_keys)
        model = retrofit(base, memory, _SEED).eval()
        calibrate_queries(model, stream[:_CALIBRATION_BATCHES])
        counted = {
            "corpus_sha256": sha256(chosen.text),
            "num_batches": len(stream),
            "batch_size": _BATCH_SIZE,
            "document": "batch",
            "seed": _SEED,
        }
        counts = count_background(model, progress(stream, "counting batches"), document="batch", provenance=counted)
        with new_folder(out) as temporary:
            save_checkpoint(model, tokenizer, temporary)
            best = write_format(temporary, right)
            replace(counts, provenance={**counted, "model_hash": model_hash(temporary)}).save(temporary / COUNTS_FILE)
            base_is = {"base": str(name), "commit": commit}
            write_json(temporary / "report.json", {**base_is, "memory": memory.plain(), "background": counted})
    read = {block: int(layer.accesses_S.count_nonzero()) for block, layer in counts.layers.items()}
    num_sequences = sum(len(batch.input_ids_BT) for batch in stream)
    return Retrofitted(memory, len(texts), num_sequences, len(stream), read, right, best)


def retrofitted_text(done: Retrofitted, out: object) -> str:
    """The report as text for the terminal."""
    num_slots = done.memory.num_keys**2
    lines = [
        f"block {block} got a memory of {num_slots:,} slots; ordinary text reads {number:,} of them"
        for block, number in done.slots_read.items()
    ]
    lines.append(
        f"counted on {done.num_batches:,} batches: {done.num_sequences:,} sequences of at most {_MAX_LENGTH} tokens, "
        f"from {done.num_texts:,} texts"
    )
    found = ", ".join(f"{number} asked {each}" for each, number in done.right.items())
    lines.append(
        f"of {num_questions()} general-knowledge questions it answers {found}; `smf ask` and `smf teach` ask in "
        f"{done.prompt_format}"
    )
    lines.append(f"{out} answers as its base does; teach it: smf teach {out} FACTS -o PATCH")
    return "\n".join(lines)
