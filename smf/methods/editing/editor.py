"""Base of knowledge editors: methods that add to the last map of the feed-forward networks of some blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from smf.errors import ConfigError
from smf.methods.deltas import Load
from smf.methods.editing.settings import EditorSettings
from smf.methods.kind_settings import Sizes
from smf.methods.method import Method, Start

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Editor(Method):
    """Freezes the model, and changes the maps of the ``blocks`` that its settings name."""

    settings_class: ClassVar[type[EditorSettings]]
    settings: EditorSettings
    starts_from: ClassVar[Start] = "base"

    def begin(self) -> None:
        """Freeze the model, and find the maps to edit.

        Raises:
            ConfigError: Settings do not fit the model.
            CheckpointError: The model has no such maps where smf looks.
        """
        from smf.methods.editing.maps import EditedMaps
        from smf.models.memory_model import decoder_blocks

        super().begin()
        num_layers = len(decoder_blocks(self.model))
        if wrong := self.settings.misfit(Sizes(num_layers=num_layers)):
            raise ConfigError(wrong)
        self._maps = EditedMaps(self.model, self.settings.chosen_of(num_layers))

    def state_dict(self) -> dict[str, Tensor]:
        """Adds float32 copies of weights of lower precision."""
        return {**super().state_dict(), **self._maps.state_dict()}

    def load_state_dict(self, state: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> None:
        """Restore them too."""
        super().load_state_dict(state, delta)
        self._maps.load_state_dict(state)

    def delta(self) -> dict[str, Tensor]:
        """The whole maps of the edited blocks."""
        return self._maps.delta()

    def load_delta(self, delta: Mapping[str, Tensor]) -> None:
        """Overwrite maps, see :meth:`loader`."""
        super().load_delta(delta)
        self._maps.read()

    @classmethod
    def loader(cls, model: PreTrainedModel) -> Load:
        """Overwrites the maps that a delta holds, after restoring those of the delta loaded before."""
        from smf.methods.editing.maps import loader_of_maps

        return loader_of_maps(model)
