"""Config files as people write them: what one takes out of another, and YAML's traps by file and line."""

import copy

import pytest
import yaml
from snakemake.utils import update_config

from smf.config.experiment import Experiment
from smf.config.overlays import ConfigFiles, typed
from smf.errors import ConfigError
from smf.plan import main as plan
from tests.pages import example
from tests.workflow.runs import ROOT, merged, tiny, tiny_config


@pytest.fixture
def lay(tmp_path):
    """Lay a text over the tiny config, as the file mine.yaml; gives the experiment."""

    def experiment(text, **changes):
        mine = tmp_path / "mine.yaml"
        mine.write_bytes(text if isinstance(text, bytes) else text.encode())
        files = ConfigFiles([tiny_config(tmp_path / "tiny.yaml", **changes), mine])
        try:
            found = Experiment(files.config)
            files.require_underneath(found.removed)
        except ConfigError as error:
            raise ConfigError(files.explain(error)) from error
        return found

    return experiment


@pytest.fixture
def refusal(lay, tmp_path):
    """The message with which a text laid over the tiny config is refused, without the folder of its files."""

    def message(text, **changes):
        with pytest.raises(ConfigError) as caught:
            lay(text, **changes)
        told = str(caught.value)
        assert "\n" not in told
        return told.replace(f"{tmp_path}/", "")

    return message


def swept(**changes):
    return {"sweeps": {"lora": {"learning_rate": [0.1, 0.2]}, "full": {"learning_rate": [0.1, 0.3]}}, **changes}


# What null takes out


def test_a_method_that_is_null_is_as_if_it_had_never_been_there_and_its_sweep_goes_with_it(lay):
    found = lay("methods: {lora: null}", **swept())
    without = tiny(**swept())
    del without["methods"]["lora"], without["sweeps"]["lora"]
    assert found.config == Experiment(without).config
    assert found.runs == Experiment(without).runs


