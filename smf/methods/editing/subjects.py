"""Where a batch's sequences mention their facts' subjects, and what the model computes there.

Shapes: B sequence, T token, H sequence that holds its fact's subject, F fact, U hidden unit, D model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from smf.errors import DataError
from smf.methods.editing.maps import recorded_keys
from smf.models.context_cache import context_cache, inputs_of
from smf.models.logits import final_states
from smf.selection.select import writing_tokens
from smf.streams.batches import Batch


class LocatedPart(NamedTuple):
    """Sequences that go through the model together, and where they hold their subjects.

    Attributes:
        batch: The sequences.
        rows_H: Those that hold their fact's subject.
        positions_H: The last token of its first mention in each of them.
        facts_H: The fact that each of them teaches.
    """

    batch: Batch
    rows_H: Tensor
    positions_H: Tensor
    facts_H: Tensor

    def context(self, model: PreTrainedModel) -> Cache | None:
        """Keys and values of the context before the sequences, if they share one; with the weights as they are now."""
        if self.batch.context_ids_C is None:
            return None
        with torch.no_grad():
            return context_cache(model, self.batch.context_ids_C)

    def at_subjects(self, states_BTD: Tensor) -> Tensor:
        """The states (H, D) there."""
        return states_BTD[self.rows_H, self.positions_H]


def located(parts: Sequence[Batch]) -> list[LocatedPart]:
    """Find the subjects in the parts of one batch.

    Raises:
        DataError: The batch does not mark them, or a fact has none.
    """
    found = []
    for part in parts:
        rows_H, positions_H = _last_of_first_run(writing_tokens(part, "subject"))
        facts_H = torch.zeros_like(rows_H) if part.fact_B is None else part.fact_B[rows_H]
        found.append(LocatedPart(part, rows_H, positions_H, facts_H))
    numbers = [torch.zeros(1) if part.fact_B is None else part.fact_B for part in parts]
    with_subject = {int(fact) for part in found for fact in part.facts_H}
    if missing := {int(fact) for facts_B in numbers for fact in facts_B} - with_subject:
        raise DataError(
            f"no sequence of fact {min(missing)} of the batch, counted from 0, marks a subject's tokens; make the "
            "batch by facts_batch(…, write_at='subject') of facts whose texts hold their subject"
        )
    return found


def _last_of_first_run(mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Rows with a mark, and the last position of each one's first run of marks."""
    rows_H = mask_BT.any(1).nonzero().squeeze(1)
    marked_HT = mask_BT[rows_H].bool()
    behind_HT = marked_HT.int().cummax(1).values.bool() & ~marked_HT
    lengths_H = torch.where(behind_HT.any(1), behind_HT.int().argmax(1), mask_BT.shape[1])
    return rows_H, lengths_H - 1


@torch.no_grad()
def subject_means(
    model: PreTrainedModel, parts: Sequence[LocatedPart], value_map: nn.Linear, site: nn.Module
) -> tuple[Tensor, Tensor]:
    """Means over each fact's sequences that hold its subject, at its last token.

    Args:
        model: The model.
        parts: The batch.
        value_map: The map whose input is the key.
        site: The module whose output carries the states.

    Returns:
        Keys (F, U) and states (F, D), in float32 or more.
    """
    keys, states = [], []
    for part in parts:
        context = part.context(model)
        with recorded_keys({0: value_map}) as recorded, _recorded_states(site) as outputs:
            final_states(model, **inputs_of(model, part.batch, context))
        keys.append(part.at_subjects(recorded[0]))
        states.append(part.at_subjects(outputs[-1]))
    facts_H = torch.cat([part.facts_H for part in parts])
    return _means(torch.cat(keys), facts_H), _means(torch.cat(states), facts_H)


def _means(values_HX: Tensor, facts_H: Tensor) -> Tensor:
    values_HX = values_HX.to(torch.promote_types(values_HX.dtype, torch.float32))
    counts_F = facts_H.bincount()
    sums_FX = values_HX.new_zeros(len(counts_F), values_HX.shape[1]).index_add_(0, facts_H, values_HX)
    return sums_FX / counts_F.unsqueeze(1)


@contextmanager
def _recorded_states(site: nn.Module) -> Iterator[list[Tensor]]:
    states: list[Tensor] = []
    hook = site.register_forward_hook(
        lambda _, __, output: states.append((output[0] if isinstance(output, tuple) else output).detach())
    )
    try:
        yield states
    finally:
        hook.remove()
