"""The config: what is wrong is told at once and in one line, what is not said is filled in, everything is described."""

import json
from collections.abc import Iterator, Mapping

import pytest
import yaml
from jsonschema import Draft202012Validator

from smf.config.experiment import Experiment
from smf.config.schema import schema_text
from smf.errors import ConfigError
from smf.methods.kind_settings import KindSettings
from smf.methods.registry import method_class, method_kinds
from tests.helpers import needed_settings, settings_schema
from tests.workflow.runs import ROOT, merged, tiny

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
SET = {"hub": "somebody/something", "split": "train", "file": "rows.jsonl", "num_rows": 10}
QUESTION_SETS = {
    "source": "question_sets",
    "question_sets": {"data_root": None, "known": SET, "new": SET, "hellaswag": SET},
}
TEXT = {"format": "text", "hub": "somebody/text"}
COLLECTION = {
    "source": "collection",
    "collection": {
        "data_root": None,
        "background": TEXT,
        "healing": TEXT,
        "facts": {"format": "triviaqa", "hub": "somebody/trivia", "num_rows": 10},
        "held_out": {"nq": {"format": "nq_open", "hub": "somebody/nq"}, "wikitext": TEXT},
    },
}
CONFIGS = [ROOT / "config.yaml", *sorted((ROOT / "presets").glob("*.yaml"))]


def refusal(config):
    """The message with which a config is refused."""
    with pytest.raises(ConfigError) as caught:
        Experiment(config)
    message = str(caught.value)
    assert "\n" not in message
    return message


def resolved(schema):
    """The schema, with what its $ref names."""
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    return {**SCHEMA["$defs"][name], **schema} if name else schema


def properties(schema, path=()) -> Iterator[tuple[tuple, dict]]:
    """Every key that the schema describes: its path and its schema."""
    for key, child in resolved(schema).get("properties", {}).items():
        yield (*path, key), resolved(child)
        yield from properties(child, (*path, key))


def method_properties() -> Iterator[tuple[tuple, dict]]:
    """Every setting of every kind, at the place of a method that is named after its kind."""
    for kind in method_kinds():
        for setting, schema in settings_schema(kind)["properties"].items():
            yield ("methods", kind, setting), schema


def complete():
    """A valid config in which every section and every kind occurs."""
    config = tiny(methods={"lora": None, "smf_tfidf": None})
    config["data"]["question_sets"] = json.loads(json.dumps(QUESTION_SETS["question_sets"]))
    config["data"]["collection"] = json.loads(json.dumps(COLLECTION["collection"]))
    config["methods"] = {kind: {"kind": kind, **needed_settings(kind)} for kind in method_kinds()}
    return config


def collection(**changes):
    """A valid config of a collection, with changes of its sources."""
    return merged(tiny(base={"min_recall": 0.0}, data=COLLECTION), {"data": {"collection": changes}})


def changed(path, value):
    """The complete config with one value changed."""
    config = complete()
    place = config
    for key in path[:-1]:
        place = place.setdefault(key, {})
    place[path[-1]] = value
    return config


PROPERTIES = [*properties(SCHEMA), *method_properties()]
SECTIONS = [(), ("methods", "full"), *(path for path, schema in PROPERTIES if schema.get("type") == "object")]
NAMED = [
    ("methods",),
    ("sweeps",),
    ("data", "collection", "held_out"),
    ("evaluation", "num_items"),
    ("evaluation", "num_fewshot"),
    ("evaluation", "tasks"),
    ("methods", "peft", "peft_config"),  # peft's own keys, checked against its config classes when learning starts
]
SECTIONS = [path for path in SECTIONS if path not in NAMED]  # there the keys are names, checked one by one below


def name_of(value):
    return ".".join(map(str, value)) if isinstance(value, tuple) else None


# The schema