@pytest.mark.parametrize(
    ("below", "above"),
    [
        ({"sweeps": {"full": {"learning_rate": [0.1]}}}, "sweeps: {full: null}"),
        ({"sweeps": {"full": {"learning_rate": [0.1], "momentum": [0.5]}}}, "sweeps: {full: {momentum: null}}"),
        ({"evaluation": {"num_items": {"nq": 2}}}, "evaluation: {num_items: {nq: ~}}"),
        ({"evaluation": {"num_fewshot": {"nq": 1}}}, "evaluation: {num_fewshot: {nq:}}"),
        ({"evaluation": {"tasks": {"arc_easy": {"num_items": 5}}}}, "evaluation: {tasks: {arc_easy: null}}"),
        ({"methods": {"full": {"momentum": 0.5}}}, "methods: {full: {momentum: null}}"),
        ({"methods": {"full": {"sweep": [0.1, 0.2]}}}, "methods: {full: {sweep: null}}"),
        ({"healing": {"weight_decay": 0.5}}, "healing: {weight_decay: null}"),
        ({"device": "mps"}, "device:"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_null_takes_out_what_the_file_underneath_holds(lay, below, above):
    mine = yaml.safe_load(above)
    expected = Experiment(merged(tiny(**below), mine))  # the helper of these tests removes what is None
    found = lay(above, **below)
    assert found.runs == expected.runs
    assert found.asking == expected.asking
    assert found.config["healing"] == expected.config["healing"]
    assert found.config["device"] == expected.config["device"]


def test_a_held_out_set_that_is_null_takes_with_it_how_many_of_its_rows_are_asked():
    text = {"format": "text", "hub": "somebody/text"}
    collection = {
        "data_root": None,
        "background": text,
        "facts": {"format": "triviaqa", "hub": "somebody/trivia"},
        "held_out": {"nq": {"format": "nq_open", "hub": "somebody/nq"}, "wiki": text},
    }
    config = tiny(
        data={"source": "collection", "collection": collection},
        base={"min_recall": 0.0},
        evaluation={"num_items": {"wiki": 3}},
    )
    config["data"]["collection"]["held_out"]["wiki"] = None
    found = Experiment(config)
    assert list(found.probes) == ["nq"]
    assert found.config["evaluation"]["num_items"] == {}


def test_null_stays_a_value_where_it_is_one(lay):
    assert lay("frontier: {seeds: null}", frontier={"seeds": [5]}).config["frontier"]["seeds"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "methods: {loar: null}",
            "methods.loar is null, which removes the value of an earlier file, but no earlier file",
        ),
        ("healing:\n  weight_decay:\n", "healing.weight_decay is null, which removes the value of an earlier file, "),
    ],
)
def test_null_over_nothing_is_refused_as_a_misspelled_name_or_a_forgotten_value(refusal, text, message):
    assert refusal(text).startswith(message)


def test_the_name_that_was_meant_and_the_line_are_in_the_message(refusal):
    assert refusal("methods:\n  loar: null\n").endswith(
        "did you mean 'lora'? give it a value, or leave it out [mine.yaml, line 2]"
    )


@pytest.mark.parametrize(
    ("below", "key"),
    [
        ({"frontier": {"methods": ["lora", "full"]}}, "frontier.methods"),
        ({"core_sets": {"method": "smf_tfidf"}}, "core_sets.method"),
        ({"interpolation": {"methods": ["full", "lora"]}}, "interpolation.methods"),
    ],
)
def test_what_names_a_method_that_was_taken_out_is_refused(refusal, below, key):
    told = refusal("methods: {lora: null, smf_tfidf: null}", **below)
    assert told.startswith(key)
    assert told.endswith(f"[tiny.yaml, line {line_of(tiny(**below), *key.split('.'))}]")


def line_of(config, section, key):
    """The line of a key in the file that ``tiny_config`` writes."""
    lines = yaml.safe_dump(config, sort_keys=False).splitlines()
    start = lines.index(f"{section}:")
    return next(index for index in range(start, len(lines)) if lines[index].startswith(f"  {key}:")) + 1


@pytest.mark.parametrize(
    ("below", "above"),
    [
        ({"a": {"b": 1, "c": [1]}}, {"a": {"c": [2], "d": {"e": None}}}),
        ({"a": 1}, {"a": {"b": {"c": 1}}}),
        ({"a": {"b": 1}}, {"a": None}),
    ],
)
def test_files_are_laid_over_one_another_as_snakemake_does(tmp_path, below, above):
    paths = [tmp_path / "below.yaml", tmp_path / "above.yaml"]
    for path, config in zip(paths, (below, above), strict=True):
        path.write_text(yaml.safe_dump(config))
    expected: dict = {}
    update_config(expected, copy.deepcopy(below))
    update_config(expected, copy.deepcopy(above))
    assert ConfigFiles(paths).config == expected


# The command line


def test_nested_settings_of_the_command_line_have_the_types_of_a_file():
    as_snakemake_parsed = {
        "stream": {"num_facts": "5", "loss_on": "answer"},
        "seeds": ["0", "1"],
        "methods": {"a": "null"},
    }
    assert typed(as_snakemake_parsed) == {
        "stream": {"num_facts": 5, "loss_on": "answer"},
        "seeds": [0, 1],
        "methods": {"a": None},
    }


def test_an_unknown_key_of_the_command_line_is_told_where_it_is_and_how_to_write_it(tmp_path):
    overrides = {"steps_per_fact": 5}
    files = ConfigFiles([tiny_config(tmp_path / "tiny.yaml")], overrides)
    with pytest.raises(ConfigError) as caught:
        Experiment(files.config)
    told = files.explain(caught.value)
    assert told.startswith("the config: unknown key 'steps_per_fact'; it exists as stream.steps_per_fact: ")
    assert told.endswith("[--config, where a key within another is written as in --config stream='{num_facts: 5}']")


# YAML's traps


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: [7]\ndevice: cpu\nseeds: [8]\n", "mine.yaml, lines 1 and 3: seeds is there twice, "),
        ("methods:\n  full: {}\n  'full': {}\n", "mine.yaml, lines 2 and 3: methods.full is there twice, "),
        ("stream:\n\tnum_facts: 5\n", "mine.yaml, line 2: a tab; indent YAML with spaces only"),
        ("stream:\n  num_facts: 3\n  \torder: shuffled\n", "mine.yaml, line 3: a tab; "),
        ("stream:\n  num_facts:5\n  order: shuffled\n", "mine.yaml, line 2: no space after the colon of `num_facts:`"),
        ("methods: {lora:null}\n", "mine.yaml, line 1: no space after the colon of `lora:`"),
        ("stream: num_facts:5\n", "stream is 'num_facts:5', but must be a mapping "),
        ("methods: {1: {kind: full}}\n", "mine.yaml, line 1: the key 1 is not text to YAML (int); begin keys with a"),
        (
            "methods:\n  on: {kind: full}\n",
            "mine.yaml, line 2: YAML reads the key on as true or false; put it in quotes",
        ),
        ("methods:\n  2026-01-01: {}\n", "mine.yaml, line 2: the key 2026-01-01 is not text to YAML (timestamp); "),
        ("device: 2026-01-01\n", "mine.yaml, line 1: YAML reads 2026-01-01 as a date; put it in quotes"),
        ("seeds: [012]\n", "mine.yaml, line 1: YAML reads 012 as 10, in base 8; "),
        ("seeds: [1:30]\n", "mine.yaml, line 1: YAML reads 1:30 as 90, in base 60; "),
        ("", "mine.yaml is empty; "),
        ("# nothing\n", "mine.yaml is empty; "),
        ("- seeds\n", "mine.yaml, line 1: a config holds keys and values"),
        ("seeds: [0, 1\n", "mine.yaml, line 2: not YAML (while parsing a flow sequence, "),
        ("seeds: [7]\n  device: cpu\n", "mine.yaml, line 2: not YAML (while parsing a block mapping, "),
        (b"device: cpu\n# caf\xe9\n", "mine.yaml, line 2: not UTF-8 text; save the file as UTF-8"),
        ("a: &a [*a]\n", "mine.yaml, line 1: this value contains itself through its anchor; write it out"),
        (
            "device: !!python/name:os.system x\n",
            "mine.yaml, line 1: not YAML (could not determine a constructor for the",
        ),
    ],
)
def test_a_trap_of_yaml_is_named_with_file_and_line(refusal, text, message):
    assert refusal(text).startswith(message)


