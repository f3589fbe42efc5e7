"""Retrofit and healing, and the background counts of the healed model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from smf.files.artifacts import sha256, write_json
from smf.files.resume import NO_RESUME, Resume
from smf.logs import progress
from smf.models.base_networks import feed_forward_networks
from smf.models.checkpoint import load_model, load_tokenizer, model_hash, save_checkpoint
from smf.models.device import require_device
from smf.models.recompute import recompute_activations
from smf.models.retrofit import retrofit
from smf.seeding import derive_seed
from smf.selection.background import count_background
from smf.settings.memory import MemorySettings
from smf.streams.batches import Encoded, batches, encode
from smf.streams.examples import Example, hold_out, read_corpus
from smf.training.heal import HealingSettings, heal, require_healed


def make_healed_model(
    memory: Mapping,
    healing: Mapping,
    base_folder: str | Path,
    healing_path: str | Path,
    *,
    max_length: int,
    gradient_checkpointing: bool,
    device: str,
    folder: str | Path,
    report_path: str | Path,
    max_loss_rise: float | None = None,
    resume: Resume = NO_RESUME,
) -> None:
    """Install memory layers in the base model, train them on ordinary text, and write the model and ``report.json``.

    Args:
        memory: The config's ``memory``.
        healing: The config's ``healing``, without ``max_loss_rise``.
        base_folder: The base model.
        healing_path: Ordinary text.
        max_length: Longest text, in tokens.
        gradient_checkpointing: Whether the backward pass recomputes activations.
        device: Where to train.
        folder: Where the healed model goes.
        report_path: Where a copy of the report goes, outside ``folder``, to be readable even if the model is refused.
        max_loss_rise: Largest allowed rise of the healed loss over the base's, in nats per token; None for no limit. A
            model that is refused keeps its resume state: with another limit nothing is trained again.
        resume: Saves the state of the training.

    Raises:
        TrainingError: The loss is not finite, or the healed model's loss exceeds the base's by more than
            ``max_loss_rise``.
    """
    require_device(device)
    settings = HealingSettings(**healing)
    tokenizer = load_tokenizer(base_folder)
    texts, held_out = read_corpus(healing_path), None
    if settings.probe_share:
        texts, held_out = hold_out(texts, settings.probe_share, settings.seed)

    def encoded(examples: Sequence[Example]) -> list[Encoded]:
        return encode(tokenizer, examples, loss_on=settings.loss_on, max_length=max_length, long="split")

    base = load_model(base_folder, device)
    if gradient_checkpointing:
        recompute_activations(base)
    networks = feed_forward_networks(base, memory["layers"])
    sizes = {key: value for key, value in memory.items() if key in MemorySettings.model_fields}
    model = retrofit(base, MemorySettings(**sizes), settings.seed)
    report = heal(
        model,
        networks,
        encoded(texts),
        settings,
        pad_token_id=tokenizer.pad_token_id,
        calibrate=memory["calibrate_queries"],
        held_out=None if held_out is None else encoded(held_out),
        resume=resume,
    )
    write_json(report_path, report)
    require_healed(report, max_loss_rise, report_path)
    write_json(Path(folder) / "report.json", report)
    save_checkpoint(model, tokenizer, folder)


def write_background_counts(
    settings: Mapping,
    healed_folder: str | Path,
    background_path: str | Path,
    *,
    max_length: int,
    device: str,
    path: str | Path,
    resume: Resume = NO_RESUME,
) -> None:
    """Count which slots background text reads and write the counts with their provenance.

    Args:
        settings: The config's ``background``.
        healed_folder: The healed model.
        background_path: Ordinary text.
        max_length: Longest text, in tokens.
        device: Where to compute.
        path: Where the counts go.
        resume: Saves the counts so far.
    """
    require_device(device)
    tokenizer = load_tokenizer(healed_folder)
    encoded = encode(tokenizer, read_corpus(background_path), loss_on="text", max_length=max_length, long="split")
    num_batches, batch_size = settings["num_batches"], settings["batch_size"]
    stream = batches(
        encoded,
        batch_size=batch_size,
        num_batches=num_batches,
        pad_token_id=tokenizer.pad_token_id,
        seed=derive_seed(settings["seed"], "background"),
        group_by_length=False,
    )
    stream = progress(stream, "background batches", total=num_batches)
    provenance = {
        "model_hash": model_hash(healed_folder),
        "corpus_sha256": sha256(background_path),
        "num_batches": num_batches,
        "batch_size": batch_size,
        "document": settings["document"],
        "seed": settings["seed"],
    }
    model = load_model(healed_folder, device)
    counts = count_background(model, stream, document=settings["document"], provenance=provenance, resume=resume)
    counts.save(path)