def test_the_schema_in_the_repository_is_what_the_code_declares():
    text = (ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8")
    assert text == schema_text(), "run `make schema`"


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(("path", "schema"), PROPERTIES, ids=name_of)
def test_every_key_is_described(path, schema):
    assert schema.get("description", "").endswith((".", ")")), f"{path} has no description that is a sentence"


def test_the_schema_holds_no_stray_keyword():
    """YAML makes one out of ``{description: one, two}``."""

    def keywords(schema, inside_properties=False):
        if isinstance(schema, Mapping):
            for key, part in schema.items():
                if not inside_properties:
                    yield key
                yield from keywords(part, not inside_properties and key in ("properties", "$defs"))

    used = set(keywords({key: value for key, value in SCHEMA.items() if key != "title"}))
    assert used <= {*Draft202012Validator.VALIDATORS, "$schema", "$defs", "description", "default", "then"}


@pytest.mark.parametrize(("path", "schema"), PROPERTIES, ids=name_of)
def test_a_default_is_itself_valid(path, schema):
    if "default" in schema:
        Draft202012Validator({**schema, "$defs": SCHEMA["$defs"]}).validate(schema["default"])


def test_every_mapping_is_closed():
    def mappings(schema):
        if isinstance(schema, Mapping):
            if schema.get("type") == "object" and "properties" in schema:
                yield schema
            for part in schema.values():
                yield from mappings(part)

    of_a_method = [SCHEMA["properties"][key]["additionalProperties"] for key in ("sweeps", "methods")]
    # A method and its sweep are closed by the schema of its kind, see the unknown keys below.
    open_ones = [schema for schema in mappings(SCHEMA) if schema.get("additionalProperties") is not False]
    assert sorted(map(id, open_ones)) == sorted(map(id, of_a_method))


# What is right


def untuned(method):
    """A method's settings without what a sweep decides, and without its label."""
    return {key: value for key, value in method.items() if key not in ("learning_rate", "sweep", "label")}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path, tmp_path):
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    if config["base"]["source"] == "checkpoint":
        (tmp_path / "config.json").write_text('{"num_hidden_layers": 5}')
        config["base"]["checkpoint"] = str(tmp_path)  # nor are models
    if config["data"]["source"] == "question_sets":
        config["data"]["question_sets"]["data_root"] = None  # the files are not part of the repository
    experiment = Experiment(config)
    assert experiment.config["results"] == ("results" if path.stem == "config" else f"results/{path.stem}")
    for name, method in experiment.methods.items():
        if method.get("frontier_only"):
            tried = [trial.changes for trial in experiment.trials.values() if trial.method == name]
            assert len(tried) >= 2, f"the frontier is to try several settings of {name}"
            continue
        if name in experiment.rate_free:
            assert "sweep" not in method, f"{name} needs no rate"
            continue
        if "sweep" not in method:  # a published rate, kept as it is, or another one of the same method's sweep
            assert path.stem == "gupta2026_medmcqa" or any(
                method["learning_rate"] in other.get("sweep", ()) and untuned(method) == untuned(other)
                for other in experiment.methods.values()
            )
            continue
        assert len(method["sweep"]) >= 5, f"the rate of {name} is to come from at least five"
        assert method["learning_rate"] in method["sweep"], f"the rate of {name} does not come from its sweep"


@pytest.mark.parametrize(
    ("base", "overlays"),
    [
        ("presets/lin2025_facts", ["real_shape"]),
        ("config", ["trust_region_world"]),
        ("config", ["trust_region_world", "trust_region_200"]),
        ("presets/nq_cpu", ["trust_region_nq"]),
        ("config", ["crowded"]),
        ("config", ["crowded", "second_world"]),
        ("config", ["crowded", "second_pass"]),
    ],
    ids=lambda part: part[-1] if isinstance(part, list) else part,
)
def test_what_benchmarks_lay_over_a_config_is_valid(base, overlays, tmp_path):
    config = yaml.safe_load((ROOT / f"{base}.yaml").read_text(encoding="utf-8"))
    for name in overlays:
        overlay = yaml.safe_load((ROOT / f"benchmarks/{name}.yaml").read_text(encoding="utf-8"))
        config = merged(config, overlay)
    if config["base"]["source"] == "checkpoint":
        (tmp_path / "config.json").write_text('{"num_hidden_layers": 24}')
        config["base"]["checkpoint"] = str(tmp_path)
    experiment = Experiment(config)
    assert experiment.config["results"] == f"results/{overlays[-1]}"


@pytest.mark.parametrize(("given", "number"), [(None, 4), (3, 3), (9, 4)])
def test_streams_of_tuning_seeds_may_be_shorter_and_are_never_longer(given, number):
    experiment = Experiment(tiny(tuning={"num_facts": given}))
    assert (experiment.num_facts(0), experiment.num_facts(100)) == (4, number)


@pytest.mark.parametrize(("given", "number"), [(None, 4), (3, 3), (9, 4)])
def test_trials_of_the_frontier_may_end_before_the_stream_does(given, number):
    experiment = Experiment(tiny(frontier={"num_facts": given}))
    assert (experiment.num_facts(0), experiment.trial_end(0), experiment.trial_end(100)) == (4, number, 3)
    assert experiment.positions_of("smf_tfidf--lr-1", 0) == [number]
    assert experiment.positions_of("smf_tfidf", 0) == [2, 4]


def test_the_complete_config_of_these_tests_is_valid():
    Experiment(complete())


def test_defaults_are_filled_in_everywhere():
    config = tiny()
    del config["tuning"], config["evaluation"]
    experiment = Experiment(config)
    assert experiment.config["tuning"] == {"learned": None, "num_facts": None, "seeds": [100]}
    assert experiment.config["device"] == "cpu"
    assert experiment.config["healing"]["weight_decay"] == 0.0
    assert experiment.config["evaluation"]["wordings_per_fact"] == 2
    assert experiment.runs["smf_tfidf"]["kl_background"] == "accesses"


def test_the_config_that_is_passed_in_stays_as_it_is():
    config = tiny()
    Experiment(config)
    assert config == tiny()


def test_a_label_or_a_sweep_does_not_change_what_a_method_gets():
    plain = Experiment(tiny()).runs["full"]
    assert Experiment(tiny(methods={"full": {"label": "x", "sweep": [0.5, 2.0]}})).runs["full"] == plain
    assert plain.keys() == {"kind", *method_class("full").settings_class.model_fields}


def test_a_sweep_adds_one_run_a_rate_that_differs_in_the_rate_alone():
    experiment = Experiment(tiny(methods={"full": {"sweep": [0.00001, 0.5, 300]}}))
    sweep = {run: pair for run, pair in experiment.sweep.items() if pair[0] == "full"}
    assert sweep == {"full--lr-1e-05": ("full", 1e-5), "full--lr-0.5": ("full", 0.5), "full--lr-300": ("full", 300)}
    for run, (_, rate) in sweep.items():
        assert experiment.runs[run] == {**experiment.runs["full"], "learning_rate": rate}