@pytest.mark.parametrize(
    ("text", "message", "end"),
    [
        (
            "methods:\n  smf_tfidf:\n    selector: no\n",
            "methods.smf_tfidf.selector: unknown value False; ",
            "[mine.yaml, line 3: no, which YAML reads as false; put text in quotes]",
        ),
        (
            "methods: {smf_tfidf: {selector: null}}\n",
            "methods.smf_tfidf.selector: unknown value None; did you mean 'none'?",
            "[mine.yaml, line 1]",
        ),
        (
            "methods: {full: {learning_rate: 3e-5}}\n",
            "methods.full.learning_rate is '3e-5', but must be a number",
            "write 3.0e-05, not 3e-5 [mine.yaml, line 1]",
        ),
        (
            "methods:\n  full:\n    sweep:\n    - 0.1\n    - 1.0e5\n",
            "methods.full.sweep.1 is '1.0e5', but must be a number",
            "write 100000.0, not 1.0e5 [mine.yaml, line 5]",
        ),
        (
            "sweeps:\n  full: {learning_rate: [1e-4]}\n",
            "sweeps.full.learning_rate is '1e-4', but must be a number",
            "write 0.0001, not 1e-4 [mine.yaml, line 2]",
        ),
        ("stream: {num_facts: '4'}", "stream.num_facts is '4'", "in quotes is text: write 4 [mine.yaml, line 1]"),
        ("stream: {num_facts: 4.0}", "stream.num_facts is 4.0", "; write 4 [mine.yaml, line 1]"),
        (
            "stream: {num_facts: yes}",
            "stream.num_facts is True",
            ": yes, which YAML reads as true; put text in quotes]",
        ),
        ("stream: {max_length: None}", "stream.max_length is 'None'", "; write null [mine.yaml, line 1]"),
        ("healing: {learning_rate: .inf}", "healing.learning_rate is inf", "[mine.yaml, line 1]"),
        ("healing: {learning_rate: {a: 1}}", "healing.learning_rate is {'a': 1}", "[mine.yaml, line 1]"),
        (
            "stream:\nsteps_per_fact: 3\n",
            "the config: unknown key 'steps_per_fact'; it exists as stream.steps_per_fact: ",
            "[mine.yaml, line 2]",
        ),
        ("stream:\n  num_facts: 9\n", "stream.num_facts is 9, but must be at most 8", "[mine.yaml, line 2]"),
        ("stream:\n  snapshots: [99]\n", "stream.snapshots names position 99", "[mine.yaml, line 2]"),
    ],
)
def test_what_is_wrong_with_a_setting_is_told_with_its_file_and_line(refusal, text, message, end):
    told = refusal(text)
    assert told.startswith(message), told
    assert told.endswith(end), told


