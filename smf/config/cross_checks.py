"""Check that the sections of a config agree with each other."""

import re
from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter

from smf.config.base_checks import check_base, known_size
from smf.config.config import Config
from smf.config.data import Data
from smf.config.data_checks import check_data
from smf.config.memory import Memory
from smf.config.stream import Paraphrases
from smf.config.training import Healing
from smf.data.formats import WHOLE_TEXTS
from smf.errors import ConfigError, refuse
from smf.methods.kind_settings import Sizes
from smf.methods.registry import method_class
from smf.selection.names import ALL_ACCESSED
from smf.streams.passes import Passes
from smf.streams.updates import most_updates

_PATHS = (
    "base.checkpoint",
    "data.question_sets.data_root",
    "data.collection.data_root",
    "evaluation.include_path",
    "stream.paraphrases.model.checkpoint",
)
"""Keys that name a folder."""


def check_agreement(config: Config, methods: Mapping[str, Mapping]) -> None:
    """Check that settings agree with each other and with the files that they name.

    Args:
        config: The config.
        methods: Its methods, with the defaults of their kinds.

    Raises:
        ConfigError: Some do not; the message names them and the remedy.
    """
    base, memory, stream = config.base, config.memory, config.stream
    _check_paths(config)
    check_base(base)
    if base.source == "pretrain" and config.prompt_format == "chat":
        raise ConfigError(
            "prompt_format is chat, but base.source is pretrain, which makes a model that never saw a chat; set "
            "prompt_format plain, or take a base that was trained on chats",
            ("prompt_format",),
        )
    if stream.behind_examples and config.prompt_format != "few_shot":
        raise ConfigError(
            f"stream.behind_examples is {stream.behind_examples}, but prompt_format is {config.prompt_format}, "
            "which puts no solved examples before a question; set prompt_format few_shot, or drop behind_examples",
            ("stream", "behind_examples"),
        )
    num_layers, where = known_size(base, "num_layers")
    if num_layers is not None and max(memory.layers) >= num_layers:
        raise ConfigError(
            f"memory.layers names block {max(memory.layers)}, but {where} has {num_layers} "
            f"(blocks 0 to {num_layers - 1}); choose other blocks"
        )
    num_slots = memory.num_keys**2
    if memory.top_k > num_slots:
        refuse("memory.top_k", memory.top_k, f"at most the {num_slots} slots (memory.num_keys²)")
    if config.healing.objective == "distillation" and memory.mode == "additive":
        raise ConfigError(
            "healing.objective is distillation, but memory.mode is additive: the networks stay in place, and a memory "
            "that matched their outputs would count them twice; set memory.mode replace, or healing.objective "
            "language_model"
        )
    if memory.output_gate == "none" and memory.output_gate_init:
        refuse("memory.output_gate_init", memory.output_gate_init, "0 where memory.output_gate is none")
    _check_start(memory, config.healing)
    for name, method in methods.items():
        check_fit(f"methods.{name}", method, config)
    if all(method.get("frontier_only") for method in methods.values()):
        raise ConfigError("all methods are frontier_only; the main figure needs one that is not")
    _check_stream(config)
    _check_updates(config)
    if (stream.max_length or 0) > base.max_length:
        refuse("stream.max_length", stream.max_length, f"at most base.max_length ({base.max_length})")
    for key, seeds in (("seeds", config.seeds), ("frontier.seeds", config.frontier.seeds or ())):
        if shared := sorted(set(seeds) & set(config.tuning.seeds)):
            raise ConfigError(
                f"seed {shared[0]} is in {key} and in tuning.seeds; rates must be chosen on separate seeds"
            )
    _check_paraphrases(stream.paraphrases)
    _check_core_sets(config, methods)
    _check_interpolation(config, methods)
    check_data(config)


def check_fit(where: str, method: Mapping, config: Config) -> None:
    """Check that a method's settings fit the sizes of the models.

    Args:
        where: The key in the config that gives the settings: a method's, or that of its sweep.
        method: The settings.
        config: The config.

    Raises:
        ConfigError: They do not, such as more slots than a layer has.
    """
    num_layers, num_units = (known_size(config.base, key)[0] for key in ("num_layers", "intermediate_size"))
    sizes = Sizes(num_layers, num_units, config.memory.num_keys**2)
    if wrong := method_class(method["kind"]).settings_class.read(method).misfit(sizes):
        raise ConfigError(f"{where}.{wrong}")


def require_contrast(data: Data, runs: Mapping[str, Mapping]) -> None:
    """Check that there are contrast texts for the runs that weigh them.

    Args:
        data: The config's ``data``.
        runs: Settings of each method, and of each trial of a sweep, by name.

    Raises:
        ConfigError: There are none.
    """
    if data.contrast.num_facts:
        return
    for name, settings in runs.items():
        if settings.get("contrast"):
            wanted, instead = f"contrast is {settings['contrast']}", "contrast: 0"
        elif method_class(settings["kind"]).reads_contrast_texts(settings):
            wanted, instead = f"anchor_on is {settings['anchor_on']}", "anchor_on: background"
        else:
            continue
        raise ConfigError(
            f"{wanted} in {name}, but data.contrast.num_facts is 0, so there are no contrast texts; set it (some 100 "
            f"facts are enough), or {instead} in the method",
            ("data", "contrast", "num_facts"),
        )


