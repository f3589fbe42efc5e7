"""Elastic weight consolidation (Kirkpatrick et al., 2017): holds back weights that matter for ordinary text.

A step minimizes the facts' loss plus

    strength / 2 * sum over weights i of F_i (w_i - start_i)²,

where F is the diagonal of the empirical Fisher information of the start model on background text: the mean, over N
single sequences x, of (d/dw_i sum over tokens t of -log p(x_t | x_<t))². As in the paper, a datum is a whole sequence:
its tokens' log-likelihoods are summed, not averaged, and each sequence's gradient is squared, not a batch's. It is
empirical, because x is text and not drawn from the model: the two agree only where the model fits the text.

F is then divided by its mean over all weights. So ``strength`` is the penalty on an average weight, whatever the size
of the model, the length of sequences and the number of tokens. The largest F_i are many times the mean: SGD diverges
where learning_rate * strength * F_i exceeds 2. AdamW does not, because the rate bounds its steps; where the penalty
outweighs the facts, its steps get short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from smf.methods.dense import DenseSettings
from smf.methods.full import FullFinetuning
from smf.methods.kind_settings import GivenSettings
from smf.methods.method import Footprint, StepReport
from smf.methods.ordinary_text import ReadsOrdinaryText
from smf.settings.section import Count, NonNegativeNumber

if TYPE_CHECKING:
    from torch import Tensor

    from smf.files.model_shape import BaseShape, MemoryShape
    from smf.streams.batches import Batch


class EWCSettings(DenseSettings):
    """Settings of elastic weight consolidation."""

    strength: NonNegativeNumber = 1.0
    """Weight of the penalty: strength / 2 * F_i (w_i - start_i)², the mean of all F_i being 1."""
    fisher_sequences: Count = 256
    """Sequences of background text that the Fisher information is measured on, once."""


class ElasticWeightConsolidation(ReadsOrdinaryText, FullFinetuning):
    """Trains all weights; a penalty pulls each back to its start, scaled by its Fisher information.

    See Kirkpatrick et al. (2017). The first step measures that information at the current weights, and adds the tokens
    that it reads for this to its report.

    Attributes:
        fisher: The information of each weight, 1 on average, in the order of the model's parameters; none before the
            first step.
    """

    settings_class = EWCSettings
    settings: EWCSettings
    fisher: Sequence[Tensor] = ()
    _start: Sequence[Tensor] = ()

    @classmethod
    def footprint(cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, **stream: int) -> Footprint:
        """Adds the Fisher information, the start weights, and passes over one sequence."""
        full = super().footprint(settings, base, memory, **stream)
        number = full.gradients
        return replace(full, state=full.state + number, start_copies=number, text_share=0.0)

    def step(self, batch: Batch) -> StepReport:
        """Take one step; before the first, measure the Fisher information."""
        num_tokens = 0 if self.fisher else self._measure()
        report = super().step(batch)
        return replace(report, num_tokens=report.num_tokens + num_tokens)

    def state_dict(self) -> dict[str, Tensor]:
        """Adds the Fisher information and the start weights."""
        measured = {f"fisher.{place}": fisher for place, fisher in enumerate(self.fisher)}
        start = {f"start.{place}": weight for place, weight in enumerate(self._start)}
        return {**super().state_dict(), **measured, **start}

    def load_state_dict(self, state: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> None:
        """Restore the Fisher information and the start weights too."""
        super().load_state_dict(state, delta)
        places = range(len(self._trained) if "fisher.0" in state else 0)
        device = self.model.device
        self.fisher = [state[f"fisher.{place}"].to(device) for place in places]
        self._start = [state[f"start.{place}"].to(device) for place in places]

    def _measure(self) -> int:
        """Measure the Fisher information; returns the number of tokens read."""
        import torch

        self._start = [weight.detach().clone() for weight in self._trained]
        self.fisher = [
            torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32)) for weight in self._trained
        ]
        num_tokens = 0
        for tokens in self.sequence_gradients(self.settings.fisher_sequences):
            num_tokens += tokens
            self._add_squares()
        mean = sum(fisher.sum() for fisher in self.fisher) / sum(fisher.numel() for fisher in self.fisher)
        for fisher in self.fisher:
            fisher.div_(mean)
        return num_tokens

    def _add_squares(self) -> None:
        for weight, fisher in zip(self._trained, self.fisher, strict=True):
            if weight.grad is not None:
                gradient, weight.grad = weight.grad.to(fisher.dtype), None
                fisher.addcmul_(gradient, gradient)

    def add_penalty(self, trained: Sequence[Tensor]) -> None:
        """Add strength * F_i * (w_i - start_i)."""
        import torch

        for weight, fisher, start in zip(trained, self.fisher, self._start, strict=True):
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            weight.grad.addcmul_(fisher, weight.detach() - start, value=self.settings.strength)
