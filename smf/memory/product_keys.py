"""Product-key search (Lample et al., 2019, section 3.1): the best of N*N slots from 2N scores.

Shapes: T token, H head, N keys per half, K top_k, C half of key_dim. A slot's key is the pair (first sub-key i, second
sub-key j), its score the sum of the two halves' scores, its index i * N + j.
"""

from functools import cache

import torch
from torch import Tensor

_BLOCK = 8


def top_slots_by_key(queries_TH2C: Tensor, keys_H2NC: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The ``top_k`` slots with the highest scores, for each token and head.

    Args:
        queries_TH2C: Queries, in two halves.
        keys_H2NC: Sub-keys of each head, N for each half.
        top_k: At most N*N.

    Returns:
        Slot indices (T, H, K) and their scores (T, H, K), highest first.
    """
    num_keys = keys_H2NC.shape[2]
    half_k = min(top_k, num_keys)
    scores_TH2N = torch.einsum("thpc,hpnc->thpn", queries_TH2C, keys_H2NC)
    half_scores_TH2K, half_indices_TH2K = _top(scores_TH2N, half_k)
    first, second = _candidate_pairs(half_k, top_k, queries_TH2C.device)
    candidates_THP = half_scores_TH2K[..., 0, first] + half_scores_TH2K[..., 1, second]
    scores_THK, pairs_THK = candidates_THP.topk(top_k, dim=-1)
    rows_THK = half_indices_TH2K[..., 0, :].gather(-1, first[pairs_THK])
    columns_THK = half_indices_TH2K[..., 1, :].gather(-1, second[pairs_THK])
    return rows_THK * num_keys + columns_THK, scores_THK


def _top(scores_TH2N: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """``scores_TH2N.topk(top_k)``, several times faster for long rows and small ``top_k`` on a CPU.

    The best K entries lie in the K blocks with the highest maxima, so only those are sorted.
    """
    num_keys = scores_TH2N.shape[-1]
    num_blocks = num_keys // _BLOCK
    if num_keys % _BLOCK or num_blocks < 2 * top_k:
        return scores_TH2N.topk(top_k, dim=-1)
    blocks_TH2MB = scores_TH2N.unflatten(-1, (num_blocks, _BLOCK))
    best_TH2K1 = blocks_TH2MB.amax(-1).topk(top_k, dim=-1, sorted=False).indices.unsqueeze(-1)
    kept_TH2KB = blocks_TH2MB.gather(-2, best_TH2K1.expand(*best_TH2K1.shape[:-1], _BLOCK))
    scores_TH2K, places_TH2K = kept_TH2KB.flatten(-2).topk(top_k, dim=-1)
    block_TH2K = best_TH2K1.squeeze(-1).gather(-1, places_TH2K // _BLOCK)
    return scores_TH2K, block_TH2K * _BLOCK + places_TH2K % _BLOCK


@cache
@torch.inference_mode(False)  # tensors made in inference mode could not be used in training afterwards
def _candidate_pairs(half_k: int, top_k: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Places (i, j) in the two sorted halves that can be among the best ``top_k`` sums.

    Each pair (a, b) with a <= i and b <= j scores at least as high as (i, j); there are (i + 1)(j + 1) of them, so a
    pair with (i + 1)(j + 1) > top_k is never needed.
    """
    pairs = [(i, j) for i in range(half_k) for j in range(half_k) if (i + 1) * (j + 1) <= top_k]
    first, second = zip(*pairs, strict=True)
    return torch.tensor(first, device=device), torch.tensor(second, device=device)
