"""How others train chosen slots: written from published descriptions, to be compared with, never to be used.

All share one layer: product keys, two ``topk`` of the halves and one of all K * K sums, a table that torch reads with
``embedding_bag``. They differ in what they do with its gradient.

Shapes: T token, H head, N keys per half, K top_k, C half of key_dim, S slot, V value_dim, L = H * K.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PublishedMemory(nn.Module):
    """A memory layer as Lample et al. (2019) and Berges et al. (2024) describe it, with TF-IDF slot selection.

    Args:
        sizes: Of :class:`benchmarks.layers.Sizes`.
        sparse: Whether the table gets a sparse gradient, an entry for each lookup.
    """

    def __init__(self, sizes, sparse=False):
        super().__init__()
        self.sizes = sizes
        self.query = nn.Linear(sizes.value_dim, sizes.num_heads * sizes.key_dim)
        self.keys_H2NC = nn.Parameter(torch.empty(sizes.num_heads, 2, sizes.num_keys, sizes.key_dim // 2))
        self.values = nn.EmbeddingBag(sizes.num_slots, sizes.value_dim, mode="sum", sparse=sparse)
        self.gate = nn.Linear(sizes.value_dim, sizes.value_dim, bias=False)
        self.output = nn.Linear(sizes.value_dim, sizes.value_dim, bias=False)
        nn.init.uniform_(self.keys_H2NC, -(sizes.key_dim**-0.5), sizes.key_dim**-0.5)
        self.requires_grad_(False)
        self.values.weight.requires_grad_(True)

    def search(self, hidden_TD: Tensor) -> tuple[Tensor, Tensor]:
        """Slots and weights (T, L)."""
        sizes = self.sizes
        queries_TH2C = self.query(hidden_TD).view(len(hidden_TD), sizes.num_heads, 2, -1)
        halves_TH2N = torch.einsum("thpc,hpnc->thpn", queries_TH2C, self.keys_H2NC)
        scores_TH2K, places_TH2K = halves_TH2N.topk(sizes.top_k, dim=-1)
        sums_THKK = scores_TH2K[..., 0, :, None] + scores_TH2K[..., 1, None, :]
        slots_THKK = places_TH2K[..., 0, :, None] * sizes.num_keys + places_TH2K[..., 1, None, :]
        best_THK, pairs_THK = sums_THKK.flatten(-2).topk(sizes.top_k, dim=-1)
        slots_THK = slots_THKK.flatten(-2).gather(-1, pairs_THK)
        return slots_THK.flatten(1), best_THK.softmax(-1).flatten(1)

    def forward(self, hidden_TD: Tensor) -> Tensor:
        """(T, D) to (T, D); keeps the slots that were read."""
        slots_TL, weights_TL = self.search(hidden_TD)
        self.last_slots_TL = slots_TL
        return self.output(self.values(slots_TL, per_sample_weights=weights_TL) * F.silu(self.gate(hidden_TD)))

    def choose(self, document_frequency_S: Tensor, num_documents: int) -> Tensor:
        """The ``top_t`` slots by TF-IDF, over the whole table."""
        counts_S = torch.bincount(self.last_slots_TL.flatten(), minlength=self.sizes.num_slots)
        idf_S = ((num_documents + 1) / (document_frequency_S + 1)).log()
        return (counts_S / counts_S.sum() * idf_S).topk(self.sizes.top_t).indices


class FlatMemory(PublishedMemory):
    """One key per slot in place of product keys: every query is compared with every slot."""

    def __init__(self, sizes):
        super().__init__(sizes)
        self.flat_keys_HSQ = nn.Parameter(torch.randn(sizes.num_heads, sizes.num_slots, sizes.key_dim))
        self.flat_keys_HSQ.requires_grad_(False)

    def search(self, hidden_TD: Tensor) -> tuple[Tensor, Tensor]:
        """Slots and weights (T, L)."""
        queries_THQ = self.query(hidden_TD).view(len(hidden_TD), self.sizes.num_heads, -1)
        scores_THS = torch.einsum("thq,hsq->ths", queries_THQ, self.flat_keys_HSQ)
        best_THK, slots_THK = scores_THS.topk(self.sizes.top_k, dim=-1)
        return slots_THK.flatten(1), best_THK.softmax(-1).flatten(1)


class MaskedDenseStep:
    """The dense gradient of the whole table, multiplied by a mask of the chosen slots; then a dense optimizer."""

    def __init__(self, memory: PublishedMemory, optimizer: torch.optim.Optimizer):
        self.memory, self.optimizer = memory, optimizer
        self.table_SV = memory.values.weight

    def forward(self, hidden_TD: Tensor) -> Tensor:
        """Reads."""
        return self.memory(hidden_TD)

    def select(self, document_frequency_S: Tensor, num_documents: int) -> Tensor:
        """Chooses the slots."""
        self.chosen_R = self.memory.choose(document_frequency_S, num_documents)
        return self.chosen_R

    def backward(self, out_TD: Tensor, upstream_TD: Tensor) -> None:
        """Gradient and update."""
        out_TD.backward(upstream_TD)
        mask_S1 = self.table_SV.new_zeros(len(self.table_SV), 1)
        mask_S1[self.chosen_R] = 1.0
        self.table_SV.grad *= mask_S1
        self.optimizer.step()
        self.optimizer.zero_grad()


class SparseGradientStep(MaskedDenseStep):
    """``EmbeddingBag(sparse=True)`` and ``SparseAdam``: all slots that were read train, the selection has no say."""

    def backward(self, out_TD: Tensor, upstream_TD: Tensor) -> None:
        """Gradient and update."""
        out_TD.backward(upstream_TD)
        self.optimizer.step()
        self.optimizer.zero_grad()
