"""Ordinary text: for background counts, and for methods that keep reading it (replay, anchors, Fisher information)."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from smf.errors import DataError
from smf.seeding import python_generator
from smf.streams.batches import Batch, Encoded, collate, encode
from smf.streams.examples import Example


def text_batches(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str | Example],
    *,
    batch_size: int = 4,
    max_length: int = 128,
    most_batches: int = 200,
    seed: int = 0,
) -> list[Batch]:
    """Draw batches of ordinary text without replacement, for calibration and background counts.

    Args:
        tokenizer: The model's tokenizer.
        texts: Whole texts; a few hundred short ones will do.
        batch_size: Sequences per batch.
        max_length: Longest sequence, in tokens; a longer text is split into several sequences.
        most_batches: Most batches to draw, however much text there is.
        seed: Seed of the draw.

    Returns:
        Batches of token ids, (``batch_size``, T), padded on the right; on the CPU.

    Raises:
        DataError: All texts are empty, or there are none.

    Example:
        >>> batches = text_batches(tokenizer, ["The sun rose late.", "Nobody came."], batch_size=2)
        >>> len(batches), len(batches[0].input_ids_BT)
        (1, 2)
    """
    rng, most = python_generator(seed, "retrofit"), most_batches * batch_size
    examples = [Example("", text) if isinstance(text, str) else text for text in texts]
    if not any(example.prompt + example.completion for example in examples):
        raise DataError(f"none of {len(examples):,} texts has any content; give a few hundred ordinary texts")
    examples = rng.sample(examples, min(len(examples), most))
    encoded = encode(tokenizer, examples, loss_on="text", max_length=max_length, long="split")
    drawn = rng.sample(encoded, min(len(encoded), most))
    parts = [drawn[start : start + batch_size] for start in range(0, len(drawn), batch_size)]
    return [collate(part, tokenizer.pad_token_id) for part in parts]


class BackgroundTexts:
    """Endless random sequences of background text; each comes once before any repeats.

    Args:
        encoded: The corpus.
        pad_token_id: Pads batches on the right.
        seed: Seed of the order: the same seed draws the same sequences, however many are drawn at once.

    Attributes:
        num_drawn: Sequences drawn so far.
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
        """Skip ``number`` sequences, as if they had been drawn."""
        while number > 0:
            number -= len(self._draw(min(number, len(self._encoded))))

    def _draw(self, number: int) -> list[int]:
        while len(self._waiting) < number:
            self._waiting += self._rng.sample(range(len(self._encoded)), len(self._encoded))
        drawn, self._waiting = self._waiting[:number], self._waiting[number:]
        self.num_drawn += number
        return drawn
