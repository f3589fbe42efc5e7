"""Product-key search (Lample et al., 2019, section 3.1): the best of N*N slots from 2N scores.

Shapes: T token, H head, N keys per half, K top_k, C half of key_dim. A slot's key is the pair (first sub-key i, second
sub-key j), its score the sum of the two halves' scores, its index i * N + j.
"""

from functools import cache

import torch
from torch import Tensor


def top_slots_by_key(queries_TH2C: Tensor, keys_H2NC: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The ``top_k`` slots with the highest scores, for each token and head.

    Args:
        queries_TH2C: Queries, in two halves.
        keys_H2NC: Sub-keys of each head, N for each half.
        top_k: At most N slots, or all N*N of them if N is smaller.

    Returns:
        Slot indices (T, H, K) and their scores (T, H, K), highest first.
    """
    num_keys = keys_H2NC.shape[2]
    half_k = min(top_k, num_keys)
    scores_TH2N = torch.einsum("thpc,hpnc->thpn", queries_TH2C, keys_H2NC)
    half_scores_TH2K, half_indices_TH2K = scores_TH2N.topk(half_k, dim=-1)
    first, second = _candidate_pairs(half_k, top_k, queries_TH2C.device)
    candidates_THP = half_scores_TH2K[..., 0, first] + half_scores_TH2K[..., 1, second]
    scores_THK, pairs_THK = candidates_THP.topk(top_k, dim=-1)
    rows_THK = half_indices_TH2K[..., 0, :].gather(-1, first[pairs_THK])
    columns_THK = half_indices_TH2K[..., 1, :].gather(-1, second[pairs_THK])
    return rows_THK * num_keys + columns_THK, scores_THK


@cache
def _candidate_pairs(half_k: int, top_k: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Places (i, j) in the two sorted halves that can be among the best ``top_k`` sums.

    Each pair (a, b) with a <= i and b <= j scores at least as high as (i, j); there are (i + 1)(j + 1) of them, so a
    pair with (i + 1)(j + 1) > top_k is never needed.
    """
    pairs = [(i, j) for i in range(half_k) for j in range(half_k) if (i + 1) * (j + 1) <= top_k]
    first, second = zip(*pairs, strict=True)
    return torch.tensor(first, device=device), torch.tensor(second, device=device)
