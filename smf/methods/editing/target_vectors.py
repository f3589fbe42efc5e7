"""What MEMIT wants the subject's last token to carry: a vector added there that makes the model say the answer.

Shapes: B sequence, T token, H sequence that holds its fact's subject, F fact, D model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from smf.methods.editing.subjects import LocatedPart
from smf.methods.loss import language_model_loss


class TargetVectors:
    """One vector for each fact of a batch, found by Adam (Meng et al., 2022, equation 4; 2023, section 4.2).

    It minimizes the batch's loss + decay · mean over facts of |vector|² / |state|², within |vector| ≤ bound · |state|.

    Args:
        states_FD: The states that the vectors are added to, as they are without them.
        decay: Weight of the vectors' squared length.
        bound: Longest vector, relative to its state; None for no bound.

    Attributes:
        vectors_FD: The vectors; zero at first.
    """

    def __init__(self, states_FD: Tensor, decay: float, bound: float | None):
        self.vectors_FD = torch.zeros_like(states_FD, requires_grad=True)
        self._lengths_F = states_FD.norm(dim=1)
        self._decay, self._bound = decay, bound
        self._optimizer = torch.optim.Adam([self.vectors_FD], lr=0.0)

    def add_gradient(self, model: PreTrainedModel, site: nn.Module, part: LocatedPart, context: Cache | None) -> Tensor:
        """Add the gradient of a part's negative log-likelihood, summed over its labels; returns that sum.

        Args:
            model: The model; nothing of it requires gradient.
            site: Its module whose output carries the states.
            part: The part.
            context: What :meth:`LocatedPart.context` gives.
        """
        with self._added(site, part):
            loss = language_model_loss(model, part.batch, context) * part.batch.num_labels
            loss.backward()  # may run blocks again, so the vectors must still be added
        return loss.detach()

    def step(self, rate: float, num_labels: int) -> None:
        """Step the vectors along the gradients added since the last step.

        Args:
            rate: Adam's.
            num_labels: Labels of the whole batch.
        """
        vectors_FD = self.vectors_FD
        assert vectors_FD.grad is not None
        vectors_FD.grad /= num_labels
        shares_F1 = (self._decay / len(vectors_FD)) * 2 / self._lengths_F.square().unsqueeze(1)
        vectors_FD.grad += shares_F1 * vectors_FD.detach()
        self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._bound is not None:
            longest_F = self._bound * self._lengths_F
            with torch.no_grad():
                vectors_FD *= (longest_F / vectors_FD.norm(dim=1)).clamp(max=1.0).unsqueeze(1)

    @contextmanager
    def _added(self, site: nn.Module, part: LocatedPart) -> Iterator[None]:
        def add(_: nn.Module, __: Any, output: Any) -> Any:
            states_BTD = output[0] if isinstance(output, tuple) else output
            vectors_HD = self.vectors_FD[part.facts_H].to(states_BTD.dtype)
            moved_BTD = states_BTD.index_put((part.rows_H, part.positions_H), vectors_HD, accumulate=True)
            return (moved_BTD, *output[1:]) if isinstance(output, tuple) else moved_BTD

        hook = site.register_forward_hook(add)
        try:
            yield
        finally:
            hook.remove()
