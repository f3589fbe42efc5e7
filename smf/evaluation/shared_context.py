"""Log-likelihoods of several continuations of one context, which is computed once.

lm-eval passes each continuation through the model together with its context: a HellaSwag item costs its context four
times. Here contexts go through the model once and leave their keys and values in the cache, from which each
continuation goes on. Logits are made where a continuation is predicted and nowhere else.

Shapes: B item, C context column, N continuation, W column of a continuation, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Item:
    """A context and what may follow it.

    Attributes:
        context: Token ids, at least one.
        continuations: Token ids of each, at least one.
    """

    context: Sequence[int]
    continuations: Sequence[Sequence[int]]

    @property
    def longest(self) -> int:
        """Tokens of the context and its longest continuation."""
        return len(self.context) + max(map(len, self.continuations))


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
        rows_per_pass: Continuations in one forward pass, about.

    Returns:
        For each item, in order, the likelihood of each continuation.
    """
    results: list[list[Likelihood]] = [[] for _ in items]
    for numbers in _batches(items, rows_per_pass):
        batch = [items[number] for number in numbers]
        for number, likelihoods in zip(numbers, _score(model, batch, pad_token_id), strict=True):
            results[number] = likelihoods
    return results


def _batches(items: Sequence[Item], rows_per_pass: int) -> Iterator[list[int]]:
    """Numbers of items of the same number of continuations and similar length, longest first."""
    order = sorted(range(len(items)), key=lambda number: (len(items[number].continuations), -items[number].longest))
    batch: list[int] = []
    for number in order:
        width = len(items[number].continuations)
        if batch and (len(items[batch[0]].continuations) != width or (len(batch) + 1) * width > rows_per_pass):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _score(model: PreTrainedModel, batch: Sequence[Item], pad_token_id: int) -> list[list[Likelihood]]:
    num_continuations = len(batch[0].continuations)
    # Contexts end in the same column. A continuation's last token predicts nothing and is left out.
    contexts_BC, context_mask_BC = _padded([item.context for item in batch], pad_token_id, left=True)
    fed = [continuation[:-1] for item in batch for continuation in item.continuations]
    fed_NW, fed_mask_NW = _padded(fed, pad_token_id, left=False)
    device = model.device
    context_mask_BC, fed_mask_NW = context_mask_BC.to(device), fed_mask_NW.to(device)
    out = model(
        input_ids=contexts_BC.to(device),
        attention_mask=context_mask_BC,
        position_ids=(context_mask_BC.cumsum(1) - 1).clamp_min(0),
        logits_to_keep=1,
        use_cache=True,
    )
    logits_NWV = out.logits.repeat_interleave(num_continuations, dim=0)
    if fed_NW.shape[1]:
        cache = out.past_key_values
        cache.batch_repeat_interleave(num_continuations)
        context_mask_NC = context_mask_BC.repeat_interleave(num_continuations, dim=0)
        lengths_N1 = context_mask_NC.sum(1, keepdim=True)
        more_NWV = model(
            input_ids=fed_NW.to(device),
            attention_mask=torch.cat([context_mask_NC, fed_mask_NW], 1),
            position_ids=lengths_N1 + torch.arange(fed_NW.shape[1], device=device),
            past_key_values=cache,
            use_cache=True,
        ).logits
        logits_NWV = torch.cat([logits_NWV, more_NWV], 1)
    likelihoods = []
    continuations = [continuation for item in batch for continuation in item.continuations]
    for logits_WV, continuation in zip(logits_NWV, continuations, strict=True):
        log_probabilities_WV = logits_WV[: len(continuation)].log_softmax(-1)
        target_W = torch.tensor(continuation, device=device)
        total = log_probabilities_WV.gather(-1, target_W.unsqueeze(-1)).sum()
        likelihoods.append((float(total), bool((log_probabilities_WV.argmax(-1) == target_W).all())))
    return [likelihoods[start : start + num_continuations] for start in range(0, len(likelihoods), num_continuations)]


def _padded(rows: Sequence[Sequence[int]], pad_token_id: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """Rows of tokens as one tensor, and its attention mask."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_token_id)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        columns = slice(width - len(row), width) if left else slice(0, len(row))
        ids[number, columns] = torch.tensor(row, dtype=torch.long)
        mask[number, columns] = 1
    return ids, mask
