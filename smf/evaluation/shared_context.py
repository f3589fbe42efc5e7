"""Log-likelihoods of several continuations of one context, which is computed once.

lm-eval passes each continuation through the model together with its context: a HellaSwag item costs its context four
times. Here contexts go through the model once and leave their keys and values in the cache, from which each
continuation goes on. Logits are made where a continuation is predicted and nowhere else, some positions at a time.

Shapes: B item, C context column, N continuation, W column of a continuation, D hidden size, X predicted token, V
vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from smf.models.logits import at_once, final_states, logits_of


@dataclass(frozen=True)
class Item:
    """A context and what may follow it.

    Attributes:
        context: Token ids, at least one.
        continuations: Token ids of each, at least one.
    """

    context: Sequence[int]
    continuations: Sequence[Sequence[int]]


_NOTHING = -1  # a column in which nothing is predicted

Likelihood = tuple[float, bool]
"""Sum of the log-probabilities in nats, and whether each token was the most probable one."""


@torch.no_grad()
def continuation_likelihoods(
    model: PreTrainedModel, items: Sequence[Item], *, pad_token_id: int, rows_per_pass: int
) -> list[list[Likelihood]]:
    """Score all continuations of all items.

    Args:
        model: In evaluation mode.
        items: Contexts with their continuations.
        pad_token_id: Fills up rows; any token will do.
        rows_per_pass: Continuations in one forward pass, at most.

    Returns:
        For each item, in order, the likelihood of each continuation.
    """
    results: list[list[Likelihood]] = [[(0.0, False)] * len(item.continuations) for item in items]
    for batch in _batches(items, rows_per_pass):
        parts = [
            Item(items[part.number].context, [items[part.number].continuations[place] for place in part.places])
            for part in batch
        ]
        for part, likelihoods in zip(batch, _score(model, parts, pad_token_id), strict=True):
            for place, likelihood in zip(part.places, likelihoods, strict=True):
                results[part.number][place] = likelihood
    return results


class _Part(NamedTuple):
    """Continuations of one item that are scored together: the item's number, their places in it, the longest text."""

    number: int
    places: tuple[int, ...]
    longest: int


def _batches(items: Sequence[Item], rows_per_pass: int) -> Iterator[list[_Part]]:
    """Parts of the same number of continuations and similar length, longest first."""
    parts = [part for number, item in enumerate(items) for part in _parts(number, item, rows_per_pass)]
    parts.sort(key=lambda part: (len(part.places), -part.longest))
    batch: list[_Part] = []
    for part in parts:
        width = len(part.places)
        if batch and (len(batch[0].places) != width or (len(batch) + 1) * width > rows_per_pass):
            yield batch
            batch = []
        batch.append(part)
    if batch:
        yield batch


def _parts(number: int, item: Item, rows_per_pass: int) -> Iterator[_Part]:
    """An item whole, or in parts where it has more continuations than a pass takes or next to no context to share."""
    longest_first = sorted(range(len(item.continuations)), key=lambda place: -len(item.continuations[place]))
    size = 1 if len(item.context) == 1 else max(rows_per_pass, 1)
    for start in range(0, len(longest_first), size):
        places = longest_first[start : start + size]
        yield _Part(number, tuple(sorted(places)), len(item.context) + len(item.continuations[places[0]]))


def _score(model: PreTrainedModel, batch: Sequence[Item], pad_token_id: int) -> list[list[Likelihood]]:
    num_continuations = len(batch[0].continuations)
    continuations = [continuation for item in batch for continuation in item.continuations]
    read = _read_at_once if num_continuations == 1 else _read_context_first
    states_NWD, rows = read(model, batch, continuations, pad_token_id)
    targets_NW = _padded(rows, _NOTHING, left=False)[0].to(model.device)
    likelihoods = _likelihoods(model, states_NWD, targets_NW)
    return [likelihoods[start : start + num_continuations] for start in range(0, len(likelihoods), num_continuations)]


