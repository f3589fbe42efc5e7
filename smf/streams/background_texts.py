"""Ordinary text for methods that go on reading it while they learn: replay, anchors, Fisher information."""

from collections.abc import Sequence

from smf.seeding import python_generator
from smf.streams.batches import Batch, Encoded, collate


class BackgroundTexts:
    """Random sequences of background text without end, each once before any comes again.

    Args:
        encoded: The corpus.
        pad_token_id: Fills a batch's right side.
        seed: Of the order: the same seed draws the same sequences, however many are drawn at once.

    Attributes:
        num_drawn: How many were drawn so far.
    """

    def __init__(self, encoded: Sequence[Encoded], pad_token_id: int, seed: int):
        self._encoded = encoded
        self._pad_token_id = pad_token_id
        self._rng = python_generator(seed, "background texts")
        self._waiting: list[int] = []
        self.num_drawn = 0

    def draw(self, number: int) -> Batch:
        """The next ``number`` sequences, every token of which is a label; on the CPU."""
        return collate([self._encoded[index] for index in self._draw(number)], self._pad_token_id)

    def pass_over(self, number: int) -> None:
        """Go on as if so many sequences had been drawn."""
        while number > 0:
            number -= len(self._draw(min(number, len(self._encoded))))

    def _draw(self, number: int) -> list[int]:
        while len(self._waiting) < number:
            self._waiting += self._rng.sample(range(len(self._encoded)), len(self._encoded))
        drawn, self._waiting = self._waiting[:number], self._waiting[number:]
        self.num_drawn += number
        return drawn