def test_neither_the_order_of_keys_nor_a_default_that_is_written_down_changes_what_jobs_get():
    same = tiny(device="cpu", methods={"full": {"optimizer": "adamw"}}, evaluation={"num_fewshot": {}})
    same = yaml.safe_load(yaml.safe_dump(same, sort_keys=True))
    first, second = (Experiment(config) for config in (tiny(), same))
    assert repr(first.runs) == repr(second.runs)  # Snakemake compares params by their text
    for section in ("data", "base", "memory", "healing", "background", "evaluation"):
        assert repr(first.config[section]) == repr(second.config[section])


def test_a_headline_that_is_changed_evaluates_nothing_anew():
    plain = Experiment(tiny())
    other = Experiment(
        tiny(evaluation={"headline": ["nq_em"], "num_items": {"nq": None}, "num_fewshot": {"hellaswag": 0}})
    )
    assert plain.asking == other.asking
    assert other.headline == ["nq_em"]


def test_a_sweep_of_the_frontier_combines_its_lists():
    sweeps = {"smf_tfidf": {"top_t": [4, 8], "learning_rate": [1, 10.0]}}
    product = Experiment(tiny(sweeps=sweeps))
    runs = [f"smf_tfidf--lr-{rate}--top_t-{top_t}" for rate in (1, 10) for top_t in (4, 8)]
    assert [run for run, trial in product.trials.items() if trial.method == "smf_tfidf"] == runs
    sweeps["smf_tfidf"]["combine"] = "paired"
    paired = Experiment(tiny(sweeps=sweeps))
    assert [run for run, trial in paired.trials.items() if trial.method == "smf_tfidf"] == [runs[0], runs[3]]
    assert paired.runs[runs[3]] == {**paired.runs["smf_tfidf"], "top_t": 8, "learning_rate": 10.0}
    assert paired.trials[runs[3]].setting == "learning_rate 10, top_t 8"
    assert list(paired.sweep) == ["smf_tfidf--lr-1", "smf_tfidf--lr-10"]  # learning rates are chosen as before


def test_a_method_without_a_sweep_is_tried_as_it_is_configured():
    experiment = Experiment(tiny())
    assert experiment.runs["full--as-configured"] == experiment.runs["full"]
    assert [run for run in experiment.trials if run.startswith("smf_tfidf")] == list(experiment.sweep)


def test_a_number_in_a_sweep_that_fits_no_machine_is_refused_as_any_other():
    message = refusal(tiny(sweeps={"smf_tfidf": {"top_t": [8, 10**400]}}))
    assert "top_t" in message


def test_a_method_of_the_frontier_alone_is_no_method_of_the_main_figure():
    sweep = {"frontier_only": True, "sweep": [1.0, 2.0], "label": "x"}
    experiment = Experiment(tiny(methods={"smf_tfidf": sweep}))
    shown = (experiment.starts, experiment.rates, experiment.untuned, experiment.labels, experiment.sweep)
    assert all("smf_tfidf" not in str(part) for part in shown)
    assert experiment.compared_starts["smf_tfidf"] == "healed"
    assert list(experiment.trials)[-2:] == ["smf_tfidf--lr-1", "smf_tfidf--lr-2"]


def test_the_frontier_compares_all_methods_or_those_that_it_names():
    assert Experiment(tiny()).compared == ["full", "lora", "smf_tfidf"]
    experiment = Experiment(tiny(frontier={"methods": ["smf_tfidf", "full"]}))
    assert experiment.compared == ["full", "smf_tfidf"]
    assert [trial.method for trial in experiment.trials.values()] == ["full", "smf_tfidf", "smf_tfidf"]
    assert list(experiment.sweep) == ["smf_tfidf--lr-1", "smf_tfidf--lr-10"]


def test_the_frontier_has_seeds_of_its_own_or_those_of_the_experiment():
    assert Experiment(tiny()).frontier_seeds == [0]
    experiment = Experiment(tiny(frontier={"seeds": [3, 1]}))
    assert experiment.frontier_seeds == [3, 1]
    assert experiment.all_seeds == [0, 1, 3, 100]


def test_what_facts_are_asked_depends_on_no_held_out_set():
    plain = Experiment(tiny())
    other = Experiment(tiny(evaluation={"num_items": {"nq": 3}, "tasks": {"arc_easy": {}}, "window": 16}))
    assert plain.asking_facts == other.asking_facts
    assert plain.asking_held_out != other.asking_held_out
    assert plain.asking_held_out["window"] == plain.config["base"]["max_length"]
    assert other.kinds == {"nq": "questions", "hellaswag": "choices", "arc_easy": "task"}


def test_divergences_change_what_is_asked_only_where_they_are_asked_for():
    plain = Experiment(collection())
    off = Experiment({**collection(), "evaluation": {"kl": {"num_facts": 0, "num_texts": 0}}})
    assert off.asking == plain.asking
    assert not {"kl_texts", "kl_facts"} & plain.asking.keys()
    facts = Experiment({**collection(), "evaluation": {"kl": {"num_facts": 5}}})
    taught = {"num_facts": 5, "loss_on": facts.config["stream"]["loss_on"], "max_length": 128}
    assert facts.asking_facts == {**plain.asking_facts, "kl_facts": taught}
    assert facts.asking_held_out == plain.asking_held_out
    texts = Experiment({**collection(), "evaluation": {"kl": {"num_texts": 5}}})
    assert texts.asking_held_out == {**plain.asking_held_out, "kl_texts": 5}
    assert texts.asking_facts == plain.asking_facts


