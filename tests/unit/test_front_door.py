"""``from smf import ...``: what it offers, what it costs, and that each example runs."""

import ast
import copy
import doctest
import json
import re
import shutil
import subprocess
import sys

import pytest

import smf
from smf.config.load import load_config
from smf.errors import CheckpointError, ConfigError
from smf.files.artifacts import sha256
from smf.files.resume import Resume
from smf.methods.settings import MethodSettings
from smf.models.checkpoint import load_model, load_tokenizer, model_hash, save_checkpoint
from smf.patches.apply import revert
from smf.patches.patch import read_patch, write_patch
from smf.selection.background import BackgroundCounts
from smf.stages.learn import Learning, Run, learn
from smf.streams.facts import write_facts
from smf.teaching.ask import answer, ask
from smf.training.learn import StreamSettings
from smf.training.stream import learn_stream
from tests.helpers import (
    BACKGROUND,
    FACTS,
    MAX_LENGTH,
    background_counts,
    base_model,
    copy_of_state,
    memory_model,
    same_bytes,
    tokenizer,
    write_results,
)
from tests.workflow.runs import ROOT

WITHOUT_EXAMPLE = {"SmfError"}
SMF = MethodSettings("smf", top_t=8, learning_rate=3.0)


def test_importing_smf_imports_nothing_else_of_it_and_no_other_package():
    code = (
        "import sys; before = set(sys.modules); import smf; dir(smf)\n"
        "more = {name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names\n"
        "print(more, [name for name in sys.modules if name.startswith('smf.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "{'smf'} []\n"


def test_each_name_is_offered_typed_and_found_where_it_is_defined():
    tree = ast.parse((ROOT / "smf/__init__.py").read_text(encoding="utf-8"))
    typed = {alias.asname: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
             if node.module.startswith("smf.") for alias in node.names}  # fmt: skip
    assert smf.__all__ == sorted(typed)
    for name, module in typed.items():
        assert (getattr(smf, name).__module__, getattr(smf, name).__name__) == (module, name)
        assert not (ROOT / "smf" / name).exists(), f"smf.{name} is a package too"
        assert not (ROOT / "smf" / f"{name}.py").exists(), f"smf.{name} is a module too"


def test_a_name_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(AttributeError, match=r"no attribute 'learn_streem'; it offers .*learn_stream"):
        smf.learn_streem  # noqa: B018


# Examples


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What examples may use: files in a folder, and a memory model that has learned three facts."""
    folder = tmp_path_factory.mktemp("examples")
    save_checkpoint(base_model(), tokenizer(), folder / "base")
    write_facts(folder / "facts.jsonl", FACTS)
    shutil.copy2(ROOT / "config.yaml", folder)
    model = memory_model()
    background = background_counts(model)
    learned = learn_stream(model, tokenizer(), FACTS, SMF, StreamSettings(steps_per_fact=2), background=background)
    names = {"model": model, "background": background, "learned": learned, "patch": learned.patch}
    return folder, {**names, "tokenizer": tokenizer(), "facts": FACTS}


@pytest.mark.parametrize("name", sorted(set(smf.__all__) - WITHOUT_EXAMPLE))
def test_the_example_of_each_name_does_what_it_says(given, monkeypatch, name):
    folder, names = given
    monkeypatch.chdir(folder)
    names = {**{name: getattr(smf, name) for name in smf.__all__}, **names, "model": copy.deepcopy(names["model"])}
    [found] = doctest.DocTestFinder(recurse=False).find(getattr(smf, name), name, globs=names)
    assert found.examples, f"the docstring of {name} has no example"
    told = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(optionflags=flags).run(found, out=told.append)
    assert not told, "".join(told)


def test_the_code_of_the_tutorial_teaches_a_model_folder_and_takes_it_back(tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    code = "".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert len(ast.parse(code).body) <= 20  # statements
    save_checkpoint(base_model(), tokenizer(), tmp_path / "model")
    (tmp_path / "texts.txt").write_text("".join(f"{each.prompt}{each.completion}\n" for each in BACKGROUND))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "docs/tutorial.md", "exec"), names)
    said = capsys.readouterr().out
    for fact, row in zip(names["facts"], names["learned"].rows, strict=True):
        assert fact.fact_id in said
        assert row["losses"][-1] < row["losses"][0]
    # The folder that it leaves is the taught model, and the base again once the patch is taken off.
    taught, question = load_model("taught"), names["facts"][0].question
    patch = read_patch("facts.safetensors")
    assert answer(taught, tokenizer(), question) == ask("with_memory", ["facts.safetensors"], question)
    assert not same_state(taught, load_model("with_memory"))
    revert(taught, [patch])
    assert same_state(taught, load_model("with_memory"))


def same_state(first, second):
    ours, theirs = copy_of_state(first), copy_of_state(second)
    return ours.keys() == theirs.keys() and all(same_bytes(ours[name], theirs[name]) for name in ours)


# Settings


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (
            "MemorySettings",
            {"layers": [1], "num_kyes": 8},
            ": unknown key 'num_kyes'; did you mean 'num_keys'? known: ",
        ),
        ("MemorySettings", {}, ": the key 'layers' is missing (Blocks that get a memory layer, counted from 0.)"),
        (
            "MemorySettings",
            {"layers": [1], "num_keys": 1},
            ".num_keys is 1, but must be at least 2 (Sub-keys per half;",
        ),
        (
            "MemorySettings",
            {"layers": [1], "mode": "aditive"},
            ".mode: unknown value 'aditive'; did you mean 'additive'?",
        ),
        ("StreamSettings", {"steps": 3}, ": unknown key 'steps'; "),
        ("StreamSettings", {"epochs": 0}, ".epochs is 0, but must be at least 1 (Passes over the stream.)"),
        ("StreamSettings", {"snapshots": (3, 0)}, ".snapshots.1 is 0, but must be at least 1"),
        ("StreamSettings", {"asking": "few_shot"}, ".asking: 'few_shot' is no Asking (How facts are asked while"),
        ("EvaluationSettings", {"num_fewshot": {"nq": -1}}, ".num_fewshot.nq is -1, but must be at least 0"),
        (
            "EvaluationSettings",
            {"prompt_format": "fewshot"},
            ".prompt_format: unknown value 'fewshot'; did you mean 'few_",
        ),
        ("MethodSettings", {"kind": "smf", "top_t": 0}, "smf.top_t is 0, but must be at least 1"),
        ("SparseMemoryConfig", {"memory": "additive"}, ".memory is additive, but must be MemorySettings, or None"),
        (
            "RowSparseOptimizer",
            {"lr": 1, "optimizer": "adam"},
            ".optimizer: unknown value 'adam'; did you mean 'adamw'?",
        ),
        (
            "RowSparseOptimizer",
            {"lr": 1, "selector": "tfdif"},
            ".selector: unknown value 'tfdif'; did you mean 'tfidf'?",
        ),
        ("RowSparseOptimizer", {"lr": -1.0}, ".lr is -1.0, but must be at least 0"),
    ],
)
def test_a_wrong_setting_is_told_as_one_of_a_config_is(name, given, message):
    """Which setting, its value, what is right and what it means: in one line, as an error of smf."""
    if name == "RowSparseOptimizer":
        given = {"model": memory_model(), **given}
    with pytest.raises(ConfigError) as caught:
        getattr(smf, name)(**given)
    assert str(caught.value).startswith(message if message.startswith("smf.") else f"{name}{message}")
    assert "\n" not in str(caught.value)


def test_positions_may_be_given_as_a_list():
    assert StreamSettings(snapshots=[1, 3]).snapshots == (1, 3)


# Learning in memory


STREAM = {"steps_per_fact": 2, "loss_on": "answer", "max_length": None, "micro_batch_size": None, "facts_per_step": 1}
STREAM |= {"epochs": 1, "order": "shuffled", "schedule": "constant", "warmup_steps": 0, "stop_loss": None}
STREAM |= {"prompt_format": "plain", "max_gradient_norm": None}


def test_what_is_learned_in_memory_is_what_the_stage_writes(tmp_path):
    results = write_results(tmp_path)
    paths = {"start_folder": results / "healed", "facts_path": results / "facts.jsonl"}
    run = Run(SMF, **paths, counts_path=results / "background/counts.safetensors")
    learn(run, Learning(STREAM, MAX_LENGTH), delta_paths={3: tmp_path / "stage"}, log_path=tmp_path / "log.jsonl")
    learned = learn_stream(
        load_model(results / "healed"),
        load_tokenizer(results / "healed"),
        FACTS,
        SMF,
        StreamSettings(steps_per_fact=2, max_length=MAX_LENGTH, name=f"seed 0 {sha256(results / 'facts.jsonl')[:8]}"),
        background=BackgroundCounts.load(results / "background/counts.safetensors"),
        base_hash=model_hash(results / "healed"),
    )
    write_patch(tmp_path / "memory", learned.patch)
    assert (tmp_path / "memory").read_bytes() == (tmp_path / "stage").read_bytes()
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [{**row, "seconds": None} for row in learned.rows] == [{**row, "seconds": None} for row in logged]


def test_a_method_without_patches_gives_its_delta_and_the_model_that_holds_it():
    method = MethodSettings("lora", learning_rate=0.03, rank=2)
    learned = learn_stream(base_model(), tokenizer(), FACTS, method, StreamSettings(steps_per_fact=1, snapshots=(1, 3)))
    assert learned.patch is None
    assert [snapshot.position for snapshot in learned.snapshots] == [1, 3]
    state = learned.model.state_dict()
    held = [same_bytes(tensor, state[name.replace(".weight", ".default.weight")])
            for name, tensor in learned.delta.items()]  # fmt: skip
    assert all(held)


def test_a_stream_that_was_killed_behind_its_last_batch_still_gives_what_it_learned(tmp_path):
    def work():
        hooks = smf.training.stream.StreamHooks(resume=Resume(tmp_path, "a"))
        model = memory_model()
        return learn_stream(
            model,
            tokenizer(),
            FACTS,
            SMF,
            StreamSettings(steps_per_fact=1),
            background=background_counts(model),
            hooks=hooks,
        )

    first, again = work(), work()
    assert again.rows == first.rows  # the seconds too: nothing was learned again
    write_patch(tmp_path / "first", first.patch)
    write_patch(tmp_path / "again", again.patch)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "again").read_bytes()


def test_a_patch_of_a_model_that_was_not_saved_goes_on_no_folder_and_says_why(given, tmp_path):
    _, names = given
    save_checkpoint(memory_model(), tokenizer(), tmp_path / "model")
    write_patch(tmp_path / "patch", names["patch"])
    with pytest.raises(CheckpointError, match=r"\(its base is not saved, this is"):
        ask(tmp_path / "model", [tmp_path / "patch"], "where is Ann")


# Settings


def test_the_settings_of_a_method_are_those_that_a_config_with_the_same_words_gives():
    trust = load_config(ROOT / "config.yaml").runs["smf_trust"]
    changes = {name: trust[name] for name in ("selector", "damping", "past_weight", "polyak", "stop_loss")}
    assert dict(MethodSettings("smf", **changes)) == trust


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("smff", {}, r"unknown method kind 'smff'; did you mean 'smf'\?"),
        ("smf", {"top_tt": 3}, r"smf: unknown key 'top_tt'; did you mean 'top_t'\?"),
        ("smf", {"top_t": 0}, r"smf.top_t is 0, but must be at least 1 \(Slots that may train"),
        ("lora", {}, r"lora: the key 'learning_rate' is missing \(Highest step size"),
        (
            "smf",
            {"damping": 0.1, "optimizer": "adamw"},
            "smf: damping shortens steps, but optimizer adamw ",
        ),
    ],
)
def test_a_mistake_in_the_settings_is_told_with_its_name(kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        MethodSettings(kind, **settings)


def test_a_config_that_is_wrong_is_told_with_file_and_line(tmp_path):
    (tmp_path / "mine.yaml").write_text("stream:\n  steps_per_fact: 0\n")
    with pytest.raises(ConfigError, match=r"steps_per_fact.*\[.*mine\.yaml, line 2"):
        load_config(ROOT / "config.yaml", tmp_path / "mine.yaml")
