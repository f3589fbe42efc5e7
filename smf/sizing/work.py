"""How much work an experiment is and how much disk it fills: jobs, steps, tokens, questions, bytes."""

from collections.abc import Mapping
from dataclasses import dataclass

from smf.data.formats import STATED_ONCE
from smf.data.known_rows import known_sets, only_unknown_facts
from smf.files.model_shape import BaseShape, MemoryShape
from smf.methods.method import Footprint
from smf.methods.registry import method_class
from smf.sizing.activations import BYTES, FLOAT32, Texts
from smf.sizing.peak_memory import Models
from smf.streams.passes import Passes
from smf.wordings.sentences import QUESTION_ANSWER_TRAIN, RELATIONS

_INDEX = 8
_SCORES = 60_000  # bytes of one snapshot's scores with lm-eval's raw results


@dataclass(frozen=True)
class Work:
    """What an experiment has to do, from its checked config.

    Attributes:
        config: The config with all defaults.
        probes: Kind of each held-out set by its name.
        positions: Positions of the snapshots.
    """

    config: Mapping
    probes: Mapping[str, str]
    positions: tuple[int, ...]

    @property
    def models(self) -> Models:
        """Sizes and types of the models."""
        base, memory = self.config["base"], self.config["memory"]
        shape = BaseShape.from_base(base)
        return Models(
            shape,
            MemoryShape.from_config(memory, shape.hidden_size),
            weight=BYTES[base["dtype"]],
            value=BYTES[memory["value_dtype"]],
            on_cpu=self.config["device"] == "cpu",
            checkpointing=base["gradient_checkpointing"],
            zero_tables=memory["start"] == "values" and self.config["healing"]["num_steps"] == 0,
        )

    @property
    def passes(self) -> Passes:
        """The passes over a stream."""
        stream = self.config["stream"]
        return Passes(*(stream[key] for key in ("num_facts", "facts_per_step", "epochs", "steps_per_fact")))

    @property
    def stepless(self) -> list[str]:
        """The methods that take no steps."""
        return [name for name, method in self.config["methods"].items() if method_class(method["kind"]).retrieves]

    @property
    def batch(self) -> Texts:
        """The batch of one step, with wordings of the longest length."""
        length = self.config["stream"]["max_length"] or self.config["base"]["max_length"]
        return Texts(self.config["stream"]["facts_per_step"] * self.wordings, length, length - 1)

    @property
    def methods(self) -> dict[str, dict]:
        """The methods of the default target: those of the main figure."""
        return {name: method for name, method in self.config["methods"].items() if not method.get("frontier_only")}

    @property
    def wordings(self) -> int:
        """Training wordings per fact; those of a question for your own facts, as only their file tells the number."""
        paraphrases = self.config["stream"]["paraphrases"]
        if paraphrases["source"] != "none":
            return paraphrases["number"]
        data = self.config["data"]
        if data["source"] == "world":
            return max(len(relation.train) for relation in RELATIONS.values())
        if data["source"] == "collection" and data["collection"]["facts"]["format"] in STATED_ONCE:
            return 1
        return len(QUESTION_ANSWER_TRAIN)

    @property
    def paraphraser(self) -> str | None:
        """The model that paraphrases the facts; None if no model does."""
        paraphrases = self.config["stream"]["paraphrases"]
        if paraphrases["source"] != "model":
            return None
        return paraphrases["model"]["name"] or paraphrases["model"]["checkpoint"]

    @property
    def probe_passes(self) -> int:
        """Batches that healing measures on: with the base, the installed, the calibrated and the healed model."""
        healing = self.config["healing"]
        memory = self.config["memory"]
        calibrated = len(memory["layers"]) + 1 if memory["calibrate_queries"] else 0  # one layer at a time
        distilled = 2 * (healing["objective"] == "distillation")  # before and after
        return (3 + calibrated + distilled) * healing["probe_batches"]

    def footprint(self, name: str) -> Footprint:
        """A method's footprint: the memory that it takes and the delta that it leaves."""
        settings, models = self.config["methods"][name], self.models
        chosen = method_class(settings["kind"])
        settings = chosen.settings_class.read(settings)
        return chosen.footprint(
            settings, models.base, models.memory, num_steps=self.passes.num_steps, tokens_per_step=self.batch.num_tokens
        )

    def start(self, name: str) -> str:
        """The model that a method starts from."""
        return method_class(self.config["methods"][name]["kind"]).starts_from

    @property
    def jobs(self) -> dict[str, int]:
        """Jobs of the default target, by rule."""
        seeds, methods = len(self.config["seeds"]), self.methods
        counted = any(method_class(method["kind"]).needs_background for method in methods.values())
        once = ("scores", "summary", "plot_forgetting")
        return {
            "prepare_data": 1,
            "paraphrase": int(self.paraphraser is not None),
            "base_model": 1,
            "ask_base": int(bool(self.asked_first)),
            "heal": 1,
            "count_background": int(counted),
            "count_contrast": int(any(method.get("contrast") for method in methods.values())),
            "draw_stream": seeds,
            "learn": seeds * len(methods),
            "evaluate": seeds * len(methods),
            "evaluate_held_out": 2,
            "evaluate_start": seeds,
            **dict.fromkeys(once, 1),
        }

    @property
    def sweep_runs(self) -> int:
        """Runs of the learning-rate sweep, each one job."""
        rates = sum(len(method.get("sweep", ())) for method in self.methods.values())
        return rates * len(self.config["tuning"]["seeds"])

    @property
    def evaluations(self) -> int:
        """Snapshots and start models that are scored."""
        return len(self.config["seeds"]) * (len(self.methods) * len(self.positions) + 2)

    @property
    def asked(self) -> dict[str, int | None]:
        """Items of each held-out set that one evaluation asks; None if only the data tell."""
        chosen = self.config["evaluation"]["num_items"]
        return {probe: chosen.get(probe) or self._available(probe) for probe in self.probes}

    def _available(self, probe: str) -> int | None:
        data = self.config["data"]
        if data["source"] == "world":
            world = data["world"]
            return {"nq": 4 * world["num_old_people"]}.get(probe, world["num_activities"] * world["items_per_activity"])
        if data["source"] == "question_sets":
            return data["question_sets"]["known" if probe == "nq" else probe]["num_rows"]
        return data["collection"]["held_out"][probe].get("num_rows")

    @property
    def asked_first(self) -> dict[str, int | None]:
        """Questions that the base model is asked to choose rows; None if only the data tell how many."""
        data = self.config["data"]
        chosen = {name: data["collection"]["held_out"][name]["num_rows"] for name in known_sets(data)}
        return chosen | ({"facts": data["collection"]["facts"]["num_rows"]} if only_unknown_facts(data) else {})

    @property
    def answers(self) -> int:
        """The most answers that all evaluations generate: to held-out questions, and to all forms of each fact.

        Questions that the base model is asked first are counted too, as far as the config tells their number.
        """
        questions = sum(number or 0 for probe, number in self.asked.items() if self.probes[probe] == "questions")
        data, evaluation = self.config["data"], self.config["evaluation"]
        runs = len(self.config["seeds"]) * len(self.methods)
        two_hop = data["source"] == "world" and data["world"]["two_hop"]
        forms = 2 * evaluation["wordings_per_fact"] + 1 + two_hop
        asked = [min(position, evaluation["num_facts"] or position) for position in self.positions]
        facts = runs * sum(asked) + 2 * len(self.config["seeds"]) * asked[-1]
        snapshots = runs * len(self.positions)
        first = sum(number or 0 for number in self.asked_first.values())
        return first + (snapshots + 2) * questions + forms * facts  # the start models are asked once for all seeds

    def delta_bytes(self, name: str) -> int:
        """Bytes of one snapshot, at most."""
        footprint, models = self.footprint(name), self.models
        if footprint.own_weights:
            return footprint.delta * models.weight
        if footprint.memory_weights:
            return models.bytes_of_memory
        if self.start(name) == "base":
            return footprint.delta * FLOAT32
        values = (footprint.delta + footprint.history) * models.value
        return values + footprint.delta // models.memory.value_dim * _INDEX

    @property
    def disk(self) -> dict[str, int]:
        """Bytes below ``results`` by content, for the main figure; without the data and without resume state."""
        models, snapshots = self.models, len(self.config["seeds"]) * len(self.positions)
        slots = len(models.memory.layers) * models.memory.num_slots
        not_stored = models.memory.num_values * models.value if models.zero_tables else 0
        return {
            "base model": models.bytes_of("base"),
            "healed model": models.bytes_of("healed") - not_stored,
            "background counts": 4 * _INDEX * slots,
            **{f"snapshots of {name}": snapshots * self.delta_bytes(name) for name in self.methods},
            "scores": self.evaluations * _SCORES,
        }
