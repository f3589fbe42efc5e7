"""The experiment that a config describes: checked as a whole before any work starts, defaults filled in."""

import copy
import difflib
import json
from collections.abc import Mapping
from pathlib import Path

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from smf.errors import ConfigError
from smf.methods.registry import method_class

_COMMON_SETTINGS = ("kind", "label", "sweep")


class Experiment:
    """A checked config.

    Args:
        config: The config as read from YAML.
        schema: Its JSON schema.

    Attributes:
        config: The config with all defaults.
        runs: Settings of every run name: the methods, and one name a method and swept learning rate.
        sweep: Run name to (method, learning rate), for the sweep's runs.

    Raises:
        ConfigError: Something is wrong; the message names the key, the value and the remedy.
    """

    def __init__(self, config: Mapping, schema: Mapping):
        self.config = copy.deepcopy(dict(config))
        _check(self.config, schema, "")
        for name, settings in self.config["methods"].items():
            _check_method(f"methods.{name}", settings)
        _check_agreement(self.config)
        self.runs: dict[str, dict] = {name: _method_settings(method) for name, method in self.methods.items()}
        self.sweep: dict[str, tuple[str, float]] = {}
        for name, method in self.methods.items():
            for rate in method.get("sweep", ()):
                run = f"{name}--lr-{rate:g}"
                self.sweep[run] = (name, rate)
                self.runs[run] = {**_method_settings(method), "learning_rate": rate}

    @property
    def methods(self) -> dict[str, dict]:
        """The config's methods, by name."""
        return self.config["methods"]

    @property
    def starts(self) -> dict[str, str]:
        """For each method, the model that it starts from: ``base`` or ``healed``."""
        return {name: self.start(name) for name in self.methods}

    @property
    def rates(self) -> dict[str, float]:
        """The configured learning rate of each method that has one."""
        return {name: method["learning_rate"] for name, method in self.methods.items() if "learning_rate" in method}

    @property
    def labels(self) -> dict[str, str]:
        """What figures call the methods that have a label."""
        return {name: method["label"] for name, method in self.methods.items() if "label" in method}

    @property
    def positions(self) -> list[int]:
        """Where snapshots are taken: the configured positions and the stream's end."""
        stream = self.config["stream"]
        return sorted({*stream["snapshots"], stream["num_facts"]})

    @property
    def learning(self) -> dict:
        """What a learning step depends on; facts and their order come with the stream's file."""
        return {key: self.config["stream"][key] for key in ("steps_per_fact", "loss_on")}

    def start(self, run: str) -> str:
        """The model that a run starts from: ``base`` or ``healed``."""
        return method_class(self.runs[run]["kind"]).starts_from

    def needs_background(self, run: str) -> bool:
        """Whether a run reads the background counts."""
        return method_class(self.runs[run]["kind"]).needs_background


def _method_settings(method: Mapping) -> dict:
    """What the method itself gets; a label or another sweep must not make finished runs stale."""
    return {key: value for key, value in method.items() if key not in _COMMON_SETTINGS[1:]}


def _check_method(where: str, settings: dict) -> None:
    """Check one method against the schema that its kind declares."""
    try:
        method = method_class(settings["kind"])
    except ConfigError as error:
        raise ConfigError(f"{where}.kind: {error}") from error
    common = {key: settings.pop(key) for key in _COMMON_SETTINGS if key in settings}
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": method.schema,
        "required": list(method.required),
    }
    _check(settings, schema, where)
    settings.update(common)