def _likelihoods(model: PreTrainedModel, states_NWD: Tensor, targets_NW: Tensor) -> list[Likelihood]:
    """Sums over the continuations' own columns, in float32 whatever the model computes in."""
    mask_NW = targets_NW != _NOTHING
    size = at_once(model)
    parts = zip(states_NWD[mask_NW].split(size), targets_NW[mask_NW].split(size), strict=True)
    totals_X, greedy_X = zip(*(_of_tokens(model, *part) for part in parts), strict=True)
    totals_NW = torch.zeros(mask_NW.shape, device=mask_NW.device).masked_scatter(mask_NW, torch.cat(totals_X))
    greedy_NW = (~mask_NW).masked_scatter(mask_NW, torch.cat(greedy_X))
    return list(zip(totals_NW.sum(1).tolist(), greedy_NW.all(1).tolist(), strict=True))


def _of_tokens(model: PreTrainedModel, states_XD: Tensor, targets_X: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each token, and whether it is the most probable one."""
    logits_XV = logits_of(model, states_XD.unsqueeze(0)).squeeze(0)
    chosen_X = logits_XV.gather(-1, targets_X.unsqueeze(-1)).squeeze(-1).float()
    return chosen_X - logits_XV.float().logsumexp(-1), logits_XV.argmax(-1) == targets_X


def _read_at_once(
    model: PreTrainedModel, batch: Sequence[Item], continuations: Sequence[Sequence[int]], pad_token_id: int
) -> tuple[Tensor, list[list[int]]]:
    """Hidden states (N, W, D) where each context has one continuation, and what is to be predicted in their columns."""
    # Texts begin in the same column, so that nothing has to be masked; what follows a text cannot reach back into it.
    texts = [[*item.context, *item.continuations[0][:-1]] for item in batch]
    ids_NT, _ = _padded(texts, pad_token_id, left=False)
    first = min(len(item.context) for item in batch) - 1
    states_NTD = final_states(model, input_ids=ids_NT.to(model.device), use_cache=False).last_hidden_state
    return states_NTD[:, first:], [
        [_NOTHING] * (len(item.context) - 1 - first) + [*item.continuations[0]] for item in batch
    ]


def _read_context_first(
    model: PreTrainedModel, batch: Sequence[Item], continuations: Sequence[Sequence[int]], pad_token_id: int
) -> tuple[Tensor, list[Sequence[int]]]:
    """Hidden states (N, W, D) that predict the continuations' tokens, each context read once, and these tokens."""
    num_continuations = len(batch[0].continuations)
    # Contexts end in the same column. A continuation's last token predicts nothing and is left out.
    contexts_BC, context_mask_BC = _padded([item.context for item in batch], pad_token_id, left=True)
    fed_NW, fed_mask_NW = _padded([continuation[:-1] for continuation in continuations], pad_token_id, left=False)
    device = model.device
    context_mask_BC, fed_mask_NW = context_mask_BC.to(device), fed_mask_NW.to(device)
    out = final_states(
        model,
        input_ids=contexts_BC.to(device),
        attention_mask=context_mask_BC,
        position_ids=(context_mask_BC.cumsum(1) - 1).clamp_min(0),
        use_cache=True,
    )
    states_NWD = out.last_hidden_state[:, -1:].repeat_interleave(num_continuations, dim=0)
    if not fed_NW.shape[1]:
        return states_NWD, [*continuations]
    cache = out.past_key_values
    cache.batch_repeat_interleave(num_continuations)
    context_mask_NC = context_mask_BC.repeat_interleave(num_continuations, dim=0)
    lengths_N1 = context_mask_NC.sum(1, keepdim=True)
    more = final_states(
        model,
        input_ids=fed_NW.to(device),
        attention_mask=torch.cat([context_mask_NC, fed_mask_NW], 1),
        position_ids=lengths_N1 + torch.arange(fed_NW.shape[1], device=device),
        past_key_values=cache,
        use_cache=True,
    )
    return torch.cat([states_NWD, more.last_hidden_state], 1), [*continuations]


def _padded(rows: Sequence[Sequence[int]], pad_token_id: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """Rows of tokens as one tensor, and its attention mask."""
    width = max(map(len, rows))
    ids, mask = [], []
    for row in rows:
        filling = width - len(row)
        before, after = (filling, 0) if left else (0, filling)
        ids.append([*[pad_token_id] * before, *row, *[pad_token_id] * after])
        mask.append([*[0] * before, *[1] * len(row), *[0] * after])
    shape = (len(rows), width)
    return torch.tensor(ids, dtype=torch.long).view(shape), torch.tensor(mask, dtype=torch.long).view(shape)