def test_metrics_of_lm_evals_tasks_may_be_in_the_headline():
    evaluation = {"tasks": {"arc_easy": {}}, "headline": ["nq_f1", "arc_easy_acc_norm"]}
    assert Experiment(tiny(evaluation=evaluation)).headline == ["nq_f1", "arc_easy_acc_norm"]


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ({"source": "hub", "name": "HuggingFaceTB/SmolLM2-135M-Instruct"}, "SmolLM2-135M-Instruct"),
        ({"source": "checkpoint", "checkpoint": "models/stories260K/", "name": "owner/unused"}, "stories260K"),
        ({}, None),
    ],
    ids=["hub", "checkpoint", "pretrained here"],
)
def test_a_model_is_called_as_on_the_hub_or_as_its_folder(base, expected):
    experiment = Experiment(tiny())
    experiment.config["base"].update(base)
    assert experiment.model_name == expected


def test_methods_keep_their_order_which_is_that_of_the_figure():
    methods = {name: {"kind": "full", "learning_rate": 0.1} for name in ("zebra", "ant", "mole")}
    config = tiny() | {"methods": methods}
    assert list(Experiment(config).starts) == ["zebra", "ant", "mole"]


def test_snapshots_are_the_configured_positions_and_the_end():
    assert Experiment(tiny(stream={"num_facts": 7, "snapshots": [5, 2]})).positions == [2, 5, 7]
    assert Experiment(tiny(stream={"num_facts": 7, "snapshots": [7]})).positions == [7]


# What is wrong anywhere


@pytest.mark.parametrize("path", SECTIONS, ids=name_of)
def test_an_unknown_key_is_refused_at_every_level(path):
    message = refusal(changed((*path, "strange_key"), 1))
    assert message.startswith(f"{'.'.join(path) or 'the config'}: unknown key 'strange_key'; known: ")


@pytest.mark.parametrize(("path", "schema"), PROPERTIES, ids=name_of)
def test_a_value_of_another_type_is_refused_at_every_key(path, schema):
    message = refusal(changed(path, "text" if schema.get("type") in ("object", "array") else {"a": "mapping"}))
    assert message.startswith(".".join(path))
    assert ("'text'" in message) or ("{'a': 'mapping'}" in message) or path[-1] == "kind"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (path, schema[limit] + step, f"{words} {schema[limit]}")
        for path, schema in PROPERTIES
        for limit, step, words in (
            ("minimum", -1, "at least"),
            ("maximum", 1, "at most"),
            ("exclusiveMinimum", 0, "above"),
            ("exclusiveMaximum", 0, "below"),
        )
        if limit in schema
    ],
    ids=name_of,
)
def test_a_value_beyond_its_range_is_refused_at_every_key(path, value, expected):
    message = refusal(changed(path, value))
    assert message.startswith(f"{'.'.join(path)} is {value}, but must be {expected}")


