"""Healing: train the new memory layers on ordinary text; everything else is frozen.

With no steps the layers are installed, calibrated and measured, and nothing trains.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Literal

from torch import nn

from smf.errors import TrainingError
from smf.files.resume import NO_RESUME, Resume
from smf.models.base_networks import acting_as_base
from smf.models.memory_model import MemoryForCausalLM
from smf.seeding import derive_seed
from smf.streams.batches import Batch, Encoded, batches
from smf.training.calibrate import calibrate_queries
from smf.training.distill import distil
from smf.training.loop import TrainingSettings, train
from smf.training.probe import probe_loss, probe_memory

Objective = Literal["language_model", "distillation"]


@dataclass(frozen=True)
class HealingSettings(TrainingSettings):
    """How to heal.

    Attributes:
        objective: ``language_model`` trains on the text; ``distillation`` first learns the outputs of the replaced
            networks (see :mod:`smf.training.distill`), then trains on the text. Both take ``num_steps`` steps in total.
        distillation_share: Share of the steps that distil; 1 for distillation alone.
        probe_share: Share of the texts held out to measure loss and slot use; with 0 these are measured on training
            text.
        probe_batches: Number of batches to measure on.
    """

    objective: Objective = "language_model"
    distillation_share: float = 0.5
    probe_share: float = 0.0
    probe_batches: int = 20

    @property
    def distillation_steps(self) -> int:
        """How many of the steps distil."""
        if self.objective == "language_model":
            return 0
        return min(self.num_steps, max(1, round(self.distillation_share * self.num_steps)))


def heal(
    model: MemoryForCausalLM,
    networks: Mapping[int, nn.Module],
    encoded: Sequence[Encoded],
    settings: HealingSettings,
    *,
    pad_token_id: int,
    calibrate: bool,
    held_out: Sequence[Encoded] | None = None,
    resume: Resume = NO_RESUME,
) -> dict:
    """Train the memory parameters in place.

    Args:
        model: A retrofitted model.
        networks: The feed-forward networks that its blocks had, see :mod:`smf.models.base_networks`.
        encoded: The training text.
        settings: Objective, steps, batch size, rates.
        pad_token_id: The id that pads batches.
        calibrate: Spread the reads over the table first (see :mod:`smf.training.calibrate`).
        held_out: Text to measure on; by default the training text.
        resume: Keeps the state of the training.

    Returns:
        A report: the loss of the base, and those before and after the training, in nats per token; the slot use
        (``slot_use``, rows of :mod:`smf.training.slot_use`); the variance that distillation explained; the settings.

    Raises:
        TrainingError: The loss is not finite.
    """
    text = _probe(encoded, settings, pad_token_id)
    probe = text if held_out is None else _probe(held_out, settings, pad_token_id)
    with acting_as_base(model, networks):
        report: dict = {"settings": asdict(settings), "loss_base": probe_loss(model, probe)}
    report["loss_before"], report["slot_use"] = probe_memory(model, probe, "installed")
    if calibrate:
        # A layer to be distilled must spread its reads over the base's hidden states, on which it will learn.
        with acting_as_base(model, networks) if settings.distillation_steps else nullcontext():
            calibrate_queries(model, text)
        report["slot_use"] += probe_memory(model, probe, "calibrated")[1]
    model.requires_grad_(False)
    parameters = [parameter for layer in model.memory_layers().values() for parameter in layer.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    stream = batches(
        encoded,
        batch_size=settings.batch_size,
        num_batches=settings.num_steps,
        pad_token_id=pad_token_id,
        seed=derive_seed(settings.seed, "healing"),
    )
    if number := settings.distillation_steps:
        part = replace(settings, num_steps=number)
        report["explained_variance"] = distil(model, networks, parameters, islice(stream, number), probe, part, resume)
    if number := settings.num_steps - settings.distillation_steps:
        train(model, parameters, stream, replace(settings, num_steps=number), "healing", resume=resume)
    report["loss_after"], healed = probe_memory(model, probe, "healed")
    report["slot_use"] += healed
    return report


def require_healed(report: Mapping, max_loss_rise: float | None, report_path: object) -> None:
    """Refuse a model that healing left too far from its base.

    Args:
        report: What :func:`heal` returned.
        max_loss_rise: Largest allowed rise of the healed loss over the base's, in nats per token; None for no limit.
        report_path: Where the report can be read.

    Raises:
        TrainingError: The loss rose by more than that.
    """
    rise = report["loss_after"] - report["loss_base"]
    if max_loss_rise is not None and not rise <= max_loss_rise:
        raise TrainingError(
            f"the healed model's loss is {report['loss_after']:.3f} nats per token, {rise:.3f} above the base's "
            f"{report['loss_base']:.3f}; healing.max_loss_rise allows {max_loss_rise}. Raise healing.num_steps, try "
            "another healing.learning_rate, use memory.mode additive or healing.objective distillation, or allow more, "
            f"which trains nothing again; the report is in {report_path}"
        )


def _probe(encoded: Sequence[Encoded], settings: HealingSettings, pad_token_id: int) -> list[Batch]:
    return list(
        batches(
            encoded,
            batch_size=settings.micro_batch_size or settings.batch_size,
            num_batches=settings.probe_batches,
            pad_token_id=pad_token_id,
            seed=derive_seed(settings.seed, "healing probe"),
        )
    )
