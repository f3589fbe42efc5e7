"""The sequences of earlier facts that surprised the model most, for replay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from smf.streams.batches import Batch

UNKNOWN = -1
"""Place of a fact of which only the text is known."""


@dataclass(frozen=True)
class Surprise:
    """A sequence, and how much it surprised the model.

    Attributes:
        ids: Token ids.
        labels: Token ids to learn; ``IGNORED`` elsewhere.
        nats: Its mean negative log-likelihood, in nats per label.
        place: Place in the stream of the fact that it teaches, or ``UNKNOWN``.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    nats: float
    place: int = UNKNOWN


class SurpriseBuffer:
    """Holds at most ``size`` sequences: those with the highest surprise, of equal ones the earlier.

    Args:
        size: Most sequences.

    Attributes:
        held: The sequences, the most surprising first.
    """

    def __init__(self, size: int):
        self._size = size
        self.held: list[Surprise] = []

    def add(self, sequences: Iterable[Surprise]) -> None:
        """Let further sequences compete for a place."""
        self.held = sorted((*self.held, *sequences), key=lambda each: -each.nats)[: self._size]

    def drop(self, places: Sequence[int]) -> None:
        """Take out the sequences of facts that are no longer true."""
        self.held = [each for each in self.held if each.place not in places]

    def state_dict(self) -> dict[str, Tensor]:
        """The sequences as flat tensors: ids and labels (all tokens), lengths, surprise and places (all sequences)."""
        import torch

        return {
            "buffer.ids": torch.tensor([token for each in self.held for token in each.ids], dtype=torch.long),
            "buffer.labels": torch.tensor([label for each in self.held for label in each.labels], dtype=torch.long),
            "buffer.lengths": torch.tensor([len(each.ids) for each in self.held], dtype=torch.long),
            "buffer.nats": torch.tensor([each.nats for each in self.held], dtype=torch.double),
            "buffer.places": torch.tensor([each.place for each in self.held], dtype=torch.long),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a :meth:`state_dict`."""
        lengths = state["buffer.lengths"].tolist()
        ids, labels = (state[f"buffer.{name}"].split(lengths) if lengths else () for name in ("ids", "labels"))
        rest = state["buffer.nats"].tolist(), state["buffer.places"].tolist()
        self.held = [
            Surprise(tuple(own.tolist()), tuple(learned.tolist()), nats, place)
            for own, learned, nats, place in zip(ids, labels, *rest, strict=True)
        ]


def batch_of(sequences: Sequence[Surprise]) -> Batch:
    """Sequences as a batch, padded on the right; on the CPU."""
    from smf.streams.batches import collate

    return collate([(list(each.ids), list(each.labels)) for each in sequences], pad_token_id=0)  # masked like any other


def sequences_of(batch: Batch, nats: Sequence[float], places: tuple[int, ...]) -> list[Surprise]:
    """The sequences of a batch of facts.

    Args:
        batch: Whole sequences.
        nats: The surprise of each.
        places: Places in the stream of the facts of the batch; empty if they are not known.
    """
    facts = [0] * len(nats) if batch.fact_B is None else batch.fact_B.tolist()
    rows = zip(
        batch.input_ids_BT.tolist(), batch.labels_BT.tolist(), batch.attention_mask_BT.sum(1).tolist(), strict=True
    )
    return [
        Surprise(tuple(ids[:length]), tuple(labels[:length]), nats[row], places[facts[row]] if places else UNKNOWN)
        for row, (ids, labels, length) in enumerate(rows)
    ]