# What is wrong in particular


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (tiny() | {"sedes": [1]}, "the config: unknown key 'sedes'; did you mean 'seeds'? known: background, base, "),
        (tiny(memory={"num_key": 8}), "memory: unknown key 'num_key'; did you mean 'num_keys'?"),
        (
            tiny(methods={"lora": {"ranks": 2}}),
            "methods.lora: unknown key 'ranks'; did you mean 'rank'? known: alpha, ",
        ),
        (tiny(methods={"full": {"rank": 2}}), "methods.full: unknown key 'rank'; known: learning_rate, momentum, "),
        (
            tiny(methods={"full": {"kind": "fulll"}}),
            "methods.full.kind: unknown method kind 'fulll'; did you mean 'full'?",
        ),
        (
            tiny(methods={"smf_tfidf": {"selector": "tf_idf"}}),
            "methods.smf_tfidf.selector: unknown value 'tf_idf'; did you mean 'tfidf'? known: tfidf, kl, ",
        ),
        (tiny(memory={"mode": "aditive"}), "memory.mode: unknown value 'aditive'; did you mean 'additive'?"),
        (
            tiny(methods={"full": {"kind": None}}),
            "methods.full: the key 'kind' is missing (A file in smf/methods: full, ",
        ),
        (
            tiny(methods={"full": {"learning_rate": None}}),
            "methods.full: the key 'learning_rate' is missing (Highest step size, see stream.schedule",
        ),
        (tiny(stream={"num_facts": None}), "stream: the key 'num_facts' is missing (Facts per stream.)"),
        (tiny(seeds=None), "the config: the key 'seeds' is missing (Runs of each method; "),
        (
            tiny(stream={"num_facts": "many"}),
            "stream.num_facts is 'many', but must be a whole number (Facts per stream.)",
        ),
        (
            tiny(base={"max_length": 64}, stream={"max_length": 65}),
            "stream.max_length is 65, but must be at most base.max_length (64)",
        ),
        (tiny(stream={"num_facts": 3.0}), "stream.num_facts is 3.0, but must be a whole number"),
        (tiny(stream={"num_facts": True}), "stream.num_facts is True, but must be a whole number"),
        (tiny(healing={"learning_rate": float("nan")}), "healing.learning_rate is nan, but must be a number"),
        (
            tiny(methods={"full": {"learning_rate": float("inf")}}),
            "methods.full.learning_rate is inf, but must be a number",
        ),
        (
            tiny(data={"question_sets": {"data_root": 5}}),
            "data.question_sets.data_root is 5, but must be a text or null",
        ),
        (tiny(seeds=[]), "seeds: [] should be non-empty (Runs of each method; "),
        (tiny(seeds=[1, 1]), "seeds: [1, 1] has non-unique elements (Runs of each method; "),
        (tiny(seeds=[-1]), "seeds.0 is -1, but must be at least 0"),
        (tiny() | {"methods": {}}, "methods: {} should be non-empty (The methods to compare"),
        (tiny() | {"methods": None}, "the config: the key 'methods' is missing (The methods to compare"),
        (tiny() | {"methods": {"full": None}}, "methods: {} should be non-empty (The methods"),
        (
            tiny(methods={"My Method": {"kind": "full"}}),
            "methods: 'My Method' cannot be a name here (A method's name is ",
        ),
        (tiny(methods={"base": {"kind": "full"}}), "methods: 'base' cannot be a name here (A method's name is "),
        (tiny(methods={5: {"kind": "full"}}), "methods: 5 cannot be a name here (A method's name is "),
        (tiny(results="/somewhere"), "results: '/somewhere' does not match"),
        (tiny(memory={"key_dim": 7}), "memory.key_dim is 7, but must be a multiple of 2 (Size of a query.)"),
        (
            tiny(sweeps={"ful": {"learning_rate": [1]}}),
            "sweeps: unknown method 'ful'; did you mean 'full'? known: full, lora, smf_tfidf",
        ),
        (
            tiny(sweeps={"smf_tfidf": {"top_T": [1]}}),
            "sweeps.smf_tfidf: unknown setting 'top_T'; did you mean 'top_t'? known: ",
        ),
        (tiny(sweeps={"smf_tfidf": {"top_t": [8, 0]}}), "sweeps.smf_tfidf.top_t is 0, but must be at least 1"),
        (
            tiny(sweeps={"smf_tfidf": {"top_t": [8, 4], "learning_rate": [1], "combine": "paired"}}),
            "sweeps.smf_tfidf: paired lists are of one length, but learning_rate has 1, top_t has 2; fill up the "
            "shorter, or use product",
        ),
        (
            tiny(sweeps={"smf_tfidf": {"polyak": [1], "optimizer": ["adamw"]}}),
            "sweeps.smf_tfidf: polyak is the length of a step along the gradient; use sgd without momentum",
        ),
        (tiny(sweeps={"full": {"learning_rate": []}}), "sweeps.full.learning_rate: "),
        (tiny(frontier={"methods": ["ful"]}), "frontier.methods: unknown method 'ful'; did you mean 'full'? "),
        (tiny(frontier={"seeds": [1, 100]}), "seed 100 is in frontier.seeds and in tuning.seeds; "),
        (
            tiny(interpolation={"methods": ["full", "ful"]}),
            "interpolation.methods is ful, but must be one of the main figure that trains weights (full, ",
        ),
        (
            tiny(interpolation={"methods": ["found"]}, methods={"found": {"kind": "retrieval"}}),
            "interpolation.methods is found, but must be one of the main figure that trains weights",
        ),
        (tiny(interpolation={"seeds": [100]}), "interpolation.seeds is 100, but must be one of seeds (0)"),
        (tiny(interpolation={"shares": [0.5, 1]}), "interpolation.shares.1 is 1, but must be below 1"),
        (
            tiny(methods={name: {"frontier_only": True} for name in ("full", "lora", "smf_tfidf")}),
            "all methods are frontier_only; the main figure needs one that is not",
        ),
        (tiny(methods={"full": {"sweep": [0.1, -1]}}), "methods.full.sweep.1 is -1, but must be above 0"),
        (
            tiny(methods={"full": {"sweep": [0.1234567, 0.1234568]}}),
            "methods.full.sweep: 0.1234567 and 0.1234568 are too close; drop one",
        ),
        (
            tiny(methods={"smf_tfidf": {"top_t": 257}}),
            "methods.smf_tfidf.top_t is 257, but a layer has 256 slots (memory.num_keys²); lower top_t or ",
        ),
        (
            tiny(sweeps={"smf_tfidf": {"top_t": [32, 257]}}),
            "sweeps.smf_tfidf.top_t is 257, but a layer has 256 slots (memory.num_keys²); lower top_t or ",
        ),
        (
            tiny(methods={"memit": {"kind": "memit", "learning_rate": 0.5}}, sweeps={"memit": {"blocks": [[1], [7]]}}),
            "sweeps.memit.blocks names block 7, but the model has blocks 0 to 1; choose other blocks",
        ),
        (
            tiny(methods={"smf_tfidf": {"score_share": 0.5, "selector": "random"}}),
            "methods.smf_tfidf: score_share is 0.5, but selector random has no meaningful scores; use tfidf, ",
        ),
        (
            tiny(healing={"objective": "distillation"}),
            "healing.objective is distillation, but memory.mode is additive: the networks stay in place, and a ",
        ),
        (
            tiny(memory={"num_keys": 2**63}),
            "memory.num_keys is 9223372036854775808, but must be a whole number",
        ),
        (
            tiny(healing={"num_steps": 0}),
            "healing.num_steps is 0, but memory.mode is additive and memory.start output: the memory's output map ",
        ),
        (
            tiny(healing={"num_steps": 0}, memory={"mode": "replace", "start": "values"}),
            "healing.num_steps is 0, but memory.mode is replace and memory.start values: the memory replaces networks,",
        ),
        (
            tiny(memory={"start": "values", "output_gate": "scalar"}),
            "memory.start is values, but memory.output_gate_init is 0: values and gate would both be zero, and neither",
        ),
        (
            tiny(memory={"output_gate_init": 0.01}),
            "memory.output_gate_init is 0.01, but must be 0 where memory.output_gate is none",
        ),
        (tiny(memory={"top_k": 257}), "memory.top_k is 257, but must be at most the 256 slots (memory.num_keys²)"),
        (
            tiny(memory={"layers": [1, 2]}),
            "memory.layers names block 2, but base.architecture.num_layers has 2 (blocks 0 to 1); choose other blocks",
        ),
        (tiny(base={"architecture": {"hidden_size": 15}}), "base.architecture.hidden_size is 15, but must be an even"),
        (
            tiny(base={"architecture": {"num_attention_heads": 4, "num_key_value_heads": 3}}),
            "base.architecture.num_key_value_heads is 3, but must be a divisor of 4",
        ),
        (
            tiny(stream={"snapshots": [2, 5]}),
            "stream.snapshots names position 5, but must be at most the stream's",
        ),
        (
            tiny(stream={"snapshots": [3], "facts_per_step": 2}),
            "stream.snapshots names position 3, but must be a multiple of ",
        ),
        (tiny(stream={"snapshots": [2], "epochs": 2}), "stream.snapshots names position 2, but must be left out with "),
        (
            tiny(stream={"warmup_steps": 12, "steps_per_fact": 3}),
            "stream.warmup_steps is 12, but must be below the stream's 12",
        ),
        (
            tiny(stream={"warmup_steps": 9, "steps_per_fact": 3}),
            "stream.warmup_steps is 9, but must be below the 9 steps of streams of 3 facts (tuning.num_facts)",
        ),
        (
            tiny(stream={"warmup_steps": 6, "steps_per_fact": 3}, frontier={"num_facts": 2}),
            "stream.warmup_steps is 6, but must be below the 6 steps of streams of 2 facts (frontier.num_facts)",
        ),
        (tiny(seeds=[0, 7], tuning={"seeds": [7]}), "seed 7 is in seeds and in tuning.seeds; rates must be chosen on"),
        (tiny(stream={"num_facts": 9}), "stream.num_facts is 9, but must be at most 8 (4 * data.world.num_new_people)"),
        (
            tiny(evaluation={"num_items": {"nq": 9}}),
            "evaluation.num_items.nq is 9, but must be at most 8 (4 * data.world.num_old_people)",
        ),
        (
            tiny(evaluation={"num_items": {"hellaswag": 3}, "num_fewshot": {"hellaswag": 1}}),
            "evaluation.num_items.hellaswag is 3, but must be at most 2 (data.world.num_activities * items_per_",
        ),
        (
            tiny(evaluation={"num_fewshot": {"nq": 8}}),
            "evaluation.num_items.nq is 1, but must be at most 0 (4 * data.world.num_old_",
        ),
        (
            tiny(evaluation={"num_items": {"helaswag": 1}}),
            "evaluation.num_items: there is no held-out set 'helaswag'; did you mean 'hellaswag'? known: nq, hellaswag",
        ),
        (
            tiny(evaluation={"num_fewshot": {"gsm8k": 1}}),
            "evaluation.num_fewshot: there is no held-out set 'gsm8k'; known: nq, hellaswag",
        ),
        (tiny(evaluation={"num_items": {"nq": 0}}), "evaluation.num_items.nq is 0, but must be at least 1"),
        (
            tiny(evaluation={"tasks": {"nq": {}}}),
            "evaluation.tasks.nq: a held-out set has this name too, and their metrics would be named alike; drop one",
        ),
        (
            tiny(evaluation={"tasks": {"arc_easy": {"num_item": 5}}}),
            "evaluation.tasks.arc_easy: unknown key 'num_item'; did you mean 'num_items'?",
        ),
        (
            tiny(evaluation={"headline": ["nq_fl"]}),
            "evaluation.headline: there is no held-out metric 'nq_fl'; did you mean 'nq_f1'? known: nq_f1, nq_em, hell",
        ),
        (
            tiny(evaluation={"headline": ["facts_question_f1"]}),
            "evaluation.headline: there is no held-out metric 'facts_question_f1'; ",
        ),
        (
            tiny(evaluation={"headline": ["facts_kl"]}),
            "evaluation.headline: facts_kl is 0 for every start model, so a relative rise is undefined; ",
        ),
        (
            tiny(evaluation={"kl": {"num_texts": 5}}),
            "evaluation.kl.num_texts is 5, but must be 0: no held-out set is running text (data.collection, ",
        ),
        (tiny(evaluation={"headline": []}), "evaluation.headline: [] should be non-empty (The one or two held-out"),
        (
            tiny(evaluation={"max_new_tokens": 128}),
            "evaluation.max_new_tokens is 128, but must be below base.max_length (128)",
        ),
        (tiny(base={"source": "checkpoint"}), "base.source is checkpoint, but base.checkpoint is not set; name a"),
        (tiny(base={"source": "hub"}), "base.source is hub, but base.name is not set; name a model as owner/name"),
        (collection(background=None), "data.source is collection, but data.collection.background is not set"),
        (
            collection(held_out={"nq": None, "wikitext": None}),
            "data.source is collection, but data.collection.held_out",
        ),
        (
            collection(healing={"format": "gsm8k"}),
            "data.collection.healing.format is gsm8k, but must be one of text, in",
        ),
        (collection(facts={"format": "text"}), "data.collection.facts.format is text, but must be one of triviaqa, "),
        (
            collection(held_out={"nq": {"format": "documents"}}),
            "data.collection.held_out.nq.format is documents, but must be one of nq_open, ",
        ),
        (
            collection(held_out={"wikitext": {"known_only": True}}),
            "data.collection.held_out.wikitext.known_only is True, but must be false: only questions are answered ",
        ),
        (
            collection(facts={"format": "documents", "unknown_only": True}),
            "data.collection.facts.unknown_only is True, but must be false: documents are passages, which ",
        ),
        (
            collection(facts={"format": "counterfact", "neighbours": 1}),
            "data.collection.facts.neighbours is 1, but must be 0 unless format is triviaqa, nq_open, simpleqa",
        ),
        (
            collection(facts={"neighbours": 1, "num_rows": None}),
            "data.collection.facts.neighbours is 1, but data.collection.facts.num_rows is not set: neighbours come ",
        ),
        (collection(background={"known_only": True}), "data.collection.background: unknown key 'known_only'; "),
        (collection(held_out={"nq": {"fomat": 1}}), "data.collection.held_out.nq: unknown key 'fomat'; did you mean "),
        (collection(held_out={"facts": TEXT}), "data.collection.held_out: 'facts' cannot be a name here (A held-out "),
        (collection(facts={"hub": None}), "data.collection.facts: name its file, or its hub data set"),
        (
            collection(facts={"num_rows": 3}),
            "stream.num_facts is 4, but must be at most 3 (data.collection.facts.num_r",
        ),
        (
            collection(facts={"hub": None, "file": "no/facts.jsonl"}),
            "data.collection.facts.file: there is no file no/facts.jsonl; correct the name or data.collection.",
        ),
        (
            tiny(data=COLLECTION),
            "base.min_recall is 0.5, but data.source is collection, which has no questions that the base model was",
        ),
        (
            tiny(stream={"paraphrases": {"source": "model"}}),
            "stream.paraphrases.source is model: set stream.paraphrases.model.name (a model on the hub) or stream.",
        ),
        (
            tiny(stream={"paraphrases": {"model": {"prompt": "Say it."}}}),
            "stream.paraphrases.model.prompt does not say where the text goes; write {fact} in it",
        ),
        (
            tiny(data={"source": "question_sets"}),
            "data.source is question_sets, but data.question_sets.known is not set",
        ),
        (
            tiny(data=QUESTION_SETS, stream={"num_facts": 11}),
            "stream.num_facts is 11, but must be at most 10 (data.question_sets.new.num_rows)",
        ),
        (
            tiny(data=QUESTION_SETS, evaluation={"num_items": {"hellaswag": 11}}),
            "evaluation.num_items.hellaswag is 11, but must be at most 10 (data.question_sets.hellaswag.num_rows)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_message(config, expected):
    assert refusal(config).startswith(expected)


def test_the_probes_of_a_collection_have_the_kinds_of_their_formats():
    experiment = Experiment(collection())
    assert experiment.probes == {"nq": "questions", "wikitext": "texts"}
    assert experiment.known is None
    assert Experiment(tiny()).known in Experiment(tiny()).probes


def test_defaults_of_sources_are_filled_in_wherever_they_are_named():
    sources = Experiment(collection()).config["data"]["collection"]
    assert sources["held_out"]["wikitext"]["num_rows"] is None
    assert sources["healing"]["split"] == "train"


def test_what_aliases_of_yaml_share_gets_the_defaults_of_each_place():
    config = collection()
    given = config["data"]["collection"]
    given["held_out"]["wikitext"] = given["background"]
    sources = Experiment(config).config["data"]["collection"]
    assert sources["held_out"]["wikitext"]["known_only"] is False
    assert "known_only" not in sources["background"]


def test_a_stream_depends_on_the_wordings_that_it_takes_only():
    def wordings(**settings):
        return Experiment(tiny(stream={"paraphrases": settings})).wordings

    assert wordings(number=5, seed=3) == {"source": "none"}
    assert wordings(source="templates", number=5, seed=3) == {"source": "templates", "number": 5, "seed": 3}
    model = {"name": "owner/name"}
    assert wordings(source="model", number=5, seed=3, model=model) == {"source": "model", "number": 5}


def test_a_rate_that_yaml_takes_for_text_is_explained():
    config = tiny(methods={"full": yaml.safe_load("learning_rate: 1e-4")})
    message = refusal(config)
    assert message.startswith("methods.full.learning_rate is '1e-4', but must be a number (Highest step size")
    assert message.endswith("write 0.0001, not 1e-4")


def test_a_missing_data_file_is_named_with_both_ways_out(tmp_path):
    config = tiny(data=QUESTION_SETS | {"question_sets": QUESTION_SETS["question_sets"] | {"data_root": str(tmp_path)}})
    message = refusal(config)
    assert message.startswith(f"data.question_sets.known.file: there is no file {tmp_path / 'rows.jsonl'}; ")
    assert "set data_root to null to load from the hub" in message
    (tmp_path / "rows.jsonl").touch()
    Experiment(config)


def test_a_missing_checkpoint_is_named_with_the_path_that_was_tried_and_both_ways_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal(tiny(base={"source": "checkpoint", "checkpoint": "models/mine"}))
    assert message.startswith(
        f"base.checkpoint: models/mine holds no model, there is no {tmp_path}/models/mine/config.json"
    )
    assert "put a transformers folder there" in message
    assert "`base: {checkpoint: /path/to/it}`" in message


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        (("base", "checkpoint"), "~/models"),
        (("data", "question_sets", "data_root"), "$HOME/data"),
        (("data", "collection", "data_root"), "/data/${USER}"),
        (("evaluation", "include_path"), "~someone/tasks"),
        (("stream", "paraphrases", "model", "checkpoint"), "~/models"),
    ],
    ids=name_of,
)
def test_a_path_that_needs_a_shell_is_refused(path, folder):
    expected = f"{'.'.join(path)} is {folder}, but must be a full path: only a shell"
    assert refusal(changed(path, folder)).startswith(expected)


