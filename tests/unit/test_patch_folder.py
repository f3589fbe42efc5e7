"""Patches on model folders, and the command line, on a small healed model of its own."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml

from smf import cli
from smf.cli.models import NOT_KNOWN
from smf.errors import CheckpointError, DataError
from smf.files.artifacts import write_json, write_jsonl
from smf.files.seals import seal
from smf.models.checkpoint import load_model, model_hash, save_checkpoint
from smf.patches.apply import apply
from smf.patches.folder import apply_to_folder, revert_folder
from smf.patches.held import VERSION, held_by
from smf.patches.patch import read_patch, write_patch
from smf.patches.stack import stack
from smf.selection.background import BackgroundCounts
from smf.streams.facts import write_facts
from smf.teaching.given_files import kind_of
from smf.teaching.lessons import BEST_ARM
from tests.helpers import FACTS, background_counts, memory_model, same_bytes, tokenizer, write_results
from tests.workflow.runs import ROOT

TEACH = ("teach", "{results}/healed", "{results}/facts.jsonl", "-o", "{results}/x")

TAUGHT = (0, NOT_KNOWN)
"""Exit statuses after which there is a patch, whether the tiny model then knows all facts or not."""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder: a healed model, its counts, a held-out set, and three facts."""
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def patches(results):
    """Two patches of that model, of two facts and of one."""
    paths = []
    for name, facts in (("two", FACTS[:2]), ("one", FACTS[2:])):
        write_facts(results / f"{name}.jsonl", facts)
        path = results / f"{name}.safetensors"
        assert run("teach", results / "healed", results / f"{name}.jsonl", "-o", path, "--learning-rate", 30) in TAUGHT
        paths.append(path)
    return paths


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def folder_bytes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_apply_then_revert_gives_the_same_files_bit_for_bit(results, patches, tmp_path):
    apply_to_folder(results / "healed", patches, tmp_path / "applied")
    assert held_by(tmp_path / "applied").base_hash == model_hash(results / "healed") != model_hash(tmp_path / "applied")
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
    with pytest.raises(DataError, match=r"one\.safetensors is already on .*, as 002\.safetensors"):
        apply_to_folder(tmp_path / "applied", patches[1:], tmp_path / "twice")


def test_a_folder_that_exists_is_never_written_over(results, patches, tmp_path):
    (tmp_path / "out").mkdir()
    for write in (apply_to_folder, lambda folder, paths, out: revert_folder(folder, None, out)):
        with pytest.raises(DataError, match="out exists and is not overwritten; name another path"):
            write(results / "healed", patches, tmp_path / "out")


def test_a_model_without_patches_has_none_to_take_off(results, patches, tmp_path):
    with pytest.raises(DataError, match="has no patches"):
        revert_folder(results / "healed", None, tmp_path / "out")
    apply_to_folder(results / "healed", patches[:1], tmp_path / "applied")
    with pytest.raises(DataError, match=r"one\.safetensors is not on .*; it has 001\.safetensors"):
        revert_folder(tmp_path / "applied", patches[1], tmp_path / "out")


def test_a_model_that_was_changed_after_patching_is_refused_by_whatever_relies_on_its_patches(
    results, patches, tmp_path, capsys
):
    changed, out = tmp_path / "applied", tmp_path / "out"
    apply_to_folder(results / "healed", patches[:1], changed)
    path = changed / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    for arguments in (
        ("patch", "revert", changed, "-o", out),
        ("patch", "apply", changed, patches[1], "-o", out),
        ("ask", changed, patches[1], "why"),
        ("teach", changed, results / "facts.jsonl", "-o", out),
    ):
        assert run(*arguments) == 1
        assert "applied was changed after its patches were applied" in capsys.readouterr().err
    assert not out.exists()


