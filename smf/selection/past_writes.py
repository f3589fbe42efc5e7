"""Count the stream's earlier writes as background: slots that hold taught facts score lower for other facts.

Batches and accesses are kept as integers, so that a later process continues with the same bits. The counts derived from
them have the size of the table, but are computed once per batch, not in each step.

Shapes: S slot, U slot that the batch reads, R selected slot.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from smf.errors import CheckpointError
from smf.selection.background import BackgroundCounts, LayerCounts
from smf.selection.scores import BatchCounts
from smf.selection.select import SelectedSlots


class PastWrites:
    """Background counts that grow with the stream.

    When a batch begins, each slot that the previous batch was allowed to write counts as read by ``weight`` more
    documents, and the number of documents grows by ``weight``. The previous batch's accesses to the slot (in its last
    step), times ``weight``, count as background accesses.

    Args:
        background: Background use of all layers.
        weight: At least 0. With 0 nothing is kept, and the background does not change.

    Attributes:
        background: The counts, including all past writes.
    """

    def __init__(self, background: BackgroundCounts, weight: float):
        self.background = background
        self._weight = weight
        self._ordinary = background
        self._layers = {block: _LayerPast(layer) for block, layer in background.layers.items()} if weight else {}
        self._num_batches = 0
        self._begun = False  # whether the current batch has taken a step

    def see(self, counts: Mapping[int, BatchCounts], selected: Mapping[int, SelectedSlots]) -> None:
        """Record the slots that a step of the current batch reads, and those that it may write."""
        for block, past in self._layers.items():
            past.see(counts[block], selected[block])
        self._begun = True

    def begin_batch(self) -> None:
        """Move the current batch into the past."""
        if not self._layers or not self._begun:
            return
        for past in self._layers.values():
            past.batches_S, past.accesses_S = past.with_batch()
            past.forget_batch()
        self._num_batches, self._begun = self._num_batches + 1, False
        self._count()

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the state, if any, that a later process needs to continue with another batch."""
        state = {}
        for block, past in self._layers.items():
            state[f"past_writes.{block}.batches"], state[f"past_writes.{block}.accesses"] = past.with_batch()
        if state:
            state["past_writes.number"] = torch.tensor(self._num_batches + self._begun)
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a :meth:`state_dict`.

        Raises:
            CheckpointError: The state is from a model with other layers, or from a stream that kept no past writes.
        """
        if not self._layers:
            return
        for block, past in self._layers.items():
            found = [state.get(f"past_writes.{block}.{name}") for name in ("batches", "accesses")]
            if any(counts_S is None or counts_S.shape != past.batches_S.shape for counts_S in found):
                raise CheckpointError(
                    f"the state knows no past writes of block {block}'s {len(past.batches_S):,} slots; "
                    "learn the stream again"
                )
        for block, past in self._layers.items():
            device = past.batches_S.device
            past.batches_S = state[f"past_writes.{block}.batches"].to(device, copy=True)
            past.accesses_S = state[f"past_writes.{block}.accesses"].to(device, copy=True)
            past.forget_batch()
        self._num_batches, self._begun = int(state["past_writes.number"]), False
        self._count()

    def _count(self) -> None:
        number, weight = self._num_batches * self._weight, self._weight
        layers = {
            block: replace(
                layer,
                accesses_S=layer.accesses_S + weight * self._layers[block].accesses_S.double(),
                document_frequency_S=layer.document_frequency_S + weight * self._layers[block].batches_S.double(),
                num_documents=layer.num_documents + number,
                others=None,
            )
            for block, layer in self._ordinary.layers.items()
        }
        self.background = BackgroundCounts(layers, self._ordinary.provenance)


class _LayerPast:
    """Past writes of one layer.

    Attributes:
        batches_S: How many past batches were allowed to write each slot.
        accesses_S: How often these batches read it.
    """

    def __init__(self, background: LayerCounts):
        self.batches_S = torch.zeros_like(background.accesses_S, dtype=torch.long)
        self.accesses_S = torch.zeros_like(self.batches_S)
        self.forget_batch()

    def forget_batch(self) -> None:
        """Clear the record of the current batch."""
        self._written_S = torch.zeros_like(self.batches_S, dtype=torch.bool)
        self._counts: BatchCounts | None = None

    def see(self, counts: BatchCounts, selected: SelectedSlots) -> None:
        """Record a step of the current batch; its reads replace those of the step before."""
        self._written_S.index_fill_(0, selected.slots_R, True)  # all steps of a batch write the same fact
        self._counts = counts

    def with_batch(self) -> tuple[Tensor, Tensor]:
        """``batches_S`` and ``accesses_S`` as they will be once the current batch is past; copies."""
        if self._counts is None:
            return self.batches_S.clone(), self.accesses_S.clone()
        slots_U = self._counts.slots_U.clamp(max=len(self.batches_S) - 1)  # entries that stand for no slot have count 0
        read_S = torch.zeros_like(self.accesses_S).index_add_(0, slots_U, self._counts.counts_U)
        return self.batches_S + self._written_S, self.accesses_S + read_S * self._written_S