def _check_agreement(config: Mapping) -> None:
    """Check what no schema can: that settings agree with each other and with the files that they name."""
    base, memory, stream = config["base"], config["memory"], config["stream"]
    architecture = base["architecture"]
    if base["source"] == "pretrain":
        num_layers, where = architecture["num_layers"], "base.architecture.num_layers"
        heads, width = architecture["num_attention_heads"], architecture["hidden_size"]
        if width % heads or (width // heads) % 2:
            _refuse("base.architecture.hidden_size", width, f"an even multiple of num_attention_heads ({heads})")
        if heads % architecture["num_key_value_heads"]:
            _refuse(
                "base.architecture.num_key_value_heads", architecture["num_key_value_heads"], f"a divisor of {heads}"
            )
    else:
        num_layers, where = _layers_of_checkpoint(base["checkpoint"]), f"the model in {base['checkpoint']}"
    if num_layers is not None and max(memory["layers"]) >= num_layers:
        raise ConfigError(
            f"memory.layers names block {max(memory['layers'])}, but {where} has {num_layers} "
            f"(blocks 0 to {num_layers - 1}); choose other blocks"
        )
    num_slots = memory["num_keys"] ** 2
    if memory["top_k"] > num_slots:
        _refuse("memory.top_k", memory["top_k"], f"at most the {num_slots} slots (memory.num_keys²)")
    for name, method in config["methods"].items():
        if method.get("top_t", 0) > num_slots:
            raise ConfigError(
                f"methods.{name}.top_t is {method['top_t']}, but a layer has {num_slots} slots (memory.num_keys²); "
                "lower top_t or raise memory.num_keys"
            )
    if stream["snapshots"] and max(stream["snapshots"]) > stream["num_facts"]:
        _refuse("stream.snapshots", max(stream["snapshots"]), f"at most stream.num_facts ({stream['num_facts']})")
    if shared := sorted(set(config["seeds"]) & set(config["tuning"]["seeds"])):
        raise ConfigError(
            f"seed {shared[0]} is in seeds and in tuning.seeds; rates must be chosen on seeds of their own"
        )
    _check_data(config)


def _check_data(config: Mapping) -> None:
    data, num_facts = config["data"], config["stream"]["num_facts"]
    if data["source"] == "world":
        available, where = 4 * data["world"]["num_new_people"], "4 * data.world.num_new_people"
    else:
        sets = data["question_sets"]
        for name in ("known", "new", "hellaswag"):
            if not sets.get(name):
                raise ConfigError(f"data.source is question_sets, but data.question_sets.{name} is not set")
            if sets["data_root"] is not None and not (path := Path(sets["data_root"]) / sets[name]["file"]).is_file():
                raise ConfigError(
                    f"data.question_sets.{name}.file: there is no file {path}; correct the name or "
                    "data.question_sets.data_root, or set data_root to null to load from the hub"
                )
        available, where = sets["new"]["num_rows"], "data.question_sets.new.num_rows"
    if num_facts > available:
        _refuse("stream.num_facts", num_facts, f"at most {available} ({where})")


def _layers_of_checkpoint(folder: str | None) -> int | None:
    if folder is None:
        raise ConfigError("base.source is checkpoint, but base.checkpoint is not set; name a transformers folder")
    path = Path(folder) / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("num_hidden_layers")
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(f"base.checkpoint: cannot read {path} ({error}); name a transformers folder") from error


def _refuse(key: str, value: object, expected: str) -> None:
    raise ConfigError(f"{key} is {value}, but must be {expected}")


def _check(value: dict, schema: Mapping, where: str) -> None:
    """Fill defaults into ``value`` and validate it; the first error becomes one clear message."""
    validator = Draft202012Validator(schema)
    _fill_defaults(value, schema, schema)
    errors = sorted(validator.iter_errors(value), key=lambda error: [str(part) for part in error.absolute_path])
    if errors:
        raise ConfigError(_explain(errors[0], where))


def _fill_defaults(value: object, schema: Mapping, root: Mapping) -> None:
    """Fill in the defaults of all properties that the schema reaches, through $ref too."""
    if reference := schema.get("$ref"):
        schema = root["$defs"][reference.rsplit("/", 1)[1]]
    if not isinstance(value, dict):
        return
    for key, child in schema.get("properties", {}).items():
        if key not in value and "default" in child:
            value[key] = copy.deepcopy(child["default"])
        if key in value:
            _fill_defaults(value[key], child, root)


def _explain(error: ValidationError, where: str) -> str:
    path = ".".join([*filter(None, [where]), *(str(part) for part in error.absolute_path)]) or "the config"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        strangers = sorted(set(error.instance) - set(known))
        near = difflib.get_close_matches(strangers[0], known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{path}: unknown key {strangers[0]!r}; {hint}known: {', '.join(sorted(known))}"
    if error.validator == "enum":
        options = [str(option) for option in error.validator_value]
        near = difflib.get_close_matches(str(error.instance), options, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{path}: unknown value {error.instance!r}; {hint}known: {', '.join(options)}"
    description = error.schema.get("description") if isinstance(error.schema, Mapping) else None
    return f"{path}: {error.message}" + (f" ({description})" if description else "")