@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
def test_a_checkpoint_with_a_broken_config_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    message = refusal(tiny(base={"source": "checkpoint", "checkpoint": str(tmp_path)}))
    assert message.startswith(f"base.checkpoint: cannot read {tmp_path / 'config.json'} (")


def test_a_layer_that_the_checkpoint_does_not_have_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 1}')
    base = {"source": "checkpoint", "checkpoint": str(tmp_path), "architecture": {"num_layers": 1}}
    message = refusal(tiny(base=base))
    assert message.startswith(f"memory.layers names block 1, but the model in {tmp_path} has 1 (blocks 0 to 0); choose")
    Experiment(tiny(base=base, memory={"layers": [0]}))


def test_a_pretrained_model_has_default_sizes_and_one_from_elsewhere_only_those_that_are_expected(tmp_path):
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 2}')
    checkpoint = {"source": "checkpoint", "checkpoint": str(tmp_path), "architecture": {"vocab_size": 512}}
    sizes = {"vocab_size": 512, "hidden_size": 128, "num_layers": 4, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "intermediate_size": 384}
    for base, expected in (({"source": "pretrain"}, sizes), (checkpoint, {"vocab_size": 512})):
        config = tiny()
        config["base"] = {"max_length": 128, "architecture": {"vocab_size": 512}, **base}
        assert Experiment(config).config["base"]["architecture"] == expected


