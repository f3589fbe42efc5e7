"""lm-eval's command line on folders that this project writes."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest
from lm_eval.tasks import TaskManager

from smf.evaluation.held_out import TASK_FOLDER
from smf.lm_eval import main, with_our_tasks
from smf.models.checkpoint import save_checkpoint
from tests.helpers import FAMILIES, expected_accuracy, memory_model, tokenizer, write_task


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


def test_our_tasks_are_found_unless_another_folder_is_named():
    ours = ["--include_path", str(TASK_FOLDER)]
    assert with_our_tasks(["ls", "tasks"]) == ["ls", "tasks", *ours]
    assert with_our_tasks(["--tasks", "x", "--include_path", "mine"]) == ["--tasks", "x", "--include_path", "mine"]
    assert with_our_tasks(["--tasks", "x", "--include_path=mine"]) == ["--tasks", "x", "--include_path=mine"]
    assert with_our_tasks([]) == []