def test_a_patch_that_says_of_the_base_what_it_does_not_hold_is_not_put_on(results, patches, tmp_path):
    patch = read_patch(patches[1])
    block, layer = next(iter(patch.layers.items()))
    wrong = replace(patch, layers={**patch.layers, block: replace(layer, before_RV=layer.before_RV + 1)})
    write_patch(tmp_path / "wrong.safetensors", wrong)
    with pytest.raises(CheckpointError, match="is not what the patches say"):
        apply_to_folder(results / "healed", [tmp_path / "wrong.safetensors"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_patch_is_not_put_on_twice_whatever_its_file_is_called(results, patches, tmp_path, capsys):
    shutil.copy(patches[0], tmp_path / "copy.safetensors")
    for arguments in (
        ("patch", "apply", results / "healed", patches[0], tmp_path / "copy.safetensors", "-o", tmp_path / "out"),
        ("patch", "stack", patches[0], patches[0], "-o", tmp_path / "out"),
        ("ask", results / "healed", patches[0], patches[0], "why"),
    ):
        assert run(*arguments) == 1
        second = tmp_path / "copy.safetensors" if "apply" in arguments else patches[0]
        assert f"{patches[0]} and {second} both hold {FACTS[0].fact_id!r}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_patched_model_is_asked_with_a_further_patch_as_with_both(results, patches, tmp_path, capsys):
    apply_to_folder(results / "healed", patches[:1], tmp_path / "applied")
    question = f"{FACTS[2].question}?"
    both = ask(capsys, results / "healed", *patches, question)
    assert ask(capsys, str(tmp_path / "applied"), patches[1], question) == both
    assert run("ask", tmp_path / "applied", patches[0], question) == 1
    assert f"applied/patches/001.safetensors and {patches[0]} both hold" in capsys.readouterr().err


def test_folders_may_be_named_by_strings(results, patches, tmp_path):
    apply_to_folder(str(results / "healed"), [str(patches[0])], str(tmp_path / "applied"))
    revert_folder(str(tmp_path / "applied"), str(patches[0]), str(tmp_path / "reverted"))
    assert folder_bytes(tmp_path / "reverted") == folder_bytes(results / "healed")


def test_a_model_with_patches_is_not_taught_but_its_base(results, patches, tmp_path, capsys):
    apply_to_folder(results / "healed", patches[:1], tmp_path / "applied")
    assert run("teach", tmp_path / "applied", results / "one.jsonl", "-o", tmp_path / "p.safetensors") == 1
    assert "applied has 1 patches on it, and a patch is learned from the base" in capsys.readouterr().err
    assert not (tmp_path / "p.safetensors").exists()


def test_no_file_is_written_over_but_by_forget_without_out(results, patches, tmp_path, capsys):
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    for arguments in (
        ("teach", results / "healed", results / "one.jsonl", "-o", mine),
        ("patch", "stack", *patches, "-o", mine),
        ("patch", "forget", patches[0], FACTS[0].fact_id, "-o", mine),
        ("teach", results / "healed", results / "one.jsonl", "-o", tmp_path),
    ):
        assert run(*arguments) == 1
        assert "exists and is not overwritten" in capsys.readouterr().err
    assert run("teach", results / "healed", results / "one.jsonl", "-o", mine / "p") == 1
    assert "cannot be written in" in capsys.readouterr().err
    assert run("teach", results / "healed", results / "one.jsonl", "-o", tmp_path / ("p" * 235 + ".safetensors")) == 1
    assert "File name too long; name another place" in capsys.readouterr().err
    assert mine.read_text() == "mine"


def test_a_patch_that_a_model_or_an_experiment_relies_on_is_not_changed_in_place(results, patches, tmp_path, capsys):
    apply_to_folder(results / "healed", patches[:1], tmp_path / "applied")
    assert run("patch", "forget", tmp_path / "applied/patches/001.safetensors", FACTS[0].fact_id) == 1
    assert "001.safetensors is applied to the model" in capsys.readouterr().err
    assert held_by(tmp_path / "applied").paths
    learned = tmp_path / "results/runs/smf/learn/position-2.safetensors"
    learned.parent.mkdir(parents=True)
    shutil.copy(patches[0], learned)
    seal(tmp_path / "results", [learned], {}, rule="learn", job="learn/smf", wildcards={})
    assert run("patch", "forget", learned, FACTS[0].fact_id) == 1
    assert "is what an experiment in" in capsys.readouterr().err
    assert run("patch", "forget", learned, FACTS[0].fact_id, "-o", tmp_path / "p.safetensors") == 0
    (tmp_path / "link").symlink_to(tmp_path / "p.safetensors")
    assert run("patch", "forget", tmp_path / "link", FACTS[1].fact_id) == 0
    assert (tmp_path / "link").is_symlink()
    assert not read_patch(tmp_path / "p.safetensors").facts


def test_weights_in_a_file_that_the_model_is_not_read_from_are_left_alone(results, patches, tmp_path):
    shutil.copytree(results / "healed", tmp_path / "healed")
    shutil.copy(tmp_path / "healed/model.safetensors", tmp_path / "healed/model-00001-of-00001.safetensors")
    apply_to_folder(tmp_path / "healed", patches[:1], tmp_path / "applied")
    model = load_model(results / "healed", "cpu")
    apply(model, [read_patch(patches[0])])
    for name, tensor in load_model(tmp_path / "applied", "cpu").state_dict().items():
        assert same_bytes(tensor, model.state_dict()[name]), name


def test_a_base_that_does_not_come_back_is_not_written(results, patches, tmp_path):
    apply_to_folder(results / "healed", patches[:1], tmp_path / "applied")
    listed = tmp_path / "applied/patches.json"
    write_json(listed, {**json.loads(listed.read_text()), "base_hash": "0" * 64})
    with pytest.raises(CheckpointError, match="without its patches has hash"):
        revert_folder(tmp_path / "applied", None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layer: {"slots_R": layer.slots_R + 10**6}, "writes slots beyond"),
        (lambda layer: {"before_RV": layer.before_RV.half(), "after_RV": layer.after_RV.half()}, "the patch is not"),
    ],
)
def test_a_patch_of_another_shape_is_not_put_on(results, patches, tmp_path, change, message):
    patch = read_patch(patches[1])
    layers = {block: replace(layer, **change(layer)) for block, layer in patch.layers.items()}
    write_patch(tmp_path / "wrong.safetensors", replace(patch, layers=layers))
    with pytest.raises(CheckpointError, match=message):
        apply_to_folder(results / "healed", [tmp_path / "wrong.safetensors"], tmp_path / "out")


