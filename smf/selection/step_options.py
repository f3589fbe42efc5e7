"""Settings of how far the selected slots move, see docs/trust_region.md.

**What makes a step's length** is decided here alone. A method without a ``learning_rate`` takes Polyak's step, which
needs none. One that gives a ``learning_rate``, momentum or another optimizer than SGD, and says nothing of ``polyak``,
takes steps of that rate, as the published recipes do. With both, the rate bounds that of Polyak's step.
"""

from collections.abc import Mapping

STEP_OPTIONS = {
    "damping": {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "default": None,
        "description": "Trust region (docs/trust_region.md): a slot takes the share damping / (q + damping) of its "
        "step, q being how much it disturbs ordinary text, 1 on average. null: whole steps.",
    },
    "disturbance": {
        "enum": ["squared_weights", "accesses"],
        "default": "squared_weights",
        "description": "What q is made of: squared read weights or access counts of ordinary text.",
    },
    "past_weight": {
        "type": "number",
        "minimum": 0,
        "default": 0.0,
        "description": "What each earlier batch of the stream weighs in q, where ordinary text weighs 1.",
    },
    "polyak": {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "default": 1.0,
        "description": "Share of Polyak's step (Loizou et al., 2021): with 1 a step is as long as the loss, were "
        "it linear, takes to reach zero, but at most learning_rate. Nothing is clipped then. Without a learning_rate "
        "steps on a batch are halved when its loss rose, until it falls. null, the default where learning_rate, "
        "momentum or an optimizer other than sgd is given: steps of learning_rate.",
    },
    "learning_rate": {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "default": None,
        "description": "Highest step size, see stream.schedule; chosen by the sweep in results/tables/tuning.csv. With "
        "polyak the longest step; null: no bound, and a schedule scales Polyak's step itself.",
    },
    "stop_loss": {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "default": None,
        "description": "No further step is taken on a batch whose loss is below this, in nats a token.",
    },
}


def with_polyak(settings: Mapping) -> dict:
    """The settings with ``polyak`` null where something else makes the length of a step; what is given stays.

    Args:
        settings: As a user writes them, without defaults.
    """
    given = settings.get("learning_rate") is not None
    return {"polyak": None, **settings} if given or not _is_plain(settings) else dict(settings)


def step_disagreement(settings: Mapping) -> str:
    """Which settings of a step do not go together, and the remedy; empty if all do.

    Args:
        settings: With their defaults.
    """
    optimizer, rateless = settings["optimizer"], settings["learning_rate"] is None
    if settings["damping"] is not None and optimizer != "sgd":
        return f"damping shortens steps, which optimizer {optimizer} makes equal again; use sgd"
    if settings["polyak"] is not None and not _is_plain(settings):
        return (
            "polyak is the length of a step along the gradient; use sgd without momentum, or polyak: null and a "
            "learning_rate"
        )
    if settings["polyak"] is None and rateless:
        if _is_plain(settings):
            return (
                "polyak is null and there is no learning_rate, so nothing says how long a step is; write a "
                "learning_rate, or leave polyak out: its steps need none"
            )
        momentum = " with momentum" if settings["momentum"] else ""
        return (
            f"the steps of optimizer {optimizer}{momentum} need a learning_rate; write one, or use sgd without "
            "momentum, whose steps need none"
        )
    if settings["weight_decay"] and rateless:
        return "weight_decay is a share of the learning_rate, and there is none; write one, or weight_decay: 0"
    return ""


def _is_plain(settings: Mapping) -> bool:
    """Whether a step is along the gradient: SGD, without momentum."""
    return settings.get("optimizer") in (None, "sgd") and not settings.get("momentum")