def _check_start(memory: Memory, healing: Healing) -> None:
    """Check that gradients can reach the values, and that a model without healing is still its base."""
    closed = memory.output_gate == "scalar" and not memory.output_gate_init
    if memory.start == "values" and closed:
        raise ConfigError(
            "memory.start is values, but memory.output_gate_init is 0: values and gate would both be zero, and neither "
            "would ever get a gradient; set memory.output_gate none, or another memory.output_gate_init"
        )
    if healing.num_steps == 0 and (memory.mode, memory.start) != ("additive", "values"):
        why = {
            "replace": "the memory replaces networks, and nothing would learn their outputs",
            "additive": "the memory's output map stays as installed, and no gradient would reach the values",
        }[memory.mode]
        raise ConfigError(
            f"healing.num_steps is 0, but memory.mode is {memory.mode} and memory.start {memory.start}: {why}; "
            "set memory.mode additive and memory.start values, or give healing steps"
        )


def _check_paths(config: Config) -> None:
    """Check that no path contains ~ or $HOME, which only a shell expands."""
    for key in _PATHS:
        path = attrgetter(key)(config)
        if path is not None and re.match(r"~|.*\$\w|.*\$\{", str(path)):
            refuse(key, path, "a full path: only a shell expands ~ and $HOME")


def _check_stream(config: Config) -> None:
    """Check that snapshots lie within the stream, and that the warm-up ends before the shortest stream does."""
    stream = config.stream
    passes = Passes(stream.num_facts, stream.facts_per_step, stream.epochs, stream.steps_per_fact)
    passes.group_before(stream.snapshots)
    if stream.warmup_steps >= passes.num_steps:
        refuse("stream.warmup_steps", stream.warmup_steps, f"below the stream's {passes.num_steps} steps")
    for key, num_facts in (("tuning", config.tuning.num_facts), ("frontier", config.frontier.num_facts)):
        steps = replace(passes, num_facts=num_facts or stream.num_facts).num_steps
        if stream.warmup_steps >= steps:
            refuse(
                "stream.warmup_steps",
                stream.warmup_steps,
                f"below the {steps} steps of streams of {num_facts} facts ({key}.num_facts)",
            )


def _check_updates(config: Config) -> None:
    """Check that the data and the stream leave room for facts that are taught again with another answer."""
    stream, data = config.stream, config.data
    if not (updates := stream.updates):
        return
    most = most_updates(stream.num_facts, stream.facts_per_step)
    if updates > most:
        refuse(
            "stream.updates",
            updates,
            f"at most {most}: each of stream.num_facts ({stream.num_facts}) is an update or replaced by one at most, "
            "with a step between the two",
        )
    facts = data.collection.facts if data.source == "collection" else None
    wrong = ""
    if stream.order == "subjects":
        wrong = "order is subjects, which keeps documents whole"
    elif stream.epochs > 1 and stream.order == "shuffled":
        wrong = f"epochs is {stream.epochs} and order is shuffled, so that the old answer may be taught last"
    elif stream.paraphrases.source == "model":
        wrong = "paraphrases.source is model, whose texts hold the old answer"
    elif facts is not None and facts.format in WHOLE_TEXTS:
        wrong = f"data.collection.facts are {facts.format}, whole texts that hold the old answer"
    if wrong:
        raise ConfigError(
            f"stream.updates is {updates}, but {wrong}; change that, or set stream.updates 0", ("stream", "updates")
        )


def _check_paraphrases(paraphrases: Paraphrases) -> None:
    """Check that the model for paraphrases is named once, and that its prompts hold their placeholders."""
    model, where = paraphrases.model, "stream.paraphrases.model"
    if paraphrases.source == "model" and (model.name is None) == (model.checkpoint is None):
        raise ConfigError(
            f"stream.paraphrases.source is model: set {where}.name (a model on the hub) or {where}.checkpoint (a "
            "folder), but not both"
        )
    prompts = {"prompt": (model.prompt, "{fact}"), "passage_prompt": (model.passage_prompt, "{passage}")}
    for key, (prompt, placeholder) in prompts.items():
        if prompt is not None and placeholder not in prompt:
            raise ConfigError(f"{where}.{key} does not say where the text goes; write {placeholder} in it")


def _check_core_sets(config: Config, methods: Mapping[str, Mapping]) -> None:
    """Check that the method selects slots, and that the seed has a stream."""
    name, seed = config.core_sets.method, config.core_sets.seed
    method = methods.get(name, {}) if name else {}
    no_choice = method.get("kind") != "smf" or method["selector"] == ALL_ACCESSED or method.get("frontier_only")
    if name is not None and no_choice:
        refuse(
            "core_sets.method",
            name,
            "a method of kind smf of the main figure, with a selector other than none; or null",
        )
    seeds = config.seeds + config.tuning.seeds
    if seed is not None and seed not in seeds:
        refuse("core_sets.seed", seed, f"one of seeds or tuning.seeds ({', '.join(map(str, seeds))}); or null")


def _check_interpolation(config: Config, methods: Mapping[str, Mapping]) -> None:
    """Check that methods and seeds are those of the main figure, which are evaluated, and train weights."""
    shown = [
        name
        for name, method in methods.items()
        if not method.get("frontier_only") and not method_class(method["kind"]).retrieves
    ]
    for name in config.interpolation.methods or ():
        if name not in shown:
            refuse("interpolation.methods", name, f"one of the main figure that trains weights ({', '.join(shown)})")
    for seed in config.interpolation.seeds or ():
        if seed not in config.seeds:
            refuse("interpolation.seeds", seed, f"one of seeds ({', '.join(map(str, config.seeds))})")
