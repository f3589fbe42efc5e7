"""Product-key search (Lample et al., 2019, section 3.1): the best of N*N slots from 2N scores.

Shapes: T token, H head, N keys per half, K top_k, C half of key_dim. A slot's key is the pair (first sub-key i, second
sub-key j), its score the sum of the two halves' scores, its index i * N + j.
"""

from functools import cache

import torch
from torch import Tensor

from smf.memory.bags import sizes_are_free
from smf.memory.ranking import best_by_value

_SHORT = 256
"""Rows up to this length are searched directly, without blocks."""
_BLOCK = 4
_TOKENS_AT_ONCE = 128
"""Chunk size on a CPU, whose cache holds the scores of this many tokens."""


def top_slots_by_key(queries_TH2C: Tensor, keys_H2NC: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The ``top_k`` slots with the highest scores, for each token and head; ties go to the lower slot.

    Scores are summed in float32 (float64 for float64 input), even if the model has a lower precision.

    Args:
        queries_TH2C: Queries, in two halves.
        keys_H2NC: Sub-keys of each head, N for each half.
        top_k: At most N*N.

    Returns:
        Slot indices (T, H, K) and their scores (T, H, K), highest first.
    """
    if not sizes_are_free(queries_TH2C.device) or len(queries_TH2C) <= _TOKENS_AT_ONCE:
        return _top_slots(queries_TH2C, keys_H2NC, top_k)
    parts = [_top_slots(part, keys_H2NC, top_k) for part in queries_TH2C.split(_TOKENS_AT_ONCE)]
    slots_THK, scores_THK = zip(*parts, strict=True)
    return torch.cat(slots_THK), torch.cat(scores_THK)


def _top_slots(queries_TH2C: Tensor, keys_H2NC: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    # Keep the layout of the matmul: (T, H, 2, N) would copy the largest tensor of the search.
    scores_H2TN = queries_TH2C.permute(1, 2, 0, 3) @ keys_H2NC.transpose(-1, -2)
    if scores_H2TN.dtype != torch.float64:
        scores_H2TN = scores_H2TN.float()
    slots_HTK = search(scores_H2TN.detach(), top_k)
    num_keys = keys_H2NC.shape[2]
    first_HTK = scores_H2TN[:, 0].gather(-1, slots_HTK // num_keys)
    second_HTK = scores_H2TN[:, 1].gather(-1, slots_HTK % num_keys)
    return slots_HTK.transpose(0, 1), (first_HTK + second_HTK).transpose(0, 1)


@torch.no_grad()
def search(scores_H2TN: Tensor, top_k: int) -> Tensor:
    """Slots (H, T, K) with the highest sums of two half scores, highest first; ties go to the lower slot.

    Only candidate pairs are formed. In halves sorted by score and index, each pair (a, b) with a <= i and b <= j comes
    before (i, j): its sum is higher, or both halves' scores are equal and its slot is lower. There are (i + 1)(j + 1)
    of these, so a pair with (i + 1)(j + 1) > top_k is never among the best. (Only different sums that float rounding
    makes equal could escape this; the one with the higher exact sum is then kept.)
    """
    num_keys = scores_H2TN.shape[-1]
    half_scores_H2TK, half_indices_H2TK = best_half_scores(scores_H2TN, min(top_k, num_keys))
    first_P, second_P = _candidate_pairs(half_scores_H2TK.shape[-1], top_k, scores_H2TN.device)
    first_HTP, second_HTP = _pairs(half_scores_H2TK, first_P, second_P)
    rows_HTP, columns_HTP = _pairs(half_indices_H2TK, first_P, second_P)
    return best_by_value(first_HTP.add_(second_HTP), top_k, rows_HTP.mul_(num_keys).add_(columns_HTP))[1]


def _pairs(halves_H2TK: Tensor, first_P: Tensor, second_P: Tensor) -> tuple[Tensor, Tensor]:
    return halves_H2TK[:, 0].index_select(-1, first_P), halves_H2TK[:, 1].index_select(-1, second_P)


def best_half_scores(scores_XN: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The highest scores of each row and their positions, highest first; ties go to the earlier position.

    Long rows are split into small blocks. The best entries lie in the ``number`` blocks with the highest maxima,
    because every other block ranks behind that many maxima; the same search finds these blocks.
    """
    *rows, num_keys = scores_XN.shape
    num_blocks = num_keys // _BLOCK
    if num_keys <= _SHORT or num_keys % _BLOCK or num_blocks < number:
        return best_by_value(scores_XN, number)
    blocks_MB = scores_XN.reshape(-1, _BLOCK)  # all rows, concatenated
    kept_XK = best_half_scores(blocks_MB.amax(-1).view(*rows, num_blocks), number)[1]
    first_block_X1 = torch.arange(0, len(blocks_MB), num_blocks, device=kept_XK.device).view(*rows, 1)
    kept_XKB = blocks_MB.index_select(0, (kept_XK + first_block_X1).flatten()).view(*rows, -1)
    places_XKB = (kept_XK * _BLOCK).unsqueeze(-1) + torch.arange(_BLOCK, device=kept_XK.device)
    return best_by_value(kept_XKB, number, places_XKB.flatten(-2))


@cache
@torch.inference_mode(False)  # tensors made in inference mode could not be used in training afterwards
def _candidate_pairs(half_k: int, top_k: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Positions (i, j) in the two sorted halves with (i + 1)(j + 1) <= top_k."""
    pairs = [(i, j) for i in range(half_k) for j in range(half_k) if (i + 1) * (j + 1) <= top_k]
    first, second = zip(*pairs, strict=True)
    return torch.tensor(first, device=device), torch.tensor(second, device=device)