def test_anchors_and_merges_are_not_taken_for_repeats(lay):
    text = """
        methods:
          full: &full {kind: full, learning_rate: 0.5}
          faster:
            <<: *full
            learning_rate: 1_0.5
    """
    assert lay(text).runs["faster"] == {**lay(text).runs["full"], "learning_rate": 10.5}


def test_what_a_merge_takes_over_is_wrong_where_it_is_written(refusal):
    text = "sweeps:\n  full: &a\n    learning_rate: [x]\n  lora:\n    <<: *a\n    combine: product\n"
    assert refusal(text).endswith("[mine.yaml, line 3]")


def test_the_documented_overlay_leaves_out_two_methods_and_keeps_one_seed(tmp_path):
    (tmp_path / "mine.yaml").write_text(example("overlay"))
    files = ConfigFiles([ROOT / "config.yaml", tmp_path / "mine.yaml"])
    found = Experiment(files.config)
    files.require_underneath(found.removed)
    whole = Experiment(ConfigFiles([ROOT / "config.yaml"]).config)
    assert whole.methods.keys() - found.methods.keys() == {"lora", "smf_random"}
    assert found.config["seeds"] == [0]


def test_the_shipped_configs_have_no_traps():
    paths = [ROOT / "config.yaml", *(ROOT / "presets").glob("*.yaml"), *(ROOT / "benchmarks").glob("*.yaml")]
    for path in paths:
        assert ConfigFiles([path]).config == yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_plan_on_the_terminal_takes_the_files_that_snakemake_takes(tmp_path, capsys):
    path, mine = tiny_config(tmp_path / "tiny.yaml"), tmp_path / "mine.yaml"
    mine.write_text("methods: {lora: null}\n")
    assert plan([str(path), str(mine)]) == 0
    assert "learn 2" in capsys.readouterr().out  # of full and smf_tfidf; three with lora
    mine.write_text("stream:\n\tnum_facts: 3\n")
    assert plan([str(path), str(mine)]) == 1
    assert capsys.readouterr().err == f"ConfigError: {mine}, line 2: a tab; indent YAML with spaces only\n"
    assert plan([str(tmp_path / "no.yaml")]) == 1
    assert capsys.readouterr().err.startswith(
        f"ConfigError: {tmp_path}/no.yaml cannot be read (No such file or directory; {tmp_path}/"
    )
