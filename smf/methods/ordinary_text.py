"""What methods share that go on reading ordinary text while they learn: how much of it a step reads, and in what parts.

It is drawn and counted on the CPU and moves to the model's device part by part, so that no step waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from smf.errors import ConfigError
from smf.methods.method import Method
from smf.settings.section import Number

if TYPE_CHECKING:
    from smf.streams.batches import Batch


ShareOfText = Annotated[Number, Field(gt=0, lt=1)]
"""Which share of a step's sequences is background text."""


def odds(share: float) -> float:
    """How much of something there is for each one of the rest, of which ``share`` says how much there is of all."""
    return share / (1 - share)


def number_beside(rows: int, share: float) -> int:
    """Sequences of background text beside ``rows`` of facts, so that they are ``share`` of all; at least one."""
    return max(1, round(rows * odds(share)))


class ReadsOrdinaryText(Method):
    """Draws sequences of background text, new ones each time."""

    needs_texts = True

    def drawn(self, number: int) -> Batch:
        """The next sequences, on the CPU.

        Raises:
            ConfigError: The method was made without text.
        """
        if self.texts is None:
            raise ConfigError(f"{type(self).__name__} learns with background text; none was given")
        return self.texts.draw(number)

    def state_dict(self):
        """Also how much was drawn."""
        import torch

        return {**super().state_dict(), "texts.drawn": torch.tensor(self.texts.num_drawn if self.texts else 0)}

    def load_state_dict(self, state, delta) -> None:
        """Go on behind what was drawn."""
        super().load_state_dict(state, delta)
        if self.texts is not None:
            self.texts.pass_over(int(state["texts.drawn"]))

    def parts(self, text: Batch, most: int) -> Iterator[tuple[Batch, float]]:
        """Drawn text in parts on the model's device, each with its share of the labels.

        Args:
            text: On the CPU.
            most: Sequences of the facts' own batch. A part holds no more, and at most ``micro_batch_size``: reading
                text takes no larger passes than learning facts does.
        """
        for part in text.split(min(self.micro_batch_size or most, most)):
            if part.num_labels:
                yield part.to(self.model.device), part.num_labels / text.num_labels
