"""Compute a prefix that prompts share only once, such as the solved examples before every question.

Shapes: B prompt, T token of the padded prompts.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from smf.models.context_cache import context_cache, sees_all

_LEAST = 8
"""Fewest shared tokens worth a pass of their own; for fewer it costs more than it saves."""


class Prefixed(NamedTuple):
    """Prompts, with their shared prefix in a cache.

    Attributes:
        ids_BT: Their token ids: the prefix, padding, and the rest of each prompt. As wide as before.
        mask_BT: 1 for real tokens.
        cache: Keys and values of the prefix, for each prompt; None if they share too little or a window is too short.
    """

    ids_BT: Tensor
    mask_BT: Tensor
    cache: Cache | None


@torch.inference_mode()
def with_shared_prefix(model: PreTrainedModel, ids_BT: Tensor, mask_BT: Tensor, longest: int) -> Prefixed:
    """Compute the prefix that all prompts share.

    Args:
        model: In evaluation mode.
        ids_BT: Prompts, padded on the left.
        mask_BT: 1 for real tokens, 0 for padding.
        longest: Most tokens of prompt and answer together.
    """
    lengths_B = mask_BT.sum(1)
    shared = _shared(ids_BT, lengths_B) if len(ids_BT) > 1 else 0
    # A sliding window would count the padding between prefix and question as distance.
    if shared < _LEAST or not sees_all(model, longest):
        return Prefixed(ids_BT, mask_BT, None)
    prefix_1P = ids_BT[:1, ids_BT.shape[1] - lengths_B[0] :][:, :shared]
    cache = context_cache(model, prefix_1P[0])
    cache.batch_repeat_interleave(len(ids_BT))
    moved_BT, seen_BT = ids_BT.clone(), torch.ones_like(mask_BT)
    for row, length in enumerate(lengths_B.tolist()):
        start = ids_BT.shape[1] - length  # of the prompt, behind its padding
        moved_BT[row, :shared] = prefix_1P[0]
        moved_BT[row, shared : shared + start] = ids_BT[row, :start]
        seen_BT[row, shared : shared + start] = 0
    return Prefixed(moved_BT, seen_BT, cache)


def _shared(ids_BT: Tensor, lengths_B: Tensor) -> int:
    """Length of the prefix that all prompts share, in tokens; at least one token of each prompt stays outside it."""
    least = int(lengths_B.min()) - 1
    starts = (ids_BT.shape[1] - lengths_B).tolist()
    rows = [ids_BT[row, start : start + least] for row, start in enumerate(starts)]
    same = (torch.stack(rows) == rows[0]).all(0)
    return int(same.cumprod(0).sum())
