"""How an edit of keys is spread over the entries of a weight, so that other keys are mapped nearly as before.

An edit of N keys K (N, U) by residuals R (N, D) is the weight shift Rᵀ X, where X (N, U) is what the classes here give.

Shapes: B sequence, T token, U hidden unit, N edited key, M earlier key, P direction of the null space.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from smf.errors import ConfigError
from smf.methods.editing.maps import recorded_keys
from smf.models.context_cache import inputs_of
from smf.models.logits import final_states
from smf.streams.batches import Batch


@torch.no_grad()
def key_products(model: PreTrainedModel, maps: Mapping[int, nn.Linear], text: Batch) -> dict[int, Tensor]:
    """The sum over a text's tokens of kkᵀ (U, U), k being the input of a map, by block; in float64."""
    with recorded_keys(maps) as recorded:
        final_states(model, **inputs_of(model, text))
    products = {}
    for block, keys_BTU in recorded.items():
        keys_XU = keys_BTU[text.attention_mask_BT.bool()]
        keys_XU = keys_XU.to(torch.promote_types(keys_XU.dtype, torch.float32))
        products[block] = (keys_XU.T @ keys_XU).double()
    return products


class KeyRidge(ABC):
    """A ridge regression from keys to residuals.

    Attributes:
        earlier_MU: The keys of earlier edits; None if they do not count.
    """

    earlier_MU: Tensor | None = None

    @abstractmethod
    def spread(self, keys_NU: Tensor) -> Tensor:
        """X (N, U), in float64."""

    def remember(self, keys_NU: Tensor) -> None:  # noqa: B027 (MEMIT forgets them)
        """Count keys as those of earlier edits."""


class CovarianceRidge(KeyRidge):
    """MEMIT's (Meng et al., 2023, equation 14): Xᵀ = (λC + KᵀK)⁻¹ Kᵀ.

    C (U, U) is the uncentred covariance of ordinary text's keys. Computed as A (I + K A)⁻¹ with A = (λC)⁻¹ Kᵀ, which is
    the same: C is decomposed once, and each edit solves a system of N unknowns.

    Args:
        covariance_UU: C.
        weight: λ.

    Raises:
        ConfigError: C is singular: the text has too few tokens.
    """

    def __init__(self, covariance_UU: Tensor, weight: float):
        self._root_UU, failed = torch.linalg.cholesky_ex(weight * covariance_UU.double())
        if failed:
            raise ConfigError(
                f"the covariance of {len(covariance_UU)} hidden units' activations on background text is singular, so "
                "MEMIT's update is not defined; raise covariance_sequences, or give more background text"
            )

    def spread(self, keys_NU: Tensor) -> Tensor:
        """X (N, U), in float64."""
        keys_UN = keys_NU.double().T
        solved_UN = torch.cholesky_solve(keys_UN, self._root_UU)
        inner_NN = torch.eye(len(keys_NU), dtype=torch.float64, device=keys_UN.device) + keys_UN.T @ solved_UN
        return torch.linalg.solve(inner_NN.T, solved_UN.T)


class NullSpaceRidge(KeyRidge):
    """AlphaEdit's (Fang et al., 2025, equation 14): Xᵀ = (P (MᵀM + KᵀK) P + αI)⁻¹ P Kᵀ.

    P projects onto the eigenvectors of C whose eigenvalues are below a threshold; M (M, U) are the keys of earlier
    edits, which are to be mapped as before. With A the rows of M and K times P, X is the rows of (αI + A Aᵀ)⁻¹ A that
    belong to K.

    Args:
        covariance_UU: C.
        threshold: Largest eigenvalue of the null space.
        ridge: α.

    Raises:
        ConfigError: No eigenvalue is below the threshold.
    """

    def __init__(self, covariance_UU: Tensor, threshold: float, ridge: float):
        values_U, vectors_UU = torch.linalg.eigh(covariance_UU.double())
        self._basis_UP = vectors_UU[:, values_U < threshold]
        if not self._basis_UP.shape[1]:
            raise ConfigError(
                f"null_space_threshold is {threshold}, but the smallest eigenvalue of the keys' covariance is "
                f"{float(values_U[0]):.2g} (the median is {float(values_U.median()):.2g}); raise it"
            )
        self._ridge = ridge
        self.earlier_MU: Tensor = covariance_UU.new_empty(0, len(covariance_UU))

    def spread(self, keys_NU: Tensor) -> Tensor:
        """X (N, U), in float64."""
        every = torch.cat([self.earlier_MU.to(keys_NU), keys_NU]).double()
        inside = every @ self._basis_UP  # in coordinates of the null space
        inner = inside @ inside.T
        inner.diagonal().add_(self._ridge)
        return torch.linalg.solve(inner, inside)[-len(keys_NU) :] @ self._basis_UP.T

    def remember(self, keys_NU: Tensor) -> None:
        """Count keys as those of earlier edits."""
        self.earlier_MU = torch.cat([self.earlier_MU.to(keys_NU), keys_NU])
