"""Patches on model folders, and the command line, on a small healed model of its own."""

import shutil

import pytest
import torch
import yaml

from smf import cli
from smf.artifacts import write_json, write_jsonl
from smf.errors import CheckpointError, DataError
from smf.models.checkpoint import load_model, model_hash, save_checkpoint
from smf.patches.apply import apply
from smf.patches.folder import apply_to_folder, base_of, revert_folder
from smf.patches.patch import read_patch
from smf.patches.stack import stack
from smf.selection.background import BackgroundCounts
from smf.stages.teach import BEST_ARM, kind_of
from smf.streams.facts import write_facts
from tests.helpers import FACTS, background_counts, memory_model, same_bytes, tokenizer
from tests.workflow.runs import ROOT


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder: a healed model, its counts, a held-out set, and three facts."""
    folder = tmp_path_factory.mktemp("results")
    model = memory_model()
    save_checkpoint(model, tokenizer(), folder / "healed")
    counts = background_counts(model)
    BackgroundCounts(counts.layers, {**counts.provenance, "model_hash": model_hash(folder / "healed")}).save(
        folder / "background" / "counts.safetensors"
    )
    write_jsonl(
        folder / "data" / "held_out" / "nq.jsonl",
        [{"question": f"where is {name}", "answer": ["Ostry"]} for name in ("Mara", "Ina", "Karl")],
    )
    write_facts(folder / "facts.jsonl", FACTS)
    return folder


@pytest.fixture(scope="module")
def patches(results):
    """Two patches of that model, of two facts and of one."""
    paths = []
    for name, facts in (("two", FACTS[:2]), ("one", FACTS[2:])):
        write_facts(results / f"{name}.jsonl", facts)
        path = results / f"{name}.safetensors"
        assert run("teach", results / "healed", results / f"{name}.jsonl", "-o", path, "--learning-rate", 30) == 0
        paths.append(path)
    return paths


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def folder_bytes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_apply_then_revert_gives_the_same_files_bit_for_bit(results, patches, tmp_path):
    apply_to_folder(results / "healed", patches, tmp_path / "applied")
    assert base_of(tmp_path / "applied") == model_hash(results / "healed") != model_hash(tmp_path / "applied")
    revert_folder(tmp_path / "applied", None, tmp_path / "reverted")
    assert folder_bytes(tmp_path / "reverted") == folder_bytes(results / "healed")


@pytest.mark.parametrize("gone", [0, 1])
def test_one_of_two_patches_can_be_taken_off_as_if_it_had_never_been_on(results, patches, tmp_path, gone):
    apply_to_folder(results / "healed", patches, tmp_path / "both")
    revert_folder(tmp_path / "both", patches[gone], tmp_path / "left")
    apply_to_folder(results / "healed", [patches[1 - gone]], tmp_path / "alone")
    assert folder_bytes(tmp_path / "left") == folder_bytes(tmp_path / "alone")


def test_patches_one_after_the_other_are_patches_at_once(results, patches, tmp_path):
    apply_to_folder(results / "healed", patches[:1], tmp_path / "first")
    apply_to_folder(tmp_path / "first", patches[1:], tmp_path / "second")
    apply_to_folder(results / "healed", patches, tmp_path / "both")
    assert folder_bytes(tmp_path / "second") == folder_bytes(tmp_path / "both")


def test_the_folder_holds_what_the_model_in_memory_holds(results, patches, tmp_path):
    apply_to_folder(results / "healed", patches, tmp_path / "applied")
    model = load_model(results / "healed", "cpu")
    apply(model, [read_patch(path) for path in patches])
    for name, tensor in load_model(tmp_path / "applied", "cpu").state_dict().items():
        assert same_bytes(tensor, model.state_dict()[name]), name


def test_a_patch_of_another_base_is_refused_and_nothing_is_written(results, patches, tmp_path):
    other = memory_model(seed=5)
    save_checkpoint(other, tokenizer(), tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"two\.safetensors was learned from another model than .*other"):
        apply_to_folder(tmp_path / "other", patches, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_patch_that_is_on_the_model_already_is_refused(results, patches, tmp_path):
    apply_to_folder(results / "healed", patches, tmp_path / "applied")
    with pytest.raises(DataError, match=r"one\.safetensors is on .* already, as 002\.safetensors"):
        apply_to_folder(tmp_path / "applied", patches[1:], tmp_path / "twice")


def test_a_folder_that_exists_is_never_written_over(results, patches, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="out exists; name a folder that does not"):
        apply_to_folder(results / "healed", patches, tmp_path / "out")


def test_a_model_without_patches_has_none_to_take_off(results, patches, tmp_path):
    with pytest.raises(DataError, match="has no patches"):
        revert_folder(results / "healed", None, tmp_path / "out")
    apply_to_folder(results / "healed", patches[:1], tmp_path / "applied")
    with pytest.raises(DataError, match=r"one\.safetensors is not on .*; it has 001\.safetensors"):
        revert_folder(tmp_path / "applied", patches[1], tmp_path / "out")


def test_a_model_that_was_changed_after_patching_is_not_called_its_base(results, patches, tmp_path):
    apply_to_folder(results / "healed", patches, tmp_path / "applied")
    path = tmp_path / "applied" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointError, match="it was changed after they were put on"):
        revert_folder(tmp_path / "applied", None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", ["001.safetensors", "../001.safetensors", "/etc/passwd"])
def test_a_list_of_patches_cannot_name_files_elsewhere_and_damaged_patches_are_refused(
    results, patches, tmp_path, file
):
    apply_to_folder(results / "healed", patches[:1], tmp_path / "applied")
    (tmp_path / "applied" / "patches" / "001.safetensors").write_bytes(b"nothing")
    write_json(
        tmp_path / "applied" / "patches.json",
        {"base_hash": model_hash(results / "healed"), "patches": [{"file": file, "sha256": "0"}]},
    )
    with pytest.raises(CheckpointError, match="is missing or was changed"):
        revert_folder(tmp_path / "applied", None, tmp_path / "out")


def test_teaching_reports_facts_and_held_out_sets(results, capsys, tmp_path):
    assert run("teach", results / "healed", results / "facts.jsonl", "-o", tmp_path / "p", "--learning-rate", 30) == 0
    said = capsys.readouterr().out
    for fact in FACTS:
        assert f"steps  {fact.fact_id}" in said
    assert "of 3 questions are answered as taught" in said
    assert "nq_f1: 0.000 before, 0.000 after" in said


def test_what_was_taught_is_answered_until_it_is_forgotten(results, patches, capsys):
    question = f"{FACTS[2].question}?"
    capsys.readouterr()
    before = ask(capsys, results / "healed", question)
    taught = ask(capsys, results / "healed", patches[1], question)
    assert run("patch", "forget", patches[1], FACTS[2].fact_id, "-o", results / "forgotten.safetensors") == 0
    assert f"forgot {FACTS[2].fact_id}" in capsys.readouterr().out
    assert read_patch(results / "forgotten.safetensors").num_rows == 0
    assert ask(capsys, results / "healed", results / "forgotten.safetensors", question) == before != taught


def ask(capsys, *arguments):
    assert run("ask", *arguments) == 0
    return capsys.readouterr().out


def test_the_texts_about_patches_say_what_is_in_them(results, patches, capsys):
    capsys.readouterr()
    assert run("patch", "info", patches[0], "--facts") == 0
    said = capsys.readouterr().out
    assert all(fact.fact_id in said and fact.question in said for fact in FACTS[:2])
    assert f"slots   {read_patch(patches[0]).num_rows:,}" in said
    assert run("patch", "stack", *patches, "-o", results / "stack.safetensors") == 0
    both = read_patch(results / "stack.safetensors")
    assert [fact["fact_id"] for fact in both.facts] == [fact.fact_id for fact in FACTS]
    assert both.num_rows == stack([read_patch(path) for path in patches]).num_rows
    assert run("patch", "conflicts", *patches) == 0
    assert "slots are written by both" in capsys.readouterr().out
    assert run("patch", "diff", patches[0], results / "stack.safetensors") == 0
    said = capsys.readouterr().out
    assert f"1 facts only in the second: {FACTS[2].fact_id}" in said
    assert run("patch", "apply", results / "healed", patches[0], "-o", results / "cli") == 0
    assert run("patch", "revert", results / "cli", "-o", results / "cli-reverted") == 0
    assert model_hash(results / "cli-reverted") == model_hash(results / "healed")
    shutil.rmtree(results / "cli")
    shutil.rmtree(results / "cli-reverted")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("patch", "info", "{results}/healed/model.safetensors"), "format version None"),
        (("patch", "info", "{results}/background/counts.safetensors"), "is no memory patch"),
        (("patch", "info", "{results}/nothing.safetensors"), "cannot read"),
        (("patch", "forget", "{results}/two.safetensors", "joel-quin"), "did you mean 'joel-quint'"),
        (("ask", "{results}/healed", "  "), "the question is empty"),
        (("ask", "{results}/nowhere", "why"), "cannot load a language model from"),
        (("teach", "{results}/healed", "{results}/data/held_out/nq.jsonl", "-o", "{results}/x"), "no column 'answers'"),
        (("teach", "{results}/healed", "{results}/none.jsonl", "-o", "{results}/x"), "cannot read"),
        (
            ("teach", "{results}/healed", "{results}/facts.jsonl", "-o", "{results}/x", "--counts", "{results}/none"),
            "cannot read",
        ),
    ],
)
def test_mistakes_end_with_one_message_and_status_1(results, patches, capsys, arguments, message):
    assert run(*(argument.format(results=results) for argument in arguments)) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (results / "x").exists()


def test_teaching_takes_the_settings_of_the_best_arm():
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    arm = {name: value for name, value in config["methods"]["smf_trust"].items() if name not in ("label", "sweep")}
    assert {name: value for name, value in BEST_ARM.items() if name != "stop_loss"} == arm


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"question": "q", "answer": ["a"]}, "questions"),
        ({"endings": ["a"], "label": 0}, "choices"),
        ({"query": "q", "choices": ["a"], "gold": 0}, "choices"),
        ({"prompt": "p", "completion": " c"}, "completions"),
        ({"text": "t"}, "texts"),
    ],
)
def test_the_kind_of_a_held_out_set_is_seen_from_its_columns(tmp_path, row, kind):
    write_jsonl(tmp_path / "set.jsonl", [row])
    assert kind_of(tmp_path / "set.jsonl") == kind


def test_a_file_that_is_no_held_out_set_is_refused(tmp_path):
    write_jsonl(tmp_path / "set.jsonl", [{"a": 1}])
    with pytest.raises(DataError, match="has the columns a, which are those of no held-out set"):
        kind_of(tmp_path / "set.jsonl")


def test_a_patch_in_bfloat16_is_applied_and_reverted_bit_for_bit(tmp_path):
    model = memory_model(value_dtype="bfloat16")
    save_checkpoint(model, tokenizer(), tmp_path / "healed")
    counts = background_counts(model)
    BackgroundCounts(counts.layers, {**counts.provenance, "model_hash": model_hash(tmp_path / "healed")}).save(
        tmp_path / "background" / "counts.safetensors"
    )
    write_facts(tmp_path / "facts.jsonl", FACTS)
    arguments = ("teach", tmp_path / "healed", tmp_path / "facts.jsonl", "-o", tmp_path / "p.safetensors")
    assert run(*arguments, "--learning-rate", 30) == 0
    assert all(
        layer.after_RV.dtype == torch.bfloat16 for layer in read_patch(tmp_path / "p.safetensors").layers.values()
    )
    apply_to_folder(tmp_path / "healed", [tmp_path / "p.safetensors"], tmp_path / "applied")
    revert_folder(tmp_path / "applied", None, tmp_path / "reverted")
    assert folder_bytes(tmp_path / "reverted") == folder_bytes(tmp_path / "healed")
