"""How weights are trained on text: the section ``healing``, and ``base.pretraining``."""

from typing import Annotated, Literal

from pydantic import Field

from smf.settings.section import (
    Count,
    Natural,
    NonNegativeNumber,
    Number,
    PositiveNumber,
    Section,
)

LossOn = Literal["text", "answer"]


class Training(Section):
    """How a pretrained base model is trained."""

    num_steps: Count = 1000
    """Optimizer steps."""
    batch_size: Count = 32
    """Sequences per step."""
    learning_rate: PositiveNumber = 0.002
    """Peak rate of AdamW."""
    weight_decay: NonNegativeNumber = 0.0
    """AdamW's weight decay, on matrices only."""
    decay_share: Annotated[Number, Field(gt=0, le=1)] = 0.4
    """Share of the steps, at the end, over which the learning rate decays."""
    max_gradient_norm: PositiveNumber = 1.0
    """Gradients are clipped to this norm."""
    loss_on: LossOn = "text"
    """Which tokens are trained: text is every token, answer only what follows the prompt."""
    seed: Natural = 1
    """Seed of the new weights and of the order of the text."""
    micro_batch_size: Count | None = None
    """Sequences in one forward pass, where a batch does not fit into memory; null for all of them."""


class Healing(Training):
    """How the memory parameters are trained on ordinary text after the retrofit."""

    num_steps: Natural = 1000
    """Optimizer steps. 0, for memory.mode additive and memory.start values: the memory is installed and its queries
    calibrated, nothing trains."""
    objective: Literal["language_model", "distillation"] = "language_model"
    """language_model: learn the text. distillation, for memory.mode replace: first match the outputs of the replaced
    networks, then learn the text."""
    distillation_share: Annotated[Number, Field(gt=0, le=1)] = 0.5
    """Share of num_steps spent on distillation; read if objective is distillation."""
    max_loss_rise: Number | None = None
    """The run stops if the healed model's loss exceeds the base's by more than this, in nats per token; null for no
    limit. It is compared when healing ends: another limit heals nothing again, also a tighter one."""
    probe_share: Annotated[Number, Field(ge=0, lt=1)] = 0
    """Share of the texts held out for measuring loss and slot use; with 0 both are measured on training text."""
    probe_batches: Count = 20
    """Batches on which loss and slot use are measured."""
