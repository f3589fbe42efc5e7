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
    """

    def __init__(self, encoded: Sequence[Encoded], pad_token_id: int, seed: int):
        self._encoded = encoded
        self._pad_token_id = pad_token_id
        self._rng = python_generator(seed, "background texts")
        self._waiting: list[int] = []

    def draw(self, number: int) -> Batch:
        """The next ``number`` sequences, every token of which is a label; on the CPU."""
        while len(self._waiting) < number:
            self._waiting += self._rng.sample(range(len(self._encoded)), len(self._encoded))
        drawn, self._waiting = self._waiting[:number], self._waiting[number:]
        return collate([self._encoded[index] for index in drawn], self._pad_token_id)
