"""Sparse memory finetuning: only slots that the batch uses, and ordinary text does not, train.

Each step: forward (reads all accessed slots), count what the batch's real tokens read, select, backward into the
selected rows alone, step these rows. Keys, queries, gates and the base model are frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from smf.errors import CheckpointError, ConfigError
from smf.methods.method import Method, StepReport, language_model_loss
from smf.selection.names import SELECTORS

if TYPE_CHECKING:
    from torch import Tensor

    from smf.memory.row_optimizers import RowOptimizer
    from smf.models.frozen_prefix import FrozenPrefix
    from smf.streams.batches import Batch


class SparseMemoryFinetuning(Method):
    """Trains the values of selected slots of the healed memory model."""

    schema = {
        "selector": {
            "enum": list(SELECTORS),
            "default": "tfidf",
            "description": "Score that picks slots: tfidf (Lin et al.), kl (Goyal et al.), tf, random among those "
            "accessed; none trains every accessed slot.",
        },
        "top_t": {
            "type": "integer",
            "minimum": 1,
            "default": 64,
            "description": "Slots that may train in one step, per memory layer. Not used by selector none.",
        },
        "pooled": {
            "type": "boolean",
            "default": False,
            "description": "Pick the best top_t * layers slots over all layers together.",
        },
        "kl_background": {
            "enum": ["accesses", "documents"],
            "default": "accesses",
            "description": "What KL's background distribution is made of: access counts or document frequencies.",
        },
        "optimizer": {"enum": ["sgd", "adamw"], "default": "sgd", "description": "Row-wise SGD or AdamW."},
        "learning_rate": {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": "Step size, constant over the stream; chosen by the sweep in results/tables/tuning.csv.",
        },
        "momentum": {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "default": 0.0, "description": "For SGD."},
        "weight_decay": {
            "type": "number",
            "minimum": 0,
            "default": 0.0,
            "description": "Acts on selected slots only.",
        },
    }
    starts_from = "healed"
    needs_background = True

    def __init__(self, model, settings, background, seed):
        import torch

        from smf.memory import RowGradient
        from smf.seeding import torch_generator
        from smf.selection.select import Selection

        super().__init__(model, settings, background, seed)
        if background is None:
            raise ConfigError("sparse memory finetuning needs background counts; none were given")
        self._background = background
        self._selection = Selection(
            settings["selector"], settings["top_t"], settings["pooled"], settings["kl_background"]
        )
        self._generator = torch_generator(seed, "slot selection")
        model.requires_grad_(False)
        self._layers = model.memory_layers()
        self._optimizers: dict[int, RowOptimizer] = {}
        for block, layer in self._layers.items():
            layer.row_gradient = RowGradient()
            self._optimizers[block] = _row_optimizer(layer.values_SV, settings)
        self._batch: Batch | None = None
        self._prefix: FrozenPrefix | None = None  # of that batch
        self._changed = {block: torch.empty(0, dtype=torch.long) for block in self._layers}
        self._originals: dict[int, tuple[Tensor, Tensor]] = {}

    def step(self, batch: Batch) -> StepReport:
        """One step on the slots that the selector picks for this batch."""
        import torch

        from smf.memory import record_slot_reads
        from smf.models.frozen_prefix import FrozenPrefix
        from smf.selection.select import count_reads, select_slots

        if batch is not self._batch:
            self._batch, self._prefix = batch, FrozenPrefix(self.model)
        with self._prefix.reused(), record_slot_reads(self._layers) as reads:
            loss = language_model_loss(self.model, batch)
        counts = count_reads(reads, batch.attention_mask_BT)
        selected = select_slots(counts, self._background, self._selection, self._generator)
        for block, layer in self._layers.items():
            layer.row_gradient.select(selected[block])
        loss.backward()
        for block, layer in self._layers.items():
            self._optimizers[block].step(selected[block], layer.row_gradient.gradient_RV)
            self._changed[block] = torch.cat([self._changed[block], selected[block].cpu()]).unique()
        return StepReport(loss.detach(), {block: len(slots) for block, slots in selected.items()})

    def delta(self) -> dict[str, Tensor]:
        """Ids and values of every slot that was ever selected."""
        tensors = {}
        for block, slots in self._changed.items():
            tensors[f"{block}.slots"] = slots
            tensors[f"{block}.values"] = self._layers[block].values_SV[slots.to(self.model.device)].cpu()
        return tensors

    def load_delta(self, delta: Mapping[str, Tensor]) -> None:
        """Write the slots; slots that an earlier delta wrote get their original values back first."""
        expected = {f"{block}.{part}" for block in self._layers for part in ("slots", "values")}
        if delta.keys() != expected:
            raise CheckpointError(
                f"the delta holds {sorted(delta)}, the model has memory in blocks {sorted(self._layers)}; "
                "learn the stream again"
            )
        for block, layer in self._layers.items():
            slots, values = delta[f"{block}.slots"], delta[f"{block}.values"]
            if values.shape != (len(slots), layer.values_SV.shape[1]) or (slots >= layer.num_slots).any():
                raise CheckpointError(
                    f"the delta's slots of block {block} do not fit a table of {tuple(layer.values_SV.shape)}; "
                    "learn the stream again"
                )
        for block, layer in self._layers.items():
            table_SV = layer.values_SV.data
            if block in self._originals:
                slots, values = self._originals[block]
                table_SV[slots] = values
            slots = delta[f"{block}.slots"].to(table_SV.device)
            self._originals[block] = (slots, table_SV[slots].clone())
            table_SV[slots] = delta[f"{block}.values"].to(table_SV)


def _row_optimizer(values_SV: Tensor, settings: Mapping) -> RowOptimizer:
    from smf.memory.row_optimizers import RowAdamW, RowSGD

    rates = {"learning_rate": settings["learning_rate"], "weight_decay": settings["weight_decay"]}
    if settings["optimizer"] == "adamw":
        return RowAdamW(values_SV, **rates)
    return RowSGD(values_SV, momentum=settings["momentum"], **rates)