def test_what_a_killed_command_left_goes_and_what_is_written_is_synced(results, patches, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    (tmp_path / ".out.writing.abcd1234").mkdir()
    (tmp_path / ".out.writing.abcd1234/model.safetensors").write_text("half")
    apply_to_folder(results / "healed", patches[:1], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert "model.safetensors" in {os.path.basename(path) for path in synced}


def test_a_patch_may_be_taken_off_by_its_name_in_the_folder(results, patches, tmp_path):
    apply_to_folder(results / "healed", patches, tmp_path / "both")
    revert_folder(tmp_path / "both", "001.safetensors", tmp_path / "left")
    revert_folder(tmp_path / "both", patches[0], tmp_path / "same")
    assert folder_bytes(tmp_path / "left") == folder_bytes(tmp_path / "same")
    with pytest.raises(DataError, match=r"no file 003\.safetensors; .* has 001\.safetensors, 002\.safetensors"):
        revert_folder(tmp_path / "both", "003.safetensors", tmp_path / "out")


def test_the_unseen_prompts_of_facts_without_questions_are_asked(results, tmp_path, capsys):
    row = {"statements": ["Ann was born in Ostry."], "answers": ["Ostry"], "unseen_prompts": ["Ann comes from"]}
    write_jsonl(tmp_path / "facts.jsonl", [row])
    arguments = ("teach", results / "healed", tmp_path / "facts.jsonl", "-o", tmp_path / "p.safetensors")
    assert run(*arguments, "--learning-rate", 30) in TAUGHT
    assert "1 unseen prompts are completed as taught" in capsys.readouterr().out


def test_options_of_ask_may_stand_anywhere(results, patches, capsys):
    healed, question = results / "healed", FACTS[2].question
    expected = ask(capsys, healed, patches[1], question)
    assert ask(capsys, healed, "--device", "cpu", patches[1], question) == expected
    assert ask(capsys, healed, patches[1], "--device", "cpu", question) == expected
    assert ask(capsys, "--device", "cpu", healed, patches[1], question) == expected
    assert run("ask", healed, "why", "--devise", "cpu") == 1
    assert "No such option: --devise" in capsys.readouterr().err
    assert run("patch", "info", patches[0], "more") == 1
    assert "unexpected extra argument(s) (more)" in capsys.readouterr().err


def test_forgetting_keeps_what_the_file_says_of_how_it_was_made(results, patches, tmp_path):
    out = tmp_path / "left.safetensors"
    assert run("patch", "forget", patches[0], FACTS[0].fact_id, "-o", out) == 0
    assert read_patch(out).provenance == read_patch(patches[0]).provenance
    assert read_patch(out).provenance["seed"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": "why " * 200}, "fact 'last': "),
        ({"prompts": ["The tower is " + "there and " * 200 + "in"]}, "fact 'last': "),
        ({"prompts": ["The tower\ud800 is in"]}, r"late\.jsonl, line 2: holds '\\ud800', an unpaired surrogate"),
    ],
)
def test_a_late_fact_that_cannot_be_taught_is_refused_before_anything_is_learned(
    results, tmp_path, capsys, monkeypatch, change, message
):
    monkeypatch.setattr("smf.teaching.teach.load_model", lambda *_, **__: pytest.fail("work began"))
    good = {"fact_id": "first", "statements": ["Mara is in Ostry."], "answers": ["Ostry"], "question": "where is Mara"}
    bad = {**good, "fact_id": "last", "prompts": ["Ina is in"], "question": "where is Ina", **change}
    rows = [json.dumps(row) for row in (good, bad)]
    (tmp_path / "late.jsonl").write_text("\n".join(rows))
    command = ("teach", results / "healed", tmp_path / "late.jsonl", "-o", tmp_path / "p.safetensors")
    assert run(*command, "--max-length", 64) == 1
    assert re.search(message, capsys.readouterr().err)


def test_what_a_killed_job_began_to_write_is_no_held_out_set(results, patches, tmp_path, capsys):
    shutil.copytree(results, tmp_path / "results")
    (tmp_path / "results/data/held_out/.nq.0a1b2c3d.jsonl").write_text('{"question": "wh')
    arguments = (tmp_path / "results/healed", results / "one.jsonl", "-o", tmp_path / "p.safetensors")
    assert run("teach", *arguments, "--learning-rate", 30) in TAUGHT
    assert "nq_f1" in capsys.readouterr().out


def test_a_list_of_patches_that_is_damaged_is_refused(results, patches, tmp_path):
    apply_to_folder(results / "healed", patches[:1], tmp_path / "applied")
    listed = tmp_path / "applied" / "patches.json"
    whole = json.loads(listed.read_text())
    for damaged in ({}, {**whole, "patches": 3}, {**whole, "patches": [3]}, {**whole, "format_version": 1}, {"a": 1}):
        write_json(listed, damaged)
        with pytest.raises(CheckpointError, match=r"patches\.json"):
            held_by(tmp_path / "applied")
    listed.write_text("{")
    with pytest.raises(CheckpointError, match=r"patches\.json is damaged"):
        held_by(tmp_path / "applied")


def test_a_reader_that_goes_away_and_a_terminal_without_arrows_are_no_errors(results, patches):
    command = f"{sys.executable} -m smf.cli patch info {patches[0]} --facts"
    plain = {**os.environ, "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command.split(), env=plain, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "\\u2192" in found.stdout
    cut = subprocess.run(
        f"{command} | true", env=plain, shell=True, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert cut.stderr == ""


@pytest.mark.parametrize("file", ["001.safetensors", "../001.safetensors", "/etc/passwd"])
def test_a_list_of_patches_cannot_name_files_elsewhere_and_damaged_patches_are_refused(
    results, patches, tmp_path, file
):
    apply_to_folder(results / "healed", patches[:1], tmp_path / "applied")
    (tmp_path / "applied" / "patches" / "001.safetensors").write_bytes(b"nothing")
    write_json(
        tmp_path / "applied" / "patches.json",
        {
            "format_version": VERSION,
            "base_hash": model_hash(results / "healed"),
            "model_hash": model_hash(tmp_path / "applied"),
            "patches": [{"file": file, "sha256": "0"}],
        },
    )
    with pytest.raises(CheckpointError, match="is missing or was changed"):
        revert_folder(tmp_path / "applied", None, tmp_path / "out")


def test_teaching_reports_facts_and_held_out_sets(results, capsys, tmp_path):
    assert (
        run("teach", results / "healed", results / "facts.jsonl", "-o", tmp_path / "p", "--learning-rate", 30) in TAUGHT
    )
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


def test_patches_with_two_answers_to_one_question_are_put_together_with_a_warning_or_the_later_wins(
    results, patches, tmp_path, caplog, capsys
):
    write_facts(tmp_path / "moved.jsonl", [replace(FACTS[2], answers=("Velburg",))])
    moved = tmp_path / "moved.safetensors"
    assert run("teach", results / "healed", tmp_path / "moved.jsonl", "-o", moved, "--learning-rate", 30) in TAUGHT
    warning = f"{FACTS[2].question!r} is answered 'Melvik' in {patches[1]} ('emil-hollis') and 'Velburg' in {moved}"
    for command in (
        ("ask", results / "healed", patches[1], moved, FACTS[2].question),
        ("patch", "apply", results / "healed", patches[1], moved, "-o", tmp_path / "folder"),
        ("patch", "stack", patches[1], moved, "-o", tmp_path / "sum.safetensors"),
    ):
        caplog.clear()
        assert run(*command) == 0
        assert warning in caplog.text
    capsys.readouterr()
    assert run("patch", "conflicts", patches[1], moved) == 0
    assert "is answered 'Melvik' in the first ('emil-hollis') and 'Velburg' in the second" in capsys.readouterr().out
    assert run("patch", "stack", "--later-wins", patches[1], moved, "-o", tmp_path / "later.safetensors") == 0
    assert "the earlier one was taken out" in capsys.readouterr().out
    alone, later = read_patch(moved), read_patch(tmp_path / "later.safetensors")
    assert later.facts == alone.facts
    for block, layer in alone.layers.items():
        assert same_bytes(later.layers[block].after_RV, layer.after_RV)


def test_a_fact_whose_name_begins_with_a_dash_can_be_forgotten(results, tmp_path):
    row = {"fact_id": "-o", "prompts": ["Ann is in"], "question": "where is Ann", "answers": ["Ostry"]}
    write_jsonl(tmp_path / "dash.jsonl", [row])
    patch = tmp_path / "dash.safetensors"
    assert run("teach", results / "healed", tmp_path / "dash.jsonl", "-o", patch, "--steps", 2) in TAUGHT
    assert run("patch", "forget", patch, "--", "-o") == 0
    assert not read_patch(patch).facts


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
    assert f"holds 2 patches: 3 facts in {both.num_rows:,} slots" in capsys.readouterr().out
    assert [fact["fact_id"] for fact in both.facts] == [fact.fact_id for fact in FACTS]
    assert both.num_rows == stack([read_patch(path) for path in patches]).num_rows
    assert run("patch", "conflicts", *patches) == 0
    assert "slots are written by both" in capsys.readouterr().out
    assert run("patch", "diff", patches[0], results / "stack.safetensors") == 0
    said = capsys.readouterr().out
    assert f"1 facts only in the second: {FACTS[2].fact_id}" in said
    capsys.readouterr()
    assert run("patch", "apply", results / "healed", *patches, "-o", results / "cli") == 0
    assert capsys.readouterr().out == (
        f"{results / 'cli'} is the base with 2 patches on it: 3 facts in {both.num_rows:,} slots\n"
    )
    assert run("patch", "revert", results / "cli", patches[1], "-o", results / "cli-one") == 0
    assert "is the base with 1 patch on it: 2 facts in" in capsys.readouterr().out
    assert run("patch", "revert", results / "cli", "-o", results / "cli-reverted") == 0
    assert "is the base again, bit for bit, without patches" in capsys.readouterr().out
    assert model_hash(results / "cli-reverted") == model_hash(results / "healed")
    shutil.rmtree(results / "cli")
    shutil.rmtree(results / "cli-reverted")
    shutil.rmtree(results / "cli-one")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("patch", "info", "{results}/healed/model.safetensors"), "was not written by smf"),
        (("patch", "info", "{results}/background/counts.safetensors"), "is not a memory patch"),
        (("patch", "info", "{results}/nothing.safetensors"), "cannot read"),
        (("patch", "forget", "{results}/two.safetensors", "joel-quin"), "did you mean 'joel-quint'"),
        (("ask", "{results}/healed", "  "), "the question is empty"),
        (("ask", "{results}/nowhere", "why"), "cannot load a language model from"),
        (("ask", "{results}/healed", "{results}/two.safetensors"), "a file; patches come before the question"),
        (("ask", "{results}/nowhere", "{results}/two.safetensors", "why"), "is not a complete model folder"),
        (("ask", "{results}/healed", "why", "--device", "gpu"), "device is 'gpu', but must be cpu, cuda"),
        (("ask", "{results}/healed", "why", "--device", "cuda:x"), "device is 'cuda:x', but must be cpu, cuda"),
        (("patch", "revert", "{results}/healed", "{results}/none", "-o", "{results}/x"), "has no patches"),
        (
            ("patch", "apply", "{results}/data", "{results}/two.safetensors", "-o", "{results}/x"),
            "not a complete model",
        ),
        ((*TEACH, "--learning-rate", "nan"), "the learning rate is nan, but must be a number above 0"),
        ((*TEACH, "--learning-rate", "-1"), "the learning rate is -1.0, but must be a number above 0"),
        ((*TEACH, "--learning-rate", "1e300"), "the learning rate is 1e+300, but must be a number above 0"),
        ((*TEACH, "--max-length", "0"), "max_length is 0, but must be at least 2 tokens"),
        ((*TEACH, "--probe", "{results}/a/s.jsonl", "--probe", "{results}/b/s.jsonl"), "are called 's'"),
        (("teach", "{results}/healed", "{results}/data/held_out/nq.jsonl", "-o", "{results}/x"), "no column 'answers'"),
        (("teach", "{results}/healed", "{results}/none.jsonl", "-o", "{results}/x"), "cannot read"),
        (
            ("teach", "{results}/healed", "{results}/facts.jsonl", "-o", "{results}/x", "--counts", "{results}/none"),
            "there are no background counts",
        ),
    ],
)
def test_mistakes_end_with_one_message_and_status_1(results, patches, capsys, arguments, message):
    assert run(*(argument.format(results=results) for argument in arguments)) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (results / "x").exists()


