"""Mean and variance of all vectors seen so far, updated batch by batch (Chan et al., 1979).

Shapes: X vector, Z feature.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class RunningStatistics:
    """Normalizes vectors by the mean and the standard deviation of each feature.

    Args:
        num_features: Z.
        epsilon: Added to the variance.
        device: Where they are kept, in float64.

    Attributes:
        number: Vectors seen so far, a scalar.
        mean_Z: Their mean.
        squares_Z: The sum of their squared distances from it.
    """

    def __init__(self, num_features: int, epsilon: float, device: torch.device):
        self.number = torch.zeros((), dtype=torch.float64, device=device)
        self.mean_Z = torch.zeros(num_features, dtype=torch.float64, device=device)
        self.squares_Z = torch.zeros_like(self.mean_Z)
        self._epsilon = epsilon

    def update(self, vectors_XZ: Tensor) -> None:
        """See more vectors."""
        vectors_XZ = vectors_XZ.double()
        more = len(vectors_XZ)
        total = self.number + more
        apart_Z = vectors_XZ.mean(0) - self.mean_Z
        self.squares_Z = (
            self.squares_Z
            + (vectors_XZ - vectors_XZ.mean(0)).square().sum(0)
            + apart_Z.square() * self.number * more / total
        )
        self.mean_Z = self.mean_Z + apart_Z * more / total
        self.number = total

    def normalized(self, vectors_XZ: Tensor) -> Tensor:
        """The vectors (X, Z) less the mean, over the root of the unbiased variance + epsilon."""
        variance_Z = self.squares_Z / (self.number - 1).clamp(min=1)
        return (vectors_XZ.double() - self.mean_Z) / (variance_Z + self._epsilon).sqrt()

    def state_dict(self) -> dict[str, Tensor]:
        """The three attributes."""
        return {"number": self.number.clone(), "mean": self.mean_Z.clone(), "squares": self.squares_Z.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore them."""
        device = self.mean_Z.device
        self.number, self.mean_Z, self.squares_Z = (state[name].to(device) for name in ("number", "mean", "squares"))
