"""Row-sparse steps for other training loops, such as transformers' Trainer: an optimizer that selects slots itself.

Which slots train depends on the batch's reads, so they are selected at the end of its forward pass, before the backward
pass collects their gradient. Selection, gradient and steps are those of :mod:`smf.methods.smf`.

Shapes: B sequence, T token, R selected slot, V value_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from smf.errors import CheckpointError, ConfigError
from smf.memory import MemoryLayer, RowGradient, SlotReads, record_slot_reads
from smf.memory.row_optimizers import row_optimizer
from smf.seeding import torch_generator
from smf.selection.background import BackgroundCounts
from smf.selection.names import ALL_ACCESSED, Selector
from smf.selection.select import Selection, count_reads, select_slots
from smf.settings.check import check
from smf.settings.section import Count, NonNegativeNumber, Number, Section, Whole


class _Given(Section):
    lr: NonNegativeNumber
    optimizer: Literal["sgd", "adamw", "adagrad"]
    momentum: Annotated[Number, Field(ge=0, lt=1)]
    weight_decay: NonNegativeNumber
    selector: Selector
    top_t: Count
    seed: Whole


class RowSparseOptimizer(torch.optim.Optimizer):
    """Steps the slots that a batch reads, or the best ``top_t`` of them; everything else in the model is frozen.

    Reads of padding do not count if the model gets an ``attention_mask`` (B, T). Gradients of several batches add up
    until the next step. Value tables get no ``grad``, so gradient clipping (Trainer's ``max_grad_norm``) has no effect
    here, and loss scaling for float16 does not work.

    Args:
        model: A model with memory layers: retrofitted, loaded, or from peft. Each forward pass with gradients selects
            slots.
        lr: Step size; schedulers change it.
        optimizer: Steps the slots, each with state of its own.
        momentum: For SGD.
        weight_decay: Decoupled; acts on slots that take a step only.
        selector: ``none`` for all slots that are read, or a score of docs/selection.md, which needs ``background``.
        top_t: Slots of each layer that may train in one step; not used by ``none``.
        background: How often ordinary text reads each slot, see :func:`smf.selection.background.count_background`.
        seed: Seed of random scores.

    Raises:
        CheckpointError: The model has no memory layers.
        ConfigError: An argument is unknown or out of range, or the selector needs background counts.

    Example:
        >>> optimizer = RowSparseOptimizer(model, lr=1.0)
        >>> ids = tokenizer("Joel Quint was born in Tarnow.", return_tensors="pt").input_ids
        >>> losses = []
        >>> for _ in range(2):
        ...     loss = model(input_ids=ids, labels=ids).loss
        ...     loss.backward()
        ...     optimizer.step()
        ...     losses.append(loss.item())
        >>> losses[1] < losses[0]
        True
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float,
        optimizer: Literal["sgd", "adamw", "adagrad"] = "sgd",
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        selector: Selector = ALL_ACCESSED,
        top_t: int = 32,
        background: BackgroundCounts | None = None,
        seed: int = 0,
    ):
        if not hasattr(model, "memory_layers"):
            raise CheckpointError(f"a {type(model).__name__} has no memory layers to train; retrofit it first")
        rows = {"optimizer": optimizer, "momentum": momentum, "weight_decay": weight_decay}
        given = {"lr": lr, **rows, "selector": selector, "top_t": top_t, "seed": seed}
        check(given, _Given, type(self).__name__)
        if selector != ALL_ACCESSED and background is None:
            raise ConfigError(f"selector {selector} needs background counts; count them with count_background")
        self._layers: dict[int, MemoryLayer] = cast("Any", model).memory_layers()
        values = [layer.values_SV for layer in self._layers.values()]
        super().__init__(values, {"lr": lr, "weight_decay": weight_decay})
        device = values[0].device
        self._selection = Selection(selector, top_t)
        self._background = None if background is None else background.to(device)
        self._generator = torch_generator(seed, "slot selection", device=device)
        rows["learning_rate"] = lr
        self._rows = {block: row_optimizer(layer.values_SV, rows) for block, layer in self._layers.items()}
        self._collected: dict[int, list[tuple[Tensor, Tensor]]] = {block: [] for block in self._layers}
        model.requires_grad_(False)
        for layer in self._layers.values():
            layer.row_gradient = RowGradient()
        self._recording = ExitStack()
        self._reads: Mapping[int, SlotReads] = {}
        self._hooks = (
            model.register_forward_pre_hook(self._before_forward),
            model.register_forward_hook(self._after_forward, with_kwargs=True, always_call=True),
        )

    def close(self) -> None:
        """Detach from the model: its memory layers train like any other module again."""
        for hook in self._hooks:
            hook.remove()
        for layer in self._layers.values():
            layer.row_gradient = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step the slots selected since the last step, and clear their gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        [group] = self.param_groups
        self._collect()
        for block, optimizer in self._rows.items():
            if parts := self._collected[block]:
                optimizer.learning_rate, optimizer.weight_decay = group["lr"], group["weight_decay"]
                optimizer.step(*_sum_of(parts))
        self.zero_grad()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Discard the gradients collected so far."""
        for block, layer in self._layers.items():
            rows = _rows_of(layer)
            rows.slots_R = rows.gradient_RV = None
            self._collected[block].clear()

    def state_dict(self) -> dict[str, Any]:
        """As for any optimizer, with the state of all slots that ever took a step, by block."""
        return {**super().state_dict(), "state": {block: rows.state_dict() for block, rows in self._rows.items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a :meth:`state_dict`.

        Raises:
            CheckpointError: The state is from another kind of optimizer or table.
        """
        super().load_state_dict({**state_dict, "state": {}})
        for block, rows in self._rows.items():
            rows.load_state_dict(state_dict["state"].get(block, {}))

    def _before_forward(self, model: nn.Module, inputs: tuple) -> None:
        if torch.is_grad_enabled():
            self._reads = self._recording.enter_context(record_slot_reads(self._layers))

    def _after_forward(self, model: nn.Module, inputs: tuple, named: Mapping[str, Any], output: object) -> None:
        self._recording.close()
        reads, self._reads = self._reads, {}
        if len(reads) < len(self._layers):  # no gradients, or the pass failed
            return
        self._collect()
        mask_BT = named.get("attention_mask")
        if mask_BT is None or mask_BT.ndim != 2:
            mask_BT = torch.ones_like(next(iter(reads.values())).slot_indices_BTHK[..., 0, 0])
        selected = select_slots(count_reads([(reads, mask_BT)]), self._background, self._selection, self._generator)
        for block, layer in self._layers.items():
            _rows_of(layer).select(selected[block].slots_R)

    def _collect(self) -> None:
        """Set the last pass's gradients aside, because the next pass selects other slots."""
        for block, layer in self._layers.items():
            rows = _rows_of(layer)
            if rows.slots_R is not None and rows.gradient_RV is not None:
                first_R = rows.is_first_R
                self._collected[block].append((rows.slots_R[first_R], rows.gradient_RV[first_R]))
                rows.gradient_RV = None


def _rows_of(layer: MemoryLayer) -> RowGradient:
    """Where a layer's gradient is collected, until the optimizer lets go of the model."""
    assert layer.row_gradient is not None
    return layer.row_gradient


def _sum_of(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Slots, ascending, and the sum of their gradients."""
    if len(parts) == 1:
        return parts[0]
    slots_R, place = torch.cat([slots for slots, _ in parts]).unique(return_inverse=True)
    gradients = torch.cat([gradient for _, gradient in parts])
    return slots_R, gradients.new_zeros(len(slots_R), gradients.shape[1]).index_add_(0, place, gradients)
