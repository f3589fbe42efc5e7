"""A memory as one of peft's methods: ``get_peft_model(model, SparseMemoryConfig())``, saved and loaded by peft.

Importing this module registers it. peft's own ``register_peft_method`` takes only types that its enum ``PeftType``
lists, so the kind is entered in the mappings that this function fills (docs/log.md, 28 November 2026).
"""

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING, PeftConfig
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

from smf.adapters.base import hub_name
from smf.adapters.folder import FORMAT_VERSION, KIND, PREFIX, WEIGHTS, memory_from, require_additive
from smf.adapters.tuner import SparseMemoryTuner
from smf.errors import CheckpointError, refuse
from smf.files.artifacts import sha256
from smf.settings.memory import MemorySettings


class _PeftType(str, enum.Enum):  # noqa: UP042 (as peft's: formatted it is its name)
    """What peft asks of a type: that it has a ``value``, and equals it."""

    SPARSE_MEMORY = KIND


@dataclass
class SparseMemoryConfig(PeftConfig):
    """A memory beside some feed-forward networks, as a peft method.

    Args:
        memory: Where the layers go and how large they are; None for :func:`smf.models.retrofit.memory_for`.
        seed: Of the new parameters, which are those of :func:`smf.models.retrofit.retrofit` with this seed.
        base: What the base is, by its weights; filled in when the memory is saved.
        weights_sha256: Of the file with the memory's weights; filled in when it is saved.
        smf_format: Version of the format.

    Raises:
        CheckpointError: The settings are none of an additive memory, or the format is another one.
        ConfigError: ``memory`` is no settings at all.

    Example:
        >>> from peft import PeftModel, get_peft_model
        >>> memory = MemorySettings(layers=(1,), num_keys=16, num_heads=2, top_k=4, key_dim=8, value_dim=16)
        >>> model = get_peft_model(load_model("base"), SparseMemoryConfig(memory=memory))
        >>> model.save_pretrained("by_peft")
        >>> again = PeftModel.from_pretrained(load_model("base"), "by_peft")
        >>> again.memory_layers()[1].num_slots
        256
        >>> load_memory("base", "by_peft").memory_layers()[1].num_slots
        256
    """

    if TYPE_CHECKING:  # peft's own, which mypy does not read
        task_type: str | None = None
        base_model_name_or_path: str | None = None
        revision: str | None = None
    memory: MemorySettings | dict | None = None
    seed: int = 0
    base: dict | None = None
    weights_sha256: str | None = None
    smf_format: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = _PeftType.SPARSE_MEMORY
        self.task_type = self.task_type or "CAUSAL_LM"
        self.target_modules: str | None = None  # follows from the memory, once the model is known
        if isinstance(self.memory, dict):
            self.memory = memory_from("SparseMemoryConfig", self.memory)
        if not isinstance(self.memory, MemorySettings | None):
            refuse("SparseMemoryConfig.memory", self.memory, "MemorySettings, or None for the default memory")
        if self.memory is not None:
            require_additive(self.settings)
        if self.smf_format != FORMAT_VERSION:
            raise CheckpointError(
                f"the memory has smf format {self.smf_format}, this version reads {FORMAT_VERSION}; save it again"
            )

    @property
    def settings(self) -> MemorySettings:
        """Those of the memory, once the model is known."""
        assert isinstance(self.memory, MemorySettings)
        return self.memory

    def to_dict(self) -> dict:
        """As peft writes it."""
        memory = None if self.memory is None else self.settings.plain()
        return {**super().to_dict(), "memory": memory}

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """As of any peft method. It is written after the weights, and names their hash."""
        name, revision = hub_name(self.base_model_name_or_path)
        self.base_model_name_or_path, self.revision = name, revision or self.revision
        weights = Path(save_directory) / WEIGHTS
        self.weights_sha256 = sha256(weights) if weights.is_file() else None
        super().save_pretrained(save_directory, **kwargs)


for _mapping, _entry in (
    (PEFT_TYPE_TO_CONFIG_MAPPING, SparseMemoryConfig),
    (PEFT_TYPE_TO_TUNER_MAPPING, SparseMemoryTuner),
    (PEFT_TYPE_TO_PREFIX_MAPPING, PREFIX),
):
    _mapping[_PeftType.SPARSE_MEMORY] = _entry
