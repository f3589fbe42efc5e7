"""The experiment that a config describes: checked as a whole before any work starts, defaults filled in."""

import math
from collections.abc import Mapping
from pathlib import Path

from smf.config.base_checks import known_size
from smf.config.config import Config
from smf.config.cross_checks import check_agreement, check_fit, require_contrast
from smf.config.data_checks import check_evaluation
from smf.config.mappings import sorted_by_key, unshared
from smf.config.methods import check_method, method_settings, selects_slots
from smf.config.sweeps import Trial, check_sweeps, trials
from smf.data.formats import probe_kind
from smf.errors import ConfigError
from smf.methods.registry import method_class
from smf.scores.metrics import MEASURES, TASK
from smf.selection.names import ALL_ACCESSED
from smf.settings.check import check
from smf.settings.declared import places_of_keys

_STEPS = ("steps_per_fact", "facts_per_step", "epochs", "order", "schedule", "warmup_steps", "stop_loss")
_TEXTS = ("loss_on", "max_length", "micro_batch_size", "max_gradient_norm", "behind_examples")
_LEARNING = _STEPS + _TEXTS
_GENERATION = ("max_new_tokens", "batch_size", "seed")


class Experiment:
    """A checked config.

    Args:
        config: The config as read from YAML.

    Attributes:
        config: The config with all defaults, keys sorted (but for ``methods``): neither the order in a file nor writing
            down a default changes what a run depends on.
        settings: The same, typed.
        runs: Settings by run name: the methods, and one run for each method and swept learning rate.
        sweep: Run name to (method, learning rate), for the runs that choose learning rates.
        trials: The settings that the frontier tries, by run name; trials of learning rates alone have the names of
            ``sweep``.
        removed: The keys that were null where null is not a value: a named entry is then gone, and any other key takes
            its default. This is how a file removes what the file below it sets.

    Raises:
        ConfigError: Something is wrong; the message names the key, the value and the remedy.
    """

    def __init__(self, config: Mapping):
        places = places_of_keys(Config)
        checked, self.removed = check(unshared(config), Config, places=places)
        plain = checked.plain()
        # In the file's order, as in the params of finished runs, which Snakemake compares as text.
        self.config = {key: plain[key] for key in (*config, *plain) if key in plain}
        for name, settings in self.config["methods"].items():
            self.removed += check_method(f"methods.{name}", settings, places)
        self._drop_what_is_of_the_removed()
        self._prompt_format = {"prompt_format": self.config["prompt_format"]}
        self.settings = Config.model_validate(self.config)
        check_agreement(self.settings, self.methods)
        check_evaluation(self.settings.evaluation, self.probes, self.settings.prompt_format)
        check_sweeps(self.config)
        methods = {name: sorted_by_key(method) for name, method in self.methods.items()}
        self.config = {**{key: sorted_by_key(value) for key, value in self.config.items()}, "methods": methods}
        self.runs: dict[str, dict] = {name: method_settings(method) for name, method in self.methods.items()}
        self.sweep: dict[str, tuple[str, float]] = {}
        self.trials: dict[str, Trial] = {}
        for name, method in self.methods.items():
            rates = {"learning_rate": method["sweep"]} if method.get("sweep") else {}
            if rates and name in self.starts:
                for trial in self._add_trials(name, rates, f"methods.{name}.sweep"):
                    self.sweep[trial.run] = (name, trial.changes["learning_rate"])
            for trial in self._add_trials(name, self.config["sweeps"].get(name, rates), f"sweeps.{name}"):
                if name in self.compared:
                    self.trials[trial.run] = trial
        require_contrast(self.settings.data, self.runs)

    def _drop_what_is_of_the_removed(self) -> None:
        """Drop the sweeps of removed methods, and the numbers of rows asked of removed held-out sets."""
        for *where, name in self.removed:
            if where == ["methods"]:
                self.config["sweeps"].pop(name, None)
            elif where == ["data", "collection", "held_out"]:
                for key in ("num_items", "num_fewshot"):
                    self.config["evaluation"][key].pop(name, None)

    def _add_trials(self, name: str, sweep: Mapping, where: str) -> list[Trial]:
        """Make a run of each trial of a method's sweep."""
        found = trials(name, sweep, where)
        for trial in found:
            settings = {**method_settings(self.methods[name]), **trial.changes}
            check_method(where, settings)
            check_fit(where, settings, self.settings)
            self.runs[trial.run] = sorted_by_key(settings)
        return found

    @property
    def methods(self) -> dict[str, dict]:
        """The config's methods, by name."""
        return self.config["methods"]

    @property
    def starts(self) -> dict[str, str]:
        """For each method of the main figure, the model that it starts from: ``base`` or ``healed``."""
        return {name: self.start(name) for name, method in self.methods.items() if not method.get("frontier_only")}

    @property
    def compared(self) -> list[str]:
        """The methods of the frontier, in the config's order."""
        chosen = self.config["frontier"]["methods"]
        return [name for name in self.methods if chosen is None or name in chosen]

    @property
    def compared_starts(self) -> dict[str, str]:
        """For each method of the frontier, the model that it starts from."""
        return {name: self.start(name) for name in self.compared}

    @property
    def rates(self) -> dict[str, float]:
        """The configured learning rate of each method of the main figure that has one."""
        rates = {name: self.methods[name].get("learning_rate") for name in self.starts}
        return {name: rate for name, rate in rates.items() if rate is not None}

    @property
    def rate_free(self) -> list[str]:
        """Methods of the main figure that need no learning rate."""
        return [name for name in self.starts if name not in self.rates]

    @property
    def probes(self) -> dict[str, str]:
        """The held-out sets by name, each with its kind: how it is asked and scored."""
        if self.config["data"]["source"] != "collection":
            return {"nq": "questions", "hellaswag": "choices"}
        held_out = self.config["data"]["collection"]["held_out"]
        return {name: probe_kind(source["format"]) for name, source in held_out.items()}

    @property
    def known(self) -> str | None:
        """The held-out set that the base model is taught; None if it was pretrained elsewhere and on other things."""
        return None if self.config["data"]["source"] == "collection" else "nq"

    @property
    def kinds(self) -> dict[str, str]:
        """Everything that held-out metrics are named after: the held-out sets, and lm-eval's own tasks."""
        return {**self.probes, **dict.fromkeys(self.config["evaluation"]["tasks"], TASK)}

    @property
    def headline(self) -> list[str]:
        """The held-out metrics that figures show; tuning weighs the first."""
        if (given := self.config["evaluation"]["headline"]) is not None:
            return given
        if self.config["data"]["source"] != "collection":
            return ["nq_f1", "hellaswag_acc_norm"]
        return [f"{probe}_{MEASURES[kind][0]}" for probe, kind in self.probes.items()][:2]

    @property
    def asking(self) -> dict:
        """The settings that evaluating a snapshot depends on."""
        return {**self.asking_held_out, **self.asking_facts}

    @property
    def asking_held_out(self) -> dict:
        """The settings that scores on held-out sets and lm-eval's tasks depend on."""
        evaluation = self.config["evaluation"]
        return {
            "num_items": {name: number for name, number in evaluation["num_items"].items() if number is not None},
            "num_fewshot": {name: number for name, number in evaluation["num_fewshot"].items() if number},
            "window": evaluation["window"] or self.config["base"]["max_length"],
            **self._prompt_format,
            **{key: evaluation[key] for key in ("tasks", "include_path", *_GENERATION)},
            **({"kl_texts": evaluation["kl"]["num_texts"]} if evaluation["kl"]["num_texts"] else {}),
        }

    @property
    def asking_facts(self) -> dict:
        """The settings that scores on facts depend on."""
        names = ("num_facts", "wordings_per_fact", *_GENERATION)
        asking = {name: self.config["evaluation"][name] for name in names} | self._prompt_format
        if number := self.config["evaluation"]["kl"]["num_facts"]:
            stream = self.config["stream"]
            max_length = stream["max_length"] or self.config["base"]["max_length"]
            asking["kl_facts"] = {"num_facts": number, "loss_on": stream["loss_on"], "max_length": max_length}
        return asking

    @property
    def tuned_by(self) -> str | None:
        """The score of the new facts that tuning weighs; None for unseen wordings, or questions without any."""
        learned = self.config["evaluation"]["learned"]
        return self.config["tuning"]["learned"] or (learned if learned == "facts_seen_f1" else None)

    @property
    def untuned(self) -> list[str]:
        """Methods of the main figure that have a learning rate and no sweep to check it by."""
        return [name for name in self.rates if not self.methods[name].get("sweep")]

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the main figure's methods, for those that have one."""
        return {name: self.methods[name]["label"] for name in self.starts if "label" in self.methods[name]}

    @property
    def model_name(self) -> str | None:
        """The base model's name in figures: its hub name or its folder's name; None if it was pretrained here."""
        base = self.config["base"]
        given = {"hub": base["name"], "checkpoint": base["checkpoint"]}.get(base["source"])
        return given and Path(given).name

    @property
    def memory_methods(self) -> dict[str, dict]:
        """Settings of the main figure's methods of kind smf, by name."""
        return {name: self.runs[name] for name in self.starts if self.methods[name]["kind"] == "smf"}

    @property
    def selecting(self) -> dict[str, tuple[str, str]]:
        """Method and setting, in words, of the runs that select slots: those of the frontier, and methods it omits."""
        named = {run: (trial.method, trial.setting) for run, trial in self.trials.items()}
        named |= {name: (name, Trial(name, name, {}).setting) for name in self.methods if name not in self.compared}
        return {run: name for run, name in named.items() if selects_slots(self.runs[run])}

    @property
    def core_sets(self) -> dict:
        """The settings of core sets, besides stream and methods; fills in method, seed and, for a rate, its factors.

        Raises:
            ConfigError: No method selects slots.
        """
        settings = self.config["core_sets"]
        selecting = [name for name, method in self.memory_methods.items() if method["selector"] != ALL_ACCESSED]
        if not selecting:
            raise ConfigError("core_sets needs a method of kind smf that selects slots; add one under methods")
        seed = self.config["tuning"]["seeds"][0] if settings["seed"] is None else settings["seed"]
        method = settings["method"] or selecting[0]
        factors = [] if self.methods[method]["learning_rate"] is None else settings["rate_factors"]
        return {**settings, "method": method, "seed": seed, "rate_factors": factors}

    @property
    def base(self) -> dict:
        """The settings that the base model's folder depends on; the others matter later, or only accept or refuse."""
        others = ("gradient_checkpointing", "min_recall")
        return {key: value for key, value in self.config["base"].items() if key not in others}

    @property
    def frontier_seeds(self) -> list[int]:
        """The seeds of the frontier's runs."""
        return self.config["frontier"]["seeds"] or self.config["seeds"]

    @property
    def all_seeds(self) -> list[int]:
        """Every seed that a stream may be drawn for."""
        return sorted({*self.config["seeds"], *self.frontier_seeds, *self.config["tuning"]["seeds"]})

    @property
    def unchecked_layers(self) -> list[int]:
        """The blocks that get memory, if only the loaded base model can tell whether it has them; else empty."""
        return [] if known_size(self.settings.base, "num_layers")[0] is not None else self.config["memory"]["layers"]

    @property
    def positions(self) -> list[int]:
        """Where snapshots are taken: the configured positions and the stream's end."""
        return sorted({*self.config["stream"]["snapshots"], self.config["stream"]["num_facts"]})

    def num_facts(self, seed: int) -> int:
        """Length of a seed's stream."""
        most = self.config["tuning"]["num_facts"] if seed in self.config["tuning"]["seeds"] else None
        return min(most or math.inf, self.config["stream"]["num_facts"])

    def trial_end(self, seed: int) -> int:
        """The position where a trial of a sweep ends, and is scored."""
        if seed in self.config["tuning"]["seeds"]:
            return self.num_facts(seed)
        return min(self.config["frontier"]["num_facts"] or math.inf, self.config["stream"]["num_facts"])

    def positions_of(self, run: str, seed: int) -> list[int]:
        """Where a run is scored: a method at all snapshots, a trial of a sweep at its end."""
        return self.positions if run in self.methods else [self.trial_end(seed)]

    @property
    def learning(self) -> dict:
        """The settings that learning depends on; the stream's file has the facts and their first epoch's order."""
        return {key: self.config["stream"][key] for key in _LEARNING} | self._prompt_format

    @property
    def wordings(self) -> dict:
        """The settings that a stream's training wordings depend on, besides a model's paraphrases."""
        paraphrases = self.config["stream"]["paraphrases"]
        used = {"none": ("source",), "templates": ("source", "number", "seed"), "model": ("source", "number")}
        return {key: paraphrases[key] for key in used[paraphrases["source"]]}

    def start(self, run: str) -> str:
        """The model that a run starts from: ``base`` or ``healed``."""
        return method_class(self.runs[run]["kind"]).starts_from

    def needs_background(self, run: str) -> bool:
        """Whether a run reads the background counts."""
        return method_class(self.runs[run]["kind"]).needs_background

    def needs_texts(self, run: str) -> bool:
        """Whether a run reads background text while it learns."""
        return method_class(self.runs[run]["kind"]).reads_texts(self.runs[run])
