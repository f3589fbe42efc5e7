"""The base model: pretrained here, or loaded from a folder or the hub; it must answer the known questions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from smf.data.prepared import known_examples
from smf.files.artifacts import read_jsonl, write_json
from smf.files.model_shape import BaseShape
from smf.files.resume import NO_RESUME, Resume
from smf.models.architecture import require_architecture
from smf.models.checkpoint import cast_weights, load_model, load_tokenizer, save_checkpoint
from smf.models.device import require_device
from smf.models.hub import download_model
from smf.streams.asking import Asking, PromptFormat
from smf.streams.examples import read_corpus
from smf.training.end_of_text import end_of_text_loss, end_texts_with
from smf.training.loop import TrainingSettings
from smf.training.pretrain import pretrain, require_recall


def make_base_model(
    settings: Mapping,
    corpus_path: str | Path,
    known_path: str | Path | None,
    *,
    memory_layers: Sequence[int],
    device: str,
    folder: str | Path,
    prompt_format: PromptFormat = "plain",
    resume: Resume = NO_RESUME,
) -> None:
    """Write the base model's folder and its ``report.json``.

    The report records the checkpoint or the hub's commit.

    Args:
        settings: The config's ``base``.
        corpus_path: Pretraining text.
        known_path: Questions that the model must answer; None if there are none.
        memory_layers: Blocks that the model must have; empty if the config was enough to check them.
        device: Where to train.
        folder: Where the model goes.
        prompt_format: How the model will be asked; pretraining here teaches plain questions only.
        resume: Saves the state of the pretraining.

    Raises:
        CheckpointError: The checkpoint cannot be downloaded or loaded, its architecture is not supported, or it is not
            the one that the config expects.
        ConfigError: The device is not there, the vocabulary lacks ``end_of_text``, or there is no chat template to ask
            in.
        TrainingError: The loss is not finite, or the model answers fewer questions than ``min_recall``.
    """
    known = known_examples(read_jsonl(known_path, {"question": str, "answer": list})) if known_path else None
    require_device(device)
    dtype = getattr(torch, settings["dtype"])
    if settings["source"] == "checkpoint":
        where = settings["checkpoint"]
        model, tokenizer = load_model(where, device, dtype), load_tokenizer(where)
        require_architecture(where, model, settings["architecture"], memory_layers)
        report: dict = {"checkpoint": where}
    elif settings["source"] == "hub":
        name, revision = settings["name"], settings["revision"]
        source, commit = download_model(name, revision)
        model, tokenizer = load_model(source, device, dtype), load_tokenizer(source)
        require_architecture(name, model, settings["architecture"], memory_layers)
        report = {"name": name, "revision": revision, "commit": commit}
    else:
        model, tokenizer, report = pretrain(
            read_corpus(corpus_path),
            BaseShape.from_base(settings),
            TrainingSettings(**settings["pretraining"]),
            max_length=settings["max_length"],
            device=device,
            resume=resume,
        )
        cast_weights(model, dtype)
    Asking(prompt_format, tokenizer, model=settings["checkpoint"] or settings["name"])
    if settings["end_of_text"] is not None:
        end_texts_with(settings["end_of_text"], model, tokenizer)
    if settings["source"] != "pretrain":
        corpus = read_corpus(corpus_path)
        report["end_of_text_loss"] = end_of_text_loss(model, tokenizer, corpus, settings["max_length"])
    if known is not None:
        report["recall"] = require_recall(
            model, tokenizer, known, min_recall=settings["min_recall"], max_length=settings["max_length"]
        )
    write_json(Path(folder) / "report.json", report)
    save_checkpoint(model, tokenizer, folder)
