"""Any adapter of peft, by its type and peft's own config: DoRA, PiSSA, CorDA, SHiRA, OFT and many others.

A comparison at equal learning needs a common start, so an adapter that changes the model before it learns is refused.
Initializations that read data (CorDA, EVA, LoRA-GA) get background text. Some of them, and PiSSA, also subtract what
the adapter begins with from the base's weights; a delta then holds these weights too.

Not offered: prompts and prefixes (what stands before a text is not part of how models are asked here), AdaLoRA (its
ranks follow a schedule that must be told of every step), OSF (a kind of its own, in float32), PVeRA (it samples when it
is asked, so no delta gives the same answers twice), and types that do not work with a causal language model alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import typing
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from smf.errors import CheckpointError, ConfigError, did_you_mean
from smf.methods.adapter import AdapterMethod, drawing, load_adapter, low_rank_footprint
from smf.methods.deltas import Load, shapes
from smf.methods.dense import DenseSettings
from smf.methods.kind_settings import GivenSettings
from smf.methods.method import Footprint
from smf.settings.section import Count

if TYPE_CHECKING:
    import peft
    from torch import Tensor
    from transformers import PreTrainedModel

    from smf.files.model_shape import BaseShape, MemoryShape
    from smf.streams.background_texts import BackgroundTexts

PeftType = Literal[
    "ADAMSS", "BEFT", "BOFT", "C3A", "DEFT", "DELORA", "FOURIERFT", "FROD", "GLORA", "GRALORA", "HIRA", "HRA", "IA3",
    "LILY", "LN_TUNING", "LOHA", "LOKR", "LORA", "MISS", "OFT", "PEANUT", "PSOFT", "RANDLORA", "ROAD", "SHIRA",
    "SUPERTUNING", "TINYLORA", "TRAINABLE_TOKENS", "UNILORA", "VBLORA", "VERA", "WAVEFT",
]  # fmt: skip

_OWN_TARGETS = {"LN_TUNING", "TRAINABLE_TOKENS"}
"""Types for which "all linear maps" makes no sense."""
_FROM_TEXTS = {"corda", "eva", "lora_ga"}
_INIT = "init_lora_weights"
_BASE = "base:"
_MOST_DIFFERENT = {"float32": 1e-4, "float64": 1e-4}
"""Relative difference of logits that rounding explains; PiSSA's is 1e-6 in float32."""
_MOST_DIFFERENT_ELSE = 0.03


class PeftSettings(DenseSettings):
    """Settings of any adapter of peft."""

    peft_type: PeftType = "LORA"
    """Type of the adapter, as peft calls it."""
    peft_config: dict[str, Any] = {}
    """peft's own config of that type, such as r: 16 and use_dora: true; a nested one, such as corda_config, is a
    mapping too. target_modules is all-linear unless given."""
    init_texts: Count = 64
    """Sequences of background text that init_lora_weights corda, eva or lora_ga reads. Not used by others."""

    def disagreement(self) -> str:
        """What peft cannot be told here."""
        if "task_type" in self.peft_config:
            return "peft_config.task_type is always CAUSAL_LM here; leave it out"
        rho = (self.peft_config.get("eva_config") or {}).get("rho", 1)
        if rho != 1:
            return f"peft_config.eva_config.rho is {rho}: ranks would depend on data; write rho: 1, or leave it out"
        return ""

    @property
    def init(self) -> object:
        """The initialization that ``peft_config`` names."""
        return self.peft_config.get(_INIT)


