"""Attention over branching texts (a trunk and its continuations), packed end to end into a single row.

The model reads a trunk once and every branch continues from it, instead of reading the trunk again before each branch.
Every operation but attention treats each token separately, so a row needs no padding and the model no change. Attention
runs on one piece of the row at a time, or on several at once where a kernel call costs more than padding.

Shapes: T token of the row, N piece of a group, P token of a piece, S token that a piece attends to, H head, K key and
value head, D head size.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from smf.errors import ConfigError

_NAME = "smf_branches"
_KERNELS = ("sdpa", "eager")
ONE_BY_ONE = ("cpu",)
"""Devices on which padding costs more than extra kernel calls, so that each piece gets its own call."""
_CPU_MULTIPLE = 16
"""A CPU multiplies matrices faster if their columns are padded to a multiple of this."""


class Piece(NamedTuple):
    """Columns ``start`` to ``stop`` of a row, which attend causally to themselves and to all columns of their trunk.

    ``trunk`` is an earlier piece, or None.
    """

    start: int
    stop: int
    trunk: "Piece | None" = None


class Pieces:
    """The pieces of a row, grouped by attention call: one piece per call, or all trunks and then all branches.

    Args:
        pieces: The pieces, in row order; together they cover the row.
        kernels: ``sdpa`` or ``eager``, as transformers calls them, for each of the model's configs, by ``id``.
        device: The model's device.
    """

    def __init__(self, pieces: Sequence[Piece], kernels: Mapping[int, str], device: torch.device):
        self._kernels = kernels
        self._on_cpu = device.type == "cpu"
        self._multiple = _CPU_MULTIPLE if self._on_cpu else 1
        one_by_one = device.type in ONE_BY_ONE
        trunks, branches = ([piece for piece in pieces if bool(piece.trunk) == branch] for branch in (False, True))
        groups = [[piece] for piece in pieces] if one_by_one else [group for group in (trunks, branches) if group]
        self._groups = [_Group(group, self._multiple, device) for group in groups]
        order = [column for group in groups for piece in group for column in range(piece.start, piece.stop)]
        self._order_T = None if one_by_one else torch.tensor(order, device=device).argsort()

    def attend(
        self,
        module: nn.Module,
        query_1HTD: Tensor,
        key_1KTD: Tensor,
        value_1KTD: Tensor,
        scaling: float,
        sliding_window: int | None = None,
        softcap: float | None = None,
        **options: object,
    ) -> Tensor:
        """Compute the row's attention output, (1, T, H, D): the same as for each text alone."""
        kernel = self._kernels[id(module.config)]
        if kernel == "sdpa" and softcap is not None:
            raise ConfigError(
                "the model soft-caps attention scores, which sdpa does not support; load it with eager attention"
            )
        width = value_1KTD.shape[-1]
        wide = max(query_1HTD.shape[-1], width)
        wide += -wide % self._multiple
        query_1HTD, key_1KTD, value_1KTD = (
            F.pad(part, (0, wide - part.shape[-1], 0, self._multiple - 1))
            for part in (query_1HTD, key_1KTD, value_1KTD)
        )
        both_2HTD = torch.cat([key_1KTD, value_1KTD])
        # with a mask, only the CPU's sdpa kernels accept fewer key heads than query heads; eager repeats them itself
        fewer = kernel == "eager" or self._on_cpu
        if not fewer:
            both_2HTD = both_2HTD.repeat_interleave(query_1HTD.shape[1] // key_1KTD.shape[1], 1)
        outputs = []
        for group in self._groups:
            query_NHPD = group.queries(query_1HTD)
            key_NHSD, value_NHSD = group.seen(both_2HTD)
            if kernel == "sdpa":
                mask_N1PS = group.mask(sliding_window, query_1HTD.dtype)
                output_NPHD = F.scaled_dot_product_attention(
                    query_NHPD,
                    key_NHSD,
                    value_NHSD,
                    mask_N1PS,
                    is_causal=mask_N1PS is None,
                    scale=scaling,
                    enable_gqa=fewer,
                ).transpose(1, 2)
            else:
                eager = sys.modules[type(module).__module__].eager_attention_forward  # each architecture has its own
                mask_N1PS = group.mask(sliding_window, query_1HTD.dtype, always=True)
                output_NPHD, _ = eager(
                    module, query_NHPD, key_NHSD, value_NHSD, mask_N1PS, scaling=scaling, softcap=softcap, **options
                )
            outputs.append(group.own(output_NPHD.flatten(0, 1)))
        output_THD = torch.cat(outputs)[..., :width]
        return (output_THD if self._order_T is None else output_THD[self._order_T]).unsqueeze(0)


class _Group:
    """The pieces of one call: queries padded to the longest piece, keys and values to a multiple of ``multiple``."""

    def __init__(self, pieces: Sequence[Piece], multiple: int, device: torch.device):
        self._number = len(pieces)
        self._device = device
        self._first = pieces[0]
        columns = [range(piece.start, piece.stop) for piece in pieces]
        trunks = [range(piece.trunk.start, piece.trunk.stop) if piece.trunk else range(0) for piece in pieces]
        self._before = list(map(len, trunks))
        self._width = max(map(len, columns))
        reach = max(before + len(part) for before, part in zip(self._before, columns, strict=True))
        self._reach = reach + -reach % multiple
        self._masks: dict[int | None, Tensor] = {}
        if self._number > 1:
            seen = [[*trunk, *part] for trunk, part in zip(trunks, columns, strict=True)]
            own = [[number * self._width + place for place in range(len(part))] for number, part in enumerate(columns)]
            self._columns, self._seen, self._own = (
                torch.tensor(numbers, device=device)
                for numbers in (
                    _filled(columns, self._width),
                    _filled(seen, self._reach),
                    [place for part in own for place in part],
                )
            )

    def queries(self, query_1HTD: Tensor) -> Tensor:
        """The queries of each piece, (N, H, P, D)."""
        if self._number == 1:
            return query_1HTD[:, :, self._first.start : self._first.stop]
        return query_1HTD[0].index_select(1, self._columns).unflatten(1, (self._number, -1)).transpose(0, 1)

    def seen(self, both_2HTD: Tensor) -> Tensor:
        """The keys and values that each piece attends to, in text order, (2, N, H, S, D)."""
        if self._number > 1:
            return both_2HTD.index_select(2, self._seen).unflatten(2, (self._number, -1)).transpose(1, 2)
        # the columns after the piece serve as padding, which the piece cannot see
        start, _, trunk = self._first
        own_2HPD = both_2HTD[:, :, start : start + self._reach - self._before[0]]
        if trunk is None:
            return own_2HPD.unsqueeze(1)
        return torch.cat([both_2HTD[:, :, trunk.start : trunk.stop], own_2HPD], 2).unsqueeze(1)

    def own(self, output_QHD: Tensor) -> Tensor:
        """The outputs of all pieces, concatenated, without padding."""
        return output_QHD if self._number == 1 else output_QHD[self._own]

    def mask(self, window: int | None, dtype: torch.dtype, *, always: bool = False) -> Tensor | None:
        """The additive attention mask, (N, 1, P, S); None where plain causal attention is enough.

        Padding comes after a piece's last token, so causality hides it.
        """
        if window is not None and window >= self._reach:
            window = None
        if window is None and not any(self._before) and not always:
            return None
        if window not in self._masks:
            device = self._device
            places_P, places_S = (torch.arange(length, device=device) for length in (self._width, self._reach))
            places_NP1 = (torch.tensor(self._before, device=device)[:, None] + places_P).unsqueeze(-1)
            hidden_NPS = places_S > places_NP1
            if window is not None:
                hidden_NPS |= places_S <= places_NP1 - window
            mask_NPS = torch.zeros_like(hidden_NPS, dtype=dtype).masked_fill_(hidden_NPS, torch.finfo(dtype).min)
            self._masks[window] = mask_NPS.unsqueeze(1)
        return self._masks[window]


def _filled(rows: Sequence[Sequence[int]], width: int) -> list[int]:
    """Concatenate all rows, each padded to ``width`` with its first column."""
    return [column for row in rows for column in (*row, *[row[0]] * (width - len(row)))]


@contextmanager
def branching_attention(model: PreTrainedModel) -> Iterator[Callable[[Sequence[Piece]], Pieces]]:
    """Make the model attend by pieces: its ``forward`` then needs ``pieces``, which the yielded function builds.

    Raises:
        ConfigError: The model's attention is neither sdpa nor eager.
    """
    parts = (getattr(module, "config", None) for module in model.modules())
    configs = {id(config): config for config in parts if isinstance(config, PreTrainedConfig)}
    kernels = {key: config._attn_implementation for key, config in configs.items()}
    if others := sorted({str(kernel) for kernel in kernels.values()} - set(_KERNELS)):
        raise ConfigError(
            f"the model's attention is {', '.join(others)}, but evaluation needs {' or '.join(_KERNELS)}; "
            "load the model with attn_implementation"
        )
    try:
        for config in configs.values():
            config._attn_implementation = _NAME
        yield lambda pieces: Pieces(pieces, kernels, model.device)
    finally:
        for key, config in configs.items():
            config._attn_implementation = kernels[key]


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _: Tensor | None,
    *,
    pieces: Pieces,
    scaling: float,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **options: object,
) -> tuple[Tensor, None]:
    return pieces.attend(module, query, key, value, scaling, sliding_window, softcap, **options), None


AttentionInterface.register(_NAME, _attend)
