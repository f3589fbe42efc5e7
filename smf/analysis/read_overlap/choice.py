"""The slots that sparse memory finetuning selects in the first step of a stream, and how far each of them may move.

Shapes: R selected slot.
"""

from collections.abc import Sequence

import numpy as np
import torch

from smf.methods.smf import SparseSettings
from smf.selection.background import BackgroundCounts
from smf.selection.options import SelectionSettings
from smf.selection.select import Pass, Selection, count_reads, select_slots, selection_generator
from smf.selection.step_options import TrustRegionSettings
from smf.selection.trust_region import TrustRegions


class FirstChoice:
    """Selects as a method does at the start of its stream: no fact is past, and random scores are the first ones.

    Args:
        settings: The method's settings.
        background: The background counts that the method sees, contrast texts included.
        seed: The run's seed.
        device: Where the model's reads are.
    """

    def __init__(
        self, settings: SparseSettings, background: BackgroundCounts, seed: int, device: torch.device | str = "cpu"
    ):
        self._settings, self._seed, self._device = settings, seed, device
        self._background = background.in_documents(settings.document).to(device)
        self._selection = Selection.of(settings)
        self._regions = TrustRegions.of(self._background, settings)

    def shares(self, passes: Sequence[Pass]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """The selected slots of each layer, ascending, and the share of its step that each may take: (R), (R).

        Args:
            passes: What a batch reads, with the tokens that may write.
        """
        generator = selection_generator(self._seed, self._device)
        counts = count_reads(passes, self._settings.count_by)
        found = {}
        for block, selected in select_slots(counts, self._background, self._selection, generator).items():
            slots_R = selected.slots_R[selected.slots_R >= 0].unique()  # an accelerator pads with repeats
            shares_R = torch.ones_like(slots_R, dtype=torch.double)
            if self._regions is not None:
                shares_R = self._regions.layers[block].shares(slots_R)
            found[block] = slots_R.cpu().numpy(), shares_R.cpu().numpy()
        return found


def choice_key(settings: SparseSettings) -> str:
    """A text that is the same for settings with the same first choice, such as those that differ in their rate."""
    deciding = {*SelectionSettings.model_fields, *TrustRegionSettings.model_fields} - {"past_writes", "past_weight"}
    return settings.model_dump_json(include=deciding)
