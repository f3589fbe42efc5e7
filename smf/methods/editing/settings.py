"""Settings that knowledge editors share."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from smf.methods.kind_settings import KindSettings, Sizes
from smf.settings.section import Distinct, Natural


class EditorSettings(KindSettings):
    """Which maps change. A kind says which share of the blocks these are by default."""

    default_blocks: ClassVar[tuple[float, float | int]]
    """The first block as a share of all, and the last: as a share too, or as a number of blocks in all."""
    blocks: Annotated[Distinct[Natural], Field(min_length=1)] | None = None
    """Blocks whose feed-forward networks are edited in their last map, counted from 0; null: those of the kind."""

    def chosen_of(self, num_layers: int) -> list[int]:
        """The blocks, ascending."""
        if self.blocks is not None:
            return sorted(self.blocks)
        first, last = self.default_blocks
        lowest = int(first * num_layers)
        stop = lowest + last if isinstance(last, int) else int(last * num_layers)
        return list(range(lowest, min(max(stop, lowest + 1), num_layers)))

    def misfit(self, sizes: Sizes) -> str:
        """A message about blocks that are not there."""
        if sizes.num_layers is None or (last := self.chosen_of(sizes.num_layers)[-1]) < sizes.num_layers:
            return ""
        return f"blocks names block {last}, but the model has blocks 0 to {sizes.num_layers - 1}; choose other blocks"
