"""The settings of methods: those common to all methods, and those that each kind declares."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from smf.settings.check import check
from smf.settings.section import Distinct, PositiveNumber, Section, absent, one_of_several


class MethodEntry(Section):
    """A method of the comparison; its other settings are those of its kind."""

    model_config = ConfigDict(extra="allow")

    kind: str
    """A file in smf/methods: full, lora, smf, a baseline, or one of your own."""
    label: str | None = absent()
    """Display name of the method in figures."""
    frontier_only: bool | None = absent()
    """Whether the method is compared in results/figures/frontier.pdf alone; false if absent."""
    sweep: Distinct[PositiveNumber] | None = absent()
    """Learning rates that results/tables/tuning.csv compares, and the frontier unless sweeps say otherwise. For a
    method whose steps need no rate: bounds on its steps."""


class Sizes(NamedTuple):
    """Sizes of the models that settings must fit; None where only the loaded model can tell."""

    num_layers: int | None = None
    """Blocks."""
    num_units: int | None = None
    """Hidden units of a block's feed-forward network."""
    num_slots: int | None = None
    """Slots of a memory layer."""


class KindSettings(Section):
    """What a kind of method can be set to; each kind adds its own keys."""

    @classmethod
    def read(cls, settings: "GivenSettings", where: str = "settings") -> Self:
        """Read the settings of one method, as written in a config.

        Args:
            settings: The settings given; the keys common to all methods are ignored. Settings already read are returned
                as they are.
            where: What error messages call them.

        Raises:
            ConfigError: A key is unknown or missing, or its value is invalid; the message names it and the remedy.
        """
        if isinstance(settings, cls):
            return settings
        own = {key: value for key, value in dict(settings).items() if key not in MethodEntry.model_fields}
        return check(own, cls, where)[0]

    def disagreement(self) -> str:
        """A message about settings that conflict, with the remedy; empty, the default, if none do."""
        return ""

    def misfit(self, sizes: Sizes) -> str:
        """A message about settings that do not fit the models, with the remedy; empty, the default, if all do."""
        return ""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if wrong := self.disagreement():
            raise PydanticCustomError("disagreement", "{wrong}", {"wrong": wrong})
        return self


GivenSettings = KindSettings | Mapping
"""The settings of a method, already read or as written in a config."""

if TYPE_CHECKING:
    TargetModules = Literal["all-linear"] | list[str]
else:
    TargetModules = one_of_several(
        Literal["all-linear"] | Annotated[list[str], Field(min_length=1)],
        {"anyOf": [{"const": "all-linear"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    )
"""Names of linear maps, or all of a model's blocks."""
