"""The section ``background``."""

from typing import Literal

from smf.settings.section import Count, Natural, Section


class Background(Section):
    """How the slots that ordinary text reads are counted."""

    num_batches: Count = 200
    """Batches counted."""
    batch_size: Count = 32
    """Sequences per batch."""
    document: Literal["batch", "sequence"] = "batch"
    """Unit of document frequency (a batch in Lin et al.), unless a method's own `document` says otherwise; both kinds
    are counted."""
    seed: Natural = 1
    """Seed of the batches."""
