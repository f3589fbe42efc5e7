"""Settings of how far the selected slots move, see docs/trust_region.md."""

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
        "default": None,
        "description": "Share of Polyak's step (Loizou et al., 2021): with 1 a step is as long as the loss, were "
        "it linear, takes to reach zero, but at most learning_rate. Nothing is clipped then. null: learning_rate.",
    },
    "stop_loss": {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "default": None,
        "description": "No further step is taken on a batch whose loss is below this, in nats a token.",
    },
}
