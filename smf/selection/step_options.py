"""Settings of how far the selected slots move, see docs/trust_region.md.

**The length of a step** is decided here alone. A method without a ``learning_rate`` takes Polyak's step, which needs
none. A method that sets a ``learning_rate``, momentum or an optimizer other than SGD, but not ``polyak``, takes steps
of that rate, as the published recipes do. With both, the rate bounds that of Polyak's step.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from smf.settings.section import NonNegativeNumber, Number, PositiveNumber, Section


class TrustRegionSettings(Section):
    """How much of its step each slot takes."""

    damping: PositiveNumber | None = None
    """Trust region (docs/trust_region.md): a slot takes the share damping / (q + damping) of its step, q being how much
    it disturbs ordinary text, 1 on average. null: whole steps."""
    disturbance: Literal["squared_weights", "accesses"] = "squared_weights"
    """How q is measured: squared read weights or access counts of ordinary text."""
    past_weight: NonNegativeNumber = 0.0
    """Weight of each earlier batch of the stream in q, where ordinary text weighs 1."""


class RowStepSettings(Section):
    """How long the steps of selected rows are: of a memory's slots, or of a base model's value vectors."""

    polyak: PositiveNumber | None = 1.0
    """Share of Polyak's step (Loizou et al., 2021): with 1 a step is as long as the loss, were it linear, takes to
    reach zero, but at most learning_rate. Nothing is clipped then. Without a learning_rate steps on a batch are halved
    when its loss rose, until it falls. null, the default where learning_rate, momentum or an optimizer other than sgd
    is given: steps of learning_rate."""
    learning_rate: PositiveNumber | None = None
    """Highest step size, see stream.schedule; chosen by the sweep in results/tables/tuning.csv. With polyak the longest
    step; null: no bound, and a schedule scales Polyak's step itself."""
    stop_loss: PositiveNumber | None = None
    """No further step is taken on a batch whose loss is below this, in nats per token."""
    optimizer: Literal["sgd", "adamw", "adagrad"] = "sgd"
    """Optimizer of what is selected, with separate state for each slot or vector."""
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """For SGD."""
    weight_decay: NonNegativeNumber = 0.0
    """Decoupled; acts on what is selected only."""

    @model_validator(mode="before")
    @classmethod
    def _without_polyak(cls, settings: object) -> object:
        """Set ``polyak`` to null if it is not given and another setting determines the length of a step."""
        if not isinstance(settings, dict):
            return settings
        plain = _is_plain(settings.get("optimizer"), settings.get("momentum"))
        given = settings.get("learning_rate") is not None
        return {"polyak": None, **settings} if given or not plain else settings


class StepSettings(RowStepSettings, TrustRegionSettings):
    """How the selected slots move."""


def slot_step_disagreement(settings: StepSettings) -> str:
    """A message about settings of slots' steps that conflict, with the remedy; empty if none do."""
    if settings.damping is not None and settings.optimizer != "sgd":
        return f"damping shortens steps, but optimizer {settings.optimizer} normalises them again; use sgd"
    return step_disagreement(settings)


def step_disagreement(settings: RowStepSettings) -> str:
    """The same for steps without a trust region."""
    optimizer, rateless = settings.optimizer, settings.learning_rate is None
    plain = _is_plain(optimizer, settings.momentum)
    if settings.polyak is not None and not plain:
        return (
            "polyak is the length of a step along the gradient; use sgd without momentum, or polyak: null and a "
            "learning_rate"
        )
    if settings.polyak is None and rateless:
        if plain:
            return (
                "polyak is null and there is no learning_rate, so nothing says how long a step is; write a "
                "learning_rate, or leave polyak out: its steps need none"
            )
        momentum = " with momentum" if settings.momentum else ""
        return (
            f"the steps of optimizer {optimizer}{momentum} need a learning_rate; write one, or use sgd without "
            "momentum, whose steps need none"
        )
    if settings.weight_decay and rateless:
        return "weight_decay is a share of the learning_rate, and there is none; write one, or weight_decay: 0"
    return ""


def _is_plain(optimizer: object, momentum: object) -> bool:
    """Whether a step follows the gradient: SGD without momentum."""
    return optimizer in (None, "sgd") and not momentum
