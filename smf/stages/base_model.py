"""The base model: pretrained here, or taken from a folder or the hub; in any case it must know the known questions."""

from collections.abc import Mapping
from pathlib import Path

from smf.artifacts import read_jsonl, write_json
from smf.models.checkpoint import load_model, load_tokenizer, save_checkpoint
from smf.models.hub import download_model
from smf.models.memory_model import decoder_blocks
from smf.streams.examples import read_corpus
from smf.streams.prepared import known_examples
from smf.training.loop import TrainingSettings
from smf.training.pretrain import Architecture, pretrain, require_recall


def make_base_model(
    settings: Mapping, corpus_path: str | Path, known_path: str | Path, *, device: str, folder: str | Path
) -> None:
    """Write the base model's folder and its ``report.json``.

    The checkpoint or the hub's commit is kept in the report.

    Args:
        settings: The config's ``base``.
        corpus_path: Pretraining text.
        known_path: Questions that the model must answer.
        device: Where to train.
        folder: Where the model goes.

    Raises:
        CheckpointError: The checkpoint cannot be downloaded or loaded, or its architecture is not supported.
        TrainingError: The loss is not finite, or the model answers fewer questions than ``min_recall``.
    """
    known = known_examples(read_jsonl(known_path, {"question": str, "answer": list}))
    if settings["source"] == "checkpoint":
        model = load_model(settings["checkpoint"], device)
        tokenizer = load_tokenizer(settings["checkpoint"])
        report: dict = {"checkpoint": settings["checkpoint"]}
    elif settings["source"] == "hub":
        source, commit = download_model(settings["name"], settings["revision"])
        model, tokenizer = load_model(source, device), load_tokenizer(source)
        report = {"name": settings["name"], "revision": settings["revision"], "commit": commit}
    else:
        architecture = Architecture(**settings["architecture"], max_length=settings["max_length"])
        model, tokenizer, report = pretrain(
            read_corpus(corpus_path),
            architecture,
            TrainingSettings(**settings["pretraining"]),
            device,
        )
    decoder_blocks(model)
    report["recall"] = require_recall(
        model, tokenizer, known, min_recall=settings["min_recall"], max_length=settings["max_length"]
    )
    write_json(Path(folder) / "report.json", report)
    save_checkpoint(model, tokenizer, folder)
