"""Base of the methods that also read ordinary text while they learn: how much a step reads, and in what parts.

Text is drawn and counted on the CPU and moves to the model's device part by part, so no step waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from smf.errors import ConfigError
from smf.methods.loss import language_model_loss
from smf.methods.method import Method
from smf.settings.section import Number

if TYPE_CHECKING:
    from torch import Tensor

    from smf.streams.batches import Batch


ShareOfText = Annotated[Number, Field(gt=0, lt=1)]
"""Share of background text among a step's sequences."""


def odds(share: float) -> float:
    """Convert a share of the whole to odds: the ratio of that share to the rest."""
    return share / (1 - share)


def number_beside(rows: int, share: float) -> int:
    """Number of background sequences that, added to ``rows`` of facts, make up ``share`` of the total; at least one."""
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

    def state_dict(self) -> dict[str, Tensor]:
        """Adds the number of sequences drawn so far."""
        import torch

        return {**super().state_dict(), "texts.drawn": torch.tensor(self.texts.num_drawn if self.texts else 0)}

    def load_state_dict(self, state: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> None:
        """Continue after the sequences already drawn."""
        super().load_state_dict(state, delta)
        if self.texts is not None:
            self.texts.pass_over(int(state["texts.drawn"]))

    def sequence_gradients(self, number: int) -> Iterator[int]:
        """Draw sequences one by one; leave the gradient of each one's negative log-likelihood on the parameters.

        Args:
            number: Number of sequences.

        Yields:
            The tokens of each sequence, once its gradient is there; take it away before the next.
        """
        for _ in range(number):
            text = self.drawn(1)
            for part, _ in self.parts(text, 1):
                (language_model_loss(self.model, part) * part.num_labels).backward()
            yield text.num_tokens

    def parts(self, text: Batch, most: int) -> Iterator[tuple[Batch, float]]:
        """Split drawn text into parts on the model's device, each with its share of the labels.

        Args:
            text: Drawn text, on the CPU.
            most: Sequences in the batch of facts. A part holds no more than that, nor than ``micro_batch_size``, so
                passes over text are no larger than those over facts.
        """
        for part in text.split(min(self.micro_batch_size or most, most)):
            if part.num_labels:
                yield part.to(self.model.device), part.num_labels / text.num_labels