class Peft(AdapterMethod):
    """Trains an adapter of peft, of the type and config that the settings name."""

    settings_class = PeftSettings
    settings: PeftSettings
    purpose = "peft"

    @classmethod
    def footprint(cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, **stream: int) -> Footprint:
        """Of LoRA its matrices; of other types no more than if every weight trained."""
        read = cls.settings_class.read(settings)
        if read.peft_type != "LORA" or read.init not in (None, True, "gaussian", "eva"):
            return super().footprint(read, base, memory, **stream)
        rank = read.peft_config.get("r", 8) + bool(read.peft_config.get("use_dora"))
        return low_rank_footprint(base, read, rank, read.peft_config.get("target_modules") or "all-linear")

    @classmethod
    def reads_texts(cls, settings: GivenSettings) -> bool:
        """Whether the initialization reads data."""
        return cls.settings_class.read(settings).init in _FROM_TEXTS

    def attached(self, model: PreTrainedModel) -> PreTrainedModel:
        """Attach the adapter, and check that the model is still the base.

        Raises:
            ConfigError: It is not, or text is missing that the initialization reads.
        """
        settings = self.settings
        before, digests = _logits(model), {name: _digest(tensor) for name, tensor in model.state_dict().items()}
        config = self.adapter_config(settings)
        prepare = _preparation(model, config, settings, self.texts)
        with drawing(model, self.seed, self.purpose):
            extended = _attach(model, config, settings, prepare)
        _check_start(before, _logits(extended), settings)
        self._changed = _changed(extended, digests)
        return extended

    @classmethod
    def adapter_config(cls, settings: GivenSettings) -> peft.PeftConfig:
        """The config of this type, as peft takes it.

        Raises:
            ConfigError: It has no such key, or peft refuses a value.
        """
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

        read = cls.settings_class.read(settings)
        kind = PEFT_TYPE_TO_CONFIG_MAPPING[read.peft_type]
        known = {field.name for field in dataclasses.fields(kind)}
        given = dict(read.peft_config)
        for key in given.keys() - known:
            raise ConfigError(
                f"peft_config: unknown key {key!r} of {kind.__name__}; {did_you_mean(key, known)}"
                "peft's documentation lists them"
            )
        if "target_modules" in known and read.peft_type not in _OWN_TARGETS:
            given.setdefault("target_modules", "all-linear")
        if read.init in _FROM_TEXTS:
            given.setdefault(f"{read.init}_config", {"rho": 1.0} if read.init == "eva" else {})
        types = typing.get_type_hints(kind)
        try:
            nested = {key: _nested(types[key], value) for key, value in given.items()}
            return kind(task_type="CAUSAL_LM", **nested)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"peft refuses peft_config {given} for {read.peft_type}: {error}") from error

    @classmethod
    def extended(cls, model: PreTrainedModel, settings: GivenSettings, seed: int) -> PreTrainedModel:
        """The model with the adapter, for deltas alone: what is to be read from data, or from the weights, is not."""
        read = cls.settings_class.read(settings)
        if read.init in _FROM_TEXTS | {"olora"} or str(read.init).startswith("pissa"):
            read = read.model_copy(update={"peft_config": {**read.peft_config, _INIT: True}})
        with drawing(model, seed, cls.purpose):
            return _attach(model, cls.adapter_config(read), read, lambda adapted: None)

    def delta(self) -> dict[str, Tensor]:
        """The adapter, and the weights of the base that its initialization changed."""
        state = self.model.state_dict()
        return {**super().delta(), **{f"{_BASE}{name}": state[name].detach().clone() for name in self._changed}}

    @classmethod
    def loader(cls, model: PreTrainedModel) -> Load:
        """Overwrites both."""

        def load(delta: Mapping[str, Tensor]) -> None:
            state = model.state_dict()
            changed = {name.removeprefix(_BASE): tensor for name, tensor in delta.items() if name.startswith(_BASE)}
            if unknown := sorted(changed.keys() - state.keys()):
                raise CheckpointError(f"the delta holds {unknown[0]}, which this model lacks; learn the stream again")
            adapter = {name: tensor for name, tensor in delta.items() if not name.startswith(_BASE)}
            own = {name: state[name] for name in changed}
            if shapes(own) != shapes(changed):  # before anything changes
                raise CheckpointError("the delta holds weights of another base; learn the stream again")
            load_adapter(model, adapter)
            for name, tensor in own.items():
                tensor.copy_(changed[name])

        return load


