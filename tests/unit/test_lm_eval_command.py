"""lm-eval's command line on folders that this project writes."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest
from lm_eval.tasks import TaskManager

from smf.errors import DataError
from smf.evaluation.held_out import TASK_FOLDER
from smf.evaluation.named_tasks import named_task
from smf.files.artifacts import read_json, write_jsonl
from smf.lm_eval import main, with_our_tasks
from smf.models.checkpoint import save_checkpoint
from smf.stages.evaluate import evaluate_held_out
from smf.streams.facts import question_prompt
from tests.helpers import FAMILIES, MAX_LENGTH, TOWN_ITEMS, expected_accuracy, memory_model, tokenizer, write_task


def prepared(family, folder):
    """A saved model and a task below a folder; returns the command's arguments and what it should find."""
    save_checkpoint(memory_model(family), tokenizer(), folder / "model")
    write_task(folder / "tasks")
    arguments = {
        "--model": "hf",
        "--model_args": f"pretrained={folder / 'model'}",
        "--tasks": "towns",
        "--include_path": folder / "tasks",
        "--device": "cpu",
        "--output_path": folder / "out",
    }
    return [str(word) for pair in arguments.items() for word in pair], expected_accuracy(folder / "model")


def accuracy(folder):
    (results,) = (folder / "out").rglob("results_*.json")
    return json.loads(results.read_text())["results"]["towns"]["acc,none"]


def test_lm_evals_command_line_scores_a_memory_model(tmp_path):
    arguments, expected = prepared("qwen2", tmp_path)
    command = [sys.executable, "-m", "smf.lm_eval", *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert accuracy(tmp_path) == pytest.approx(expected)


@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"qwen2"}))
def test_the_same_command_scores_a_memory_model_of_any_architecture(family, tmp_path, monkeypatch):
    arguments, expected = prepared(family, tmp_path)
    # lm-eval's own 14,000 task files, which take it seconds to read, are in the test above
    monkeypatch.setattr("lm_eval.tasks.TaskManager", partial(TaskManager, include_defaults=False))
    monkeypatch.setattr(sys, "argv", ["lm_eval", *arguments])
    main()
    assert accuracy(tmp_path) == pytest.approx(expected)


def test_our_tasks_are_found_unless_another_folder_is_named(tmp_path):
    ours = ["--include_path", str(TASK_FOLDER)]
    assert with_our_tasks(["ls", "tasks"], tmp_path) == ["ls", "tasks", *ours]
    for named in (["--include_path", "mine"], ["--include_path=mine"]):
        assert with_our_tasks(["--tasks", "x", *named], tmp_path) == ["--tasks", "x", *named]
    assert with_our_tasks([], tmp_path) == []


HELD_OUT = {
    "nq": [{"question": "where was Rosa born", "answer": ["Tarnow", "Velburg"]}],
    "stories": [{"text": "Joel Quint was born in Tarnow."}, {"text": "Rosa Varga was born in Ostry."}],
    "lambada": [{"prompt": "Joel Quint was born in", "completion": " Tarnow"}],
    "towns": [{"query": item["prompt"], "choices": item["endings"], "gold": item["label"]} for item in TOWN_ITEMS],
    "hellaswag": [
        {
            "ind": 0,
            "activity_label": "Washing",
            "ctx_a": "A man picks up the cloth.",
            "ctx_b": "the man",
            "ctx": "A man picks up the cloth. the man",
            "endings": ["folds it.", "washes it.", "sells it.", "drops it."],
            "label": "1",
        }
    ],
}
KINDS = {"nq": "questions", "stories": "texts", "lambada": "completions", "towns": "choices", "hellaswag": "choices"}
MAX_NEW_TOKENS = 3


def greedy_answer(question):
    """What the model says; with more tokens it would say more."""
    ids = tokenizer()(question_prompt(question), return_tensors="pt").input_ids
    said = memory_model().generate(ids, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)[0, ids.shape[1] :]
    return tokenizer().decode(said).strip()