def hub(**architecture):
    config = tiny()
    config["base"] = {"source": "hub", "name": "some/model", "max_length": 128, "architecture": architecture}
    return config


def test_a_layer_that_the_hubs_model_is_expected_not_to_have_is_refused():
    message = refusal(hub(num_layers=1))
    assert message.startswith("memory.layers names block 1, but base.architecture.num_layers has 1 (blocks 0 to 0)")


def test_only_layers_that_the_config_cannot_check_are_left_to_the_loaded_model():
    config = hub()
    assert Experiment(config).unchecked_layers == config["memory"]["layers"]
    assert Experiment(hub(num_layers=4)).unchecked_layers == []
    assert Experiment(tiny()).unchecked_layers == []


@pytest.mark.parametrize(
    ("key", "expected", "found"),
    [("num_layers", 4, 3), ("model_type", "llama", "qwen3"), ("tie_word_embeddings", True, False), ("head_dim", 8, 16)],
)
def test_a_checkpoint_of_another_architecture_than_expected_is_refused(key, expected, found, tmp_path):
    written = {"num_hidden_layers": 3, "model_type": "qwen3", "tie_word_embeddings": False, "head_dim": 16}
    (tmp_path / "config.json").write_text(json.dumps(written))
    config = hub(**{key: expected})
    config["base"] |= {"source": "checkpoint", "checkpoint": str(tmp_path)}
    assert refusal(config).startswith(
        f"base.architecture.{key} is {expected}, but the model in {tmp_path} has {found}; correct or"
    )


def test_a_pretrained_model_is_always_a_qwen2():
    message = refusal(tiny(base={"architecture": {"model_type": "llama"}}))
    assert message.startswith("base.architecture.model_type is llama, but base.source is pretrain, which makes a Qwen2")


def test_a_pretrained_model_has_an_end_of_text_token_of_its_own():
    message = refusal(tiny(base={"end_of_text": "<s>"}))
    assert message.startswith("base.end_of_text is '<s>', but base.source is pretrain")
    assert message.endswith("drop it")


@pytest.mark.parametrize("changes", [{"gradient_checkpointing": True}, {"min_recall": 0.9}], ids=str)
def test_how_activations_are_kept_and_what_is_accepted_do_not_make_the_base_model_stale(changes):
    assert Experiment(tiny(base=changes)).base == Experiment(tiny()).base


def test_a_sweep_of_a_kind_without_a_rate_is_refused(monkeypatch):
    class Rateless(KindSettings):
        optimizer: str = "adamw"
        """How."""

    monkeypatch.setattr(method_class("full"), "settings_class", Rateless)
    config = tiny(methods={"full": {"learning_rate": None, "sweep": [0.1]}})
    assert refusal(config) == "methods.full.sweep: methods of kind full have no learning_rate to sweep; drop it"