def _attach(
    model: PreTrainedModel,
    config: peft.PeftConfig,
    settings: PeftSettings,
    prepare: Callable[[PreTrainedModel], None],
) -> PreTrainedModel:
    import peft

    try:
        extended = peft.get_peft_model(model, config)
        prepare(extended)
        return extended
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"peft refuses peft_type {settings.peft_type} with {settings.peft_config}: {error}"
        ) from error


def _preparation(
    model: PreTrainedModel, config: peft.PeftConfig, settings: PeftSettings, texts: BackgroundTexts | None
) -> Callable[[PreTrainedModel], None]:
    """What an initialization from data does: CorDA and LoRA-GA before the adapter is there, EVA (returned) after."""
    if settings.init not in _FROM_TEXTS:
        return lambda extended: None
    if texts is None:
        raise ConfigError(f"{_INIT} {settings.init} reads background text; none was given")
    import torch
    from peft import initialize_lora_eva_weights
    from peft.tuners.lora.corda import preprocess_corda
    from peft.tuners.lora.loraga import preprocess_loraga

    if config.target_modules == "all-linear":  # only get_peft_model knows this name
        config.target_modules = _linear_maps(model)
    batches = [batch.to(model.device) for batch in texts.draw(settings.init_texts).split(1)]  # CorDA takes no more
    inputs = [{"input_ids": each.input_ids_BT, "attention_mask": each.attention_mask_BT} for each in batches]

    def read() -> None:
        with torch.no_grad():
            for each in inputs:
                model(**each)

    def learn() -> None:
        for each, batch in zip(inputs, batches, strict=True):
            model(**each, labels=batch.labels_BT).loss.backward()

    if settings.init == "corda":
        preprocess_corda(model, config, run_model=read)
    elif settings.init == "lora_ga":
        with warnings.catch_warnings():
            # Its hooks count passes; they need no gradient of the embeddings, which torch would mention each time.
            warnings.filterwarnings("ignore", "Full backward hook is firing")
            preprocess_loraga(model, config, learn)
    else:
        return lambda extended: initialize_lora_eva_weights(extended, inputs, show_progress_bar=False)
    return lambda extended: None


def _linear_maps(model: PreTrainedModel) -> set[str]:
    """Names of all linear layers but the LM head."""
    from torch import nn

    head = model.get_output_embeddings()
    return {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }


def _nested(kind: object, value: object) -> object:
    """A mapping as the config class that peft declares for it; any other value as it is."""
    classes = [
        each for each in (kind, *typing.get_args(kind)) if isinstance(each, type) and dataclasses.is_dataclass(each)
    ]
    return classes[0](**value) if classes and isinstance(value, Mapping) else value


def _logits(model: PreTrainedModel) -> Tensor:
    """Logits of a fixed sequence of token ids."""
    import torch

    ids_BT = torch.arange(min(32, model.config.vocab_size), device=model.device).unsqueeze(0)
    with torch.no_grad():
        return model(input_ids=ids_BT).logits


def _check_start(before: Tensor, after: Tensor, settings: PeftSettings) -> None:
    precision = str(before.dtype).removeprefix("torch.")
    difference = ((after - before).float().norm() / before.float().norm()).item()
    if not difference <= _MOST_DIFFERENT.get(precision, _MOST_DIFFERENT_ELSE):
        raise ConfigError(
            f"peft_type {settings.peft_type} with {settings.peft_config} changes the model before it learns: logits "
            f"differ by {difference:.2g} of their norm; set its initialization in peft_config so that it starts at the "
            "base (FOURIERFT: init_weights: true), or choose another type"
        )


def _changed(model: PreTrainedModel, digests: Mapping[str, bytes]) -> list[str]:
    """Names, in a model with an adapter, of the base's tensors that are no longer what they were."""
    state = model.state_dict()
    own = {name: name.removeprefix("base_model.model.").replace(".base_layer", "") for name in state}
    return [name for name, before in own.items() if before in digests and _digest(state[name]) != digests[before]]


def _digest(tensor: Tensor) -> bytes:
    import torch

    return hashlib.sha256(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()).digest()