@pytest.fixture
def run(tmp_path):
    """A results folder with a healed model and its held-out sets; gives what the pipeline scored there."""
    save_checkpoint(memory_model(), tokenizer(), tmp_path / "results" / "healed")
    said = {"question": "who is Hugo", "answer": [greedy_answer("who is Hugo")]}
    for name, rows in {**HELD_OUT, "nq": [said, *HELD_OUT["nq"]]}.items():
        write_jsonl(tmp_path / f"results/data/held_out/{name}.jsonl", rows)
    folder = tmp_path / "results"
    evaluate_held_out(
        {"num_items": {}, "max_new_tokens": MAX_NEW_TOKENS, "window": MAX_LENGTH},
        folder / "healed",
        {name: (kind, folder / f"data/held_out/{name}.jsonl") for name, kind in KINDS.items()},
        device="cpu",
        path=folder / "healed/evaluate/held_out.json",
    )
    return read_json(folder / "healed/evaluate/held_out.json")["lm_eval"]["results"]


def test_a_runs_own_held_out_sets_are_asked_offline_with_the_scores_that_the_run_has(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("lm_eval.tasks.TaskManager", partial(TaskManager, include_defaults=False))
    names = ",".join(f"smf_{name}" for name in KINDS)
    words = ["run", "--model", "hf", "--model_args", f"pretrained={tmp_path / 'results/healed'},dtype=float32"]
    monkeypatch.setattr(
        sys, "argv", [*words, "--tasks", names, "--device", "cpu", "--output_path", str(tmp_path / "out")]
    )
    main()
    (path,) = (tmp_path / "out").rglob("results_*.json")
    found = json.loads(path.read_text())["results"]
    assert found.keys() == run.keys() == {f"smf_{name}" for name in KINDS}
    for task, results in run.items():
        # A model of lm-eval's own does not tell how many tokens a text has.
        measured = [name for name in results if "," in name and not re.search("stderr|nll|perplexity", name)]
        assert measured
        assert {name: found[task][name] for name in measured} == pytest.approx(
            {name: results[name] for name in measured}
        )
    assert found["smf_nq"]["em,none"] == 0.5


def test_a_damaged_held_out_file_is_named_with_its_line(run, tmp_path, monkeypatch):
    (tmp_path / "results/data/held_out/nq.jsonl").write_text(
        '{"question": "where", "answer": ["Ostry"]}\n{"question": 5}\n'
    )
    monkeypatch.setattr(sys, "argv", ["lm_eval", "--model_args", f"pretrained={tmp_path / 'results/healed'}"])
    with pytest.raises(SystemExit, match=r"^smf.lm_eval: .*nq.jsonl, line 2: "):
        main()


def test_a_task_whose_data_are_on_the_hub_ends_offline_in_one_message(tmp_path, monkeypatch):
    def offline():
        raise ConnectionError("Couldn't reach 'allenai/ai2_arc' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr("smf.lm_eval.cli_evaluate", offline)
    monkeypatch.setattr(sys, "argv", ["lm_eval", "--tasks", "arc_easy"])
    with pytest.raises(SystemExit, match=r"^smf.lm_eval: Couldn't reach 'allenai/ai2_arc' .* try again with network"):
        main()


def test_a_named_task_of_the_config_whose_data_are_on_the_hub_is_named_where_the_hub_does_not_answer(monkeypatch):
    def offline(names):
        raise ConnectionError("Couldn't reach 'x/towns' on the Hub (OfflineModeIsEnabled)")

    index = {"towns": SimpleNamespace(cfg={"dataset_path": "x/towns"})}
    monkeypatch.setattr("smf.evaluation.named_tasks.check_names", lambda names, include_path: None)
    monkeypatch.setattr(
        "smf.evaluation.named_tasks._manager", lambda *_: SimpleNamespace(load=offline, task_index=index)
    )
    told = (
        r"^evaluation\.tasks\.towns: cannot load its data set x/towns from the hub: Couldn't reach .*remove the task$"
    )
    with pytest.raises(DataError, match=told):
        named_task("towns", {}, None, 1)
