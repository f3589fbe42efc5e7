"""UltraEdit (Gu et al., 2025): each step is one closed-form edit, made of hidden states and gradients alone.

No subject is located, no ordinary text is read and nothing is optimized. Of each of the ``blocks``, h_i is the key of
token i, the input of the last map of the feed-forward network, and g_i the gradient of the batch's loss for the map's
output there; i runs over the tokens that predict a label. Both are normalized over all tokens that the stream has seen
at the map so far, this batch's included ("lifelong normalization"): in ĥ_i and ĝ_i each feature is less its mean, over
its standard deviation. Then, with H the rows h_i and V the rows

    v_i = -learning_rate |ĥ_i|² ĝ_i,

the weight changes by (Hᵀ(HHᵀ + ridge I)⁻¹V)ᵀ. This is the paper's ridge regression (HᵀH + I)⁻¹HᵀV, computed by a system
as large as the number of tokens.

What the paper leaves open, or what differs here:

- H holds the keys as they are; only the length in v_i is of the normalized ones, as in the authors' code.
- Gradients are those of the sum over a batch's labels, not of the mean, so that statistics do not depend on how many
  labels a batch has.
- Each map has statistics of its own. The authors' code shares them between maps of one shape.
- The paper edits the gate and up projections of chosen layers too; here, as for the other editors, it is the last map.
- The paper makes one edit of each batch. Here steps on a batch go on until the stream's ``stop_loss``, each with keys
  and gradients measured anew. Until the stream has seen several facts, their mean is nearly that of one fact, and what
  all its tokens share is not learned.
- A stream's ``max_gradient_norm`` has no effect on a normalized gradient.

Shapes: X token that predicts a label, U hidden unit, D model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from smf.methods.editing.editor import Editor
from smf.methods.editing.settings import EditorSettings
from smf.methods.kind_settings import GivenSettings
from smf.methods.method import Footprint, StepReport
from smf.settings.section import PositiveNumber

if TYPE_CHECKING:
    from torch import Tensor

    from smf.files.model_shape import BaseShape, MemoryShape
    from smf.streams.batches import Batch

_EPSILON = 1e-7  # added to variances; of the order of float32's, as in the authors' code


class UltraEditSettings(EditorSettings):
    """Settings of UltraEdit. Null for ``blocks`` is the middle of the model, from a third to three quarters of it."""

    default_blocks = (0.34, 0.75)  # 10 to 23 of 32; for Llama 3 the authors edit some of 11 to 24
    learning_rate: PositiveNumber = 1e-6
    """Length of an edit against normalized keys and gradients, see stream.schedule; chosen by the sweep in
    results/tables/tuning.csv."""
    ridge: PositiveNumber = 1.0
    """Weight of the shift's own size in the regression."""


class UltraEdit(Editor):
    """Shifts feed-forward networks by a ridge regression from keys to normalized gradients (UltraEdit)."""

    settings_class = UltraEditSettings
    settings: UltraEditSettings

    def begin(self) -> None:
        """Make running statistics for each map."""
        from smf.methods.editing.running_statistics import RunningStatistics

        super().begin()
        self._statistics = {
            block: RunningStatistics(sum(value_map.weight.shape), _EPSILON, value_map.weight.device)
            for block, value_map in self._maps.maps.items()
        }

    @classmethod
    def footprint(
        cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, *, num_steps: int, tokens_per_step: int
    ) -> Footprint:
        """Whole maps; statistics in float64."""
        blocks = cls.settings_class.read(settings).chosen_of(base.num_layers)
        maps = len(blocks) * base.intermediate_size * base.hidden_size
        state = 2 * len(blocks) * (2 * (base.intermediate_size + base.hidden_size) + 1)
        return Footprint(0, state, maps, first_block=blocks[0] + 1, kept_inputs="values", copies=maps)

    def step(self, batch: Batch) -> StepReport:
        """Make one edit."""
        import torch

        from smf.methods.editing.maps import keys_and_gradients

        losses, parts = [], []
        for part in self.micro_batches(batch):
            loss, features = keys_and_gradients(self.model, self._maps.maps, part)
            losses.append(loss)
            parts.append(features)
        for block, statistics in self._statistics.items():
            keys_XU, gradients_XD = (torch.cat([part[block][place] for part in parts]) for place in (0, 1))
            statistics.update(torch.cat([keys_XU, gradients_XD], dim=1))
            self._maps.add(block, self._shift(block, keys_XU, gradients_XD))
        return StepReport(sum(losses[1:], losses[0]) / batch.num_labels, num_tokens=batch.num_tokens)

    def _shift(self, block: int, keys_XU: Tensor, gradients_XD: Tensor) -> Tensor:
        """What the edit adds to the weight (D, U)."""
        import torch

        normalized = self._statistics[block].normalized(torch.cat([keys_XU, gradients_XD], dim=1))
        normal_XU, slopes_XD = normalized.split([keys_XU.shape[1], gradients_XD.shape[1]], dim=1)
        rate = self.settings.learning_rate * self.rate_share
        values_XD = -rate * normal_XU.square().sum(1, keepdim=True) * slopes_XD
        keys_XU = keys_XU.double()
        inner_XX = keys_XU @ keys_XU.T
        inner_XX.diagonal().add_(self.settings.ridge)
        return torch.linalg.solve(inner_XX, values_XD).T @ keys_XU

    def state_dict(self) -> dict[str, Tensor]:
        """Adds the statistics."""
        statistics = {
            f"{block}.{name}": tensor
            for block, statistics in self._statistics.items()
            for name, tensor in statistics.state_dict().items()
        }
        return {**super().state_dict(), **statistics}

    def load_state_dict(self, state: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> None:
        """Restore them too."""
        super().load_state_dict(state, delta)
        for block, statistics in self._statistics.items():
            statistics.load_state_dict({name: state[f"{block}.{name}"] for name in ("number", "mean", "squares")})
