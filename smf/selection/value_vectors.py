"""Which value vectors of a base model's feed-forward networks train on a batch; see :mod:`smf.methods.sparse`.

Shapes: U unit, R selected unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from smf.settings.section import Count, Distinct, Natural, PositiveNumber, Section

if TYPE_CHECKING:
    from torch import Tensor


class ValueSelectionSettings(Section):
    """How value vectors are selected."""

    selector: Literal["gradient", "fisher", "random"] = "gradient"
    """Score that picks vectors: gradient is the norm of their gradient on the batch, fisher its square over their
    Fisher information on background text; random is chance."""
    top_t: Count = 64
    """Value vectors that train on a batch, over all blocks together."""
    blocks: Annotated[Distinct[Natural], Field(min_length=1)] | None = None
    """Blocks whose vectors may train, counted from 0; null: all."""
    fisher_sequences: Count = 256
    """Sequences of background text that selector fisher measures the information on, once."""
    fisher_damping: PositiveNumber = 1.0
    """Added by selector fisher to the information, whose mean over all vectors is 1."""

    @property
    def uses_fisher(self) -> bool:
        """Whether the selector needs the Fisher information."""
        return self.selector == "fisher"

    def chosen_of(self, num_layers: int) -> list[int]:
        """The blocks whose vectors may train, ascending."""
        return sorted(range(num_layers) if self.blocks is None else self.blocks)


def value_selection_misfit(settings: ValueSelectionSettings, num_layers: int | None, num_units: int | None) -> str:
    """A message about blocks that are not there, or more vectors than there are; empty if all fits.

    Args:
        settings: The settings.
        num_layers: Blocks of the model; None if unknown.
        num_units: Hidden units of a block's feed-forward network; None if unknown.
    """
    if num_layers is None:
        return ""
    blocks = settings.chosen_of(num_layers)
    if blocks[-1] >= num_layers:
        return f"blocks names block {blocks[-1]}, but the model has blocks 0 to {num_layers - 1}; choose other blocks"
    if num_units is not None and settings.top_t > len(blocks) * num_units:
        return (
            f"top_t is {settings.top_t}, but {len(blocks)} blocks with intermediate_size {num_units} have "
            f"{len(blocks) * num_units} value vectors; lower top_t"
        )
    return ""


def highest(scores: Mapping[int, Tensor], top_t: int) -> dict[int, Tensor]:
    """The units with the ``top_t`` highest scores of all blocks.

    Args:
        scores: The score of each unit (U), by block.
        top_t: How many to select.

    Returns:
        Units (R), ascending, by block; in some blocks there may be none.
    """
    import torch

    every = torch.cat(list(scores.values()))
    chosen = torch.zeros_like(every, dtype=torch.bool)
    chosen[every.topk(top_t).indices] = True
    parts = chosen.split([len(score_U) for score_U in scores.values()])
    return {block: part.nonzero().squeeze(1) for block, part in zip(scores, parts, strict=True)}
