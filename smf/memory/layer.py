"""A memory layer: product keys address a table of value slots (Lample et al., 2019; gating of Berges et al., 2024).

Shapes: B batch, T token, D hidden size, H head, N keys per half, S slot, K top_k, V value_dim, C half of key_dim, Q
key_dim.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from smf.memory.product_keys import top_slots_by_key
from smf.memory.row_sparse import RowGradient, read_slots
from smf.memory.tables import copy_differing_rows, zero_table

QueryNorm = Literal["none", "rms"]
ValueType = Literal["float32", "bfloat16"]
OutputGate = Literal["none", "scalar"]


class MemoryLayer(nn.Module):
    """Reads ``top_k`` slots per head and token and returns their gated, weighted sum.

    out = (y * silu(x W_gate)) W_output, y = sum over heads of softmax(scores of the top_k slots) times their values;
    with a scalar output gate, out is multiplied by one learned scalar.

    Args:
        hidden_size: D, size of the input and of the output.
        num_keys: N, sub-keys per half; the table has N*N slots.
        num_heads: H, heads that address the same table independently.
        top_k: K, slots read per head and token.
        key_dim: Size of a query; even.
        value_dim: V, size of a slot.
        query_norm: ``rms`` divides each head's query by its root mean square, so that a hidden state of larger norm
            does not sharpen the token's softmax; ``none`` does not normalize.
        value_dtype: Dtype of the value table, independent of the other parameters; None takes torch's default. Reads
            run in this dtype, and their result is cast to the gate's.
        zero_output: Start with a zero output projection, so that the layer adds exactly nothing. Until the projection
            has moved, no gradient reaches the values.
        zero_values: Start with a zero value table, so that the layer adds exactly nothing, and the first gradient step
            reaches the values. On a CPU the table takes memory only where it is written (:mod:`smf.memory.tables`).
        output_gate: ``scalar`` multiplies the output by a learned scalar (Gupta et al., 2026); ``none`` does not.
        output_gate_init: Initial value of that scalar.
    """

    def __init__(
        self,
        hidden_size: int,
        *,
        num_keys: int,
        num_heads: int,
        top_k: int,
        key_dim: int,
        value_dim: int,
        query_norm: QueryNorm = "none",
        value_dtype: torch.dtype | None = None,
        zero_output: bool,
        zero_values: bool = False,
        output_gate: OutputGate = "none",
        output_gate_init: float = 0.0,
    ):
        super().__init__()
        self.num_keys, self.num_heads, self.top_k, self.key_dim = num_keys, num_heads, top_k, key_dim
        self.query_norm, self.zero_output, self.zero_values = query_norm, zero_output, zero_values
        self.output_gate_init = output_gate_init
        self.query = nn.Linear(hidden_size, num_heads * key_dim)
        self.keys_H2NC = nn.Parameter(torch.empty(num_heads, 2, num_keys, key_dim // 2))
        # Zeros replace the empty table below; memory for them may not be asked for here, there may be too little.
        self.values_SV = nn.Parameter(torch.empty(0 if zero_values else num_keys**2, value_dim, dtype=value_dtype))
        self.gate = nn.Linear(hidden_size, value_dim, bias=False)
        self.output = nn.Linear(value_dim, hidden_size, bias=False)
        self.output_gate = nn.Parameter(torch.empty(1)) if output_gate == "scalar" else None
        # Set while a stream is learned: only selected rows then get a gradient, not the whole table (row_sparse.py).
        self.row_gradient: RowGradient | None = None
        # Called with (slot indices, weights), both (B, T, H, K), by every forward pass (access.py).
        self.on_read: Callable[[Tensor, Tensor], None] | None = None
        self.reset_parameters()

    @property
    def num_slots(self) -> int:
        """S = N * N."""
        return self.num_keys**2

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw initial weights from torch's global generator (scales of Berges et al., 2024).

        Goes through ``transformers.initialization``, which skips weights that were loaded from a checkpoint.
        """
        bound = self.key_dim**-0.5
        init.uniform_(self.keys_H2NC, -bound, bound)
        if self.zero_values:
            old_SV = self.values_SV
            if not getattr(old_SV, "_is_hf_initialized", False):  # set by transformers, as its own functions heed it
                old_SV.data = zero_table(self.num_slots, old_SV.shape[1], old_SV.dtype, old_SV.device)
        else:
            init.normal_(self.values_SV, std=self.values_SV.shape[1] ** -0.5)
        init.xavier_uniform_(self.query.weight)
        init.zeros_(self.query.bias)
        init.normal_(self.gate.weight, std=self.gate.in_features**-0.5)
        if self.zero_output:
            init.zeros_(self.output.weight)
        else:
            init.normal_(self.output.weight, std=self.output.in_features**-0.5)
        if self.output_gate is not None:
            init.constant_(self.output_gate, self.output_gate_init)

    def follow(self, weight: Tensor) -> None:
        """Move to the device of ``weight``; all parameters but the value table take its dtype too."""
        for parameter in self.parameters():
            dtype = parameter.dtype if parameter is self.values_SV else weight.dtype
            parameter.data = parameter.data.to(weight.device, dtype)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *more: Any) -> None:
        """As of any module, but rows of a table that started at zero are written only where they differ."""
        name, own_SV = f"{prefix}values_SV", self.values_SV
        given_SV = state_dict.get(name)
        replaces = more[0].get("assign_to_params_buffers", False)  # torch's metadata: its own `assign`
        if self.zero_values and not replaces and given_SV is not None and _are_alike(own_SV, given_SV):
            with torch.no_grad():
                copy_differing_rows(own_SV, given_SV)
            state_dict = {**state_dict, name: own_SV}  # copied to itself: torch does nothing then
        super()._load_from_state_dict(state_dict, prefix, *more)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """Read the memory for each token: (B, T, D) to (B, T, D)."""
        batch, tokens, _ = hidden_BTD.shape
        slot_indices_XHK, weights_XHK, gate_XV = self.address(hidden_BTD.flatten(0, 1))  # X = B * T
        if self.on_read is not None:
            shape = (batch, tokens, self.num_heads, self.top_k)
            self.on_read(slot_indices_XHK.view(shape), weights_XHK.view(shape))
        read_XV = read_slots(self.values_SV, slot_indices_XHK.flatten(1), weights_XHK.flatten(1), self.row_gradient)
        output_XD = self.output(read_XV.to(gate_XV.dtype) * gate_XV)
        if self.output_gate is not None:
            output_XD = output_XD * self.output_gate
        return output_XD.view_as(hidden_BTD)

    def address(self, hidden_XD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the part of a read that does not depend on the values.

        Returns:
            Slot indices and softmax weights, both (X, H, K), and the gate (X, V).
        """
        queries_XHQ = self.query(hidden_XD).view(len(hidden_XD), self.num_heads, self.key_dim)
        if self.query_norm == "rms":
            queries_XHQ = F.rms_norm(queries_XHQ, (self.key_dim,))
        queries_XH2C = queries_XHQ.unflatten(-1, (2, -1))
        slot_indices_XHK, scores_XHK = top_slots_by_key(queries_XH2C, self.keys_H2NC, self.top_k)
        return slot_indices_XHK, scores_XHK.softmax(dim=-1), F.silu(self.gate(hidden_XD))


def _are_alike(first: Tensor, second: Tensor) -> bool:
    return (first.shape, first.dtype) == (second.shape, second.dtype) and not (first.is_meta or second.is_meta)
