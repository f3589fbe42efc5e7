"""Log-likelihoods of several continuations of one context, which is computed once.

lm-eval passes each continuation through the model together with its context, so a HellaSwag item pays for its context
four times. Here an item is one text that branches after its context, and the items of a pass are packed end to end into
a single row without padding. Logits are computed only at predicted positions, in slices.

Shapes: T token of the row, D hidden size, X predicted token of all continuations, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from smf.evaluation.branches import Piece, branching_attention
from smf.files.resume import Tape
from smf.models.logits import at_once, final_states, logits_of


@dataclass(frozen=True)
class Item:
    """A context and its continuations.

    Attributes:
        context: Token ids, at least one.
        continuations: Token ids of each, at least one.
    """

    context: Sequence[int]
    continuations: Sequence[Sequence[int]]


Likelihood = tuple[float, bool]
"""Sum of the log-probabilities in nats, and whether each token was the most probable one."""


@torch.inference_mode()
def continuation_likelihoods(
    model: PreTrainedModel, items: Sequence[Item], *, rows_per_pass: int, tape: Tape | None = None
) -> list[list[Likelihood]]:
    """Score all continuations of all items.

    Args:
        model: In evaluation mode, with sdpa or eager attention.
        items: Contexts with their continuations.
        rows_per_pass: Continuations in one forward pass, at most.
        tape: Replays what an earlier process computed for the same items.

    Returns:
        For each item, in order, the likelihood of each continuation.

    Raises:
        ConfigError: The model's attention is neither sdpa nor eager.
    """
    results: list[list[Likelihood]] = [[(0.0, False)] * len(item.continuations) for item in items]
    tape = tape or Tape()
    with branching_attention(model) as pieces_of:

        def scored(batch: Sequence[_Part]) -> list[Likelihood]:
            row = _Row()
            for part in batch:
                row.add(items[part.number].context, items[part.number].continuations[part.start : part.stop])
            states_1TD = final_states(
                model,
                input_ids=torch.tensor([row.ids], device=model.device),
                position_ids=torch.tensor([row.positions], device=model.device),
                use_cache=False,
                pieces=pieces_of(row.pieces),
            )
            states_XD = states_1TD[0].index_select(0, torch.tensor(row.columns, device=model.device))
            return list(_likelihoods(model, states_XD, row.targets, row.lengths))

        for batch in _batches(items, rows_per_pass):
            likelihoods = iter(tape.next(partial(scored, batch)))
            for part in batch:
                for place in range(part.start, part.stop):
                    value, greedy = next(likelihoods)
                    results[part.number][place] = (value, greedy)  # the tape may replay lists
    return results


class _Part(NamedTuple):
    """Continuations of one item that share a pass: its index, and their range from ``start`` to before ``stop``."""

    number: int
    start: int
    stop: int


def _batches(items: Sequence[Item], rows_per_pass: int) -> Iterator[list[_Part]]:
    """Batch the items, longest first; an item with more continuations than a pass takes is split into parts."""
    parts = [
        _Part(number, start, min(start + rows_per_pass, len(item.continuations)))
        for number, item in enumerate(items)
        for start in range(0, len(item.continuations), rows_per_pass)
    ]
    # similar lengths together, for devices that pad, and those that need most memory first
    parts.sort(key=lambda part: -len(items[part.number].context) - max(map(len, items[part.number].continuations)))
    batch: list[_Part] = []
    room = rows_per_pass
    for part in parts:
        if part.stop - part.start > room:
            yield batch
            batch, room = [], rows_per_pass
        batch.append(part)
        room -= part.stop - part.start
    if batch:
        yield batch


@dataclass
class _Row:
    """Branching texts, packed end to end.

    Attributes:
        ids: Input tokens.
        positions: The position of each input token in its own text.
        pieces: Which columns attend to which.
        targets: Predicted tokens of all continuations, concatenated.
        columns: The column that predicts each target.
        lengths: The continuations' lengths, in tokens.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def add(self, context: Sequence[int], continuations: Sequence[Sequence[int]]) -> None:
        """Append a context and its continuations. A continuation's last token predicts nothing and is not read."""
        # a single continuation needs no branch
        trunk = [*context, *continuations[0][:-1]] if len(continuations) == 1 else context
        piece = self._read(trunk, 0, None)
        last = piece.start + len(context) - 1
        for continuation in continuations:
            fed = continuation[:-1]
            alone = len(continuations) == 1
            after = last + 1 if alone or not fed else self._read(fed, len(context), piece).start
            self.targets += continuation
            self.columns += [last, *range(after, after + len(fed))]
            self.lengths.append(len(continuation))

    def _read(self, ids: Sequence[int], position: int, trunk: Piece | None) -> Piece:
        piece = Piece(len(self.ids), len(self.ids) + len(ids), trunk)
        self.ids += ids
        self.positions += range(position, position + len(ids))
        self.pieces.append(piece)
        return piece


def _likelihoods(
    model: PreTrainedModel, states_XD: Tensor, targets: Sequence[int], lengths: Sequence[int]
) -> Iterator[Likelihood]:
    """The likelihood of each continuation."""
    size = at_once(model)
    targets_X = torch.tensor(targets, device=model.device)
    parts = zip(states_XD.split(size), targets_X.split(size), strict=True)
    values_X, greedy_X = (torch.cat(part) for part in zip(*(_of_tokens(model, *part) for part in parts), strict=True))
    tokens = zip(values_X.tolist(), greedy_X.tolist(), strict=True)
    for length in lengths:
        values, greedy = zip(*islice(tokens, length), strict=True)
        yield sum(values), all(greedy)


def _of_tokens(model: PreTrainedModel, states_XD: Tensor, targets_X: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each token, in float32 whatever the model's dtype, and whether it is the most probable one."""
    logits_XV = logits_of(model, states_XD.unsqueeze(0)).squeeze(0)
    chosen_X = logits_XV.gather(-1, targets_X.unsqueeze(-1)).squeeze(-1).float()
    return chosen_X - logits_XV.float().logsumexp(-1), logits_XV.argmax(-1) == targets_X