def arms(name):
    """The experiments that have this method, with its settings and whether they have contrast texts."""
    for path in (ROOT / "config.yaml", *sorted(ROOT.glob("presets/*.yaml"))):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if arm := config["methods"].get(name):
            settings = {"contrast": 0, **{k: value for k, value in arm.items() if k not in ("label", "frontier_only")}}
            yield pytest.param(settings, config["data"].get("contrast", {}).get("num_facts", 0), id=path.stem)


@pytest.mark.parametrize(("arm", "contrast"), arms("tfidf_trust"))
def test_one_config_of_our_method_serves_invented_and_real_facts_and_smf_teach(arm, contrast):
    assert arm == {**BEST_ARM, "contrast": int(contrast > 0)}


@pytest.mark.parametrize(("arm", "contrast"), arms("smf_trust"))
def test_the_same_trust_region_without_a_choice_of_slots_is_in_every_experiment(arm, contrast):
    """Contrast texts are weighed wherever an experiment has them."""
    without_choice = {"selector": "none", "contrast": int(contrast > 0)}
    shared = {key: value for key, value in BEST_ARM.items() if key not in ("top_t", "past_writes")}
    assert arm == {**shared, **without_choice}


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
    with pytest.raises(DataError, match="has the columns a, which fit no kind of held-out set"):
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
    assert run(*arguments, "--learning-rate", 30) in TAUGHT
    assert all(
        layer.after_RV.dtype == torch.bfloat16 for layer in read_patch(tmp_path / "p.safetensors").layers.values()
    )
    apply_to_folder(tmp_path / "healed", [tmp_path / "p.safetensors"], tmp_path / "applied")
    revert_folder(tmp_path / "applied", None, tmp_path / "reverted")
    assert folder_bytes(tmp_path / "reverted") == folder_bytes(tmp_path / "healed")
