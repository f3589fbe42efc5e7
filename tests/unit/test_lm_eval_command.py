"""lm-eval's command line on folders that this project writes."""

import json
import os
import subprocess
import sys

import pytest

from smf.evaluation.held_out import TASK_FOLDER
from smf.lm_eval import with_our_tasks
from smf.models.checkpoint import save_checkpoint
from tests.helpers import expected_accuracy, memory_model, tokenizer, write_task


def test_lm_evals_command_line_scores_a_memory_model(tmp_path):
    folder, tasks = tmp_path / "model", tmp_path / "tasks"
    save_checkpoint(memory_model(), tokenizer(), folder)
    write_task(tasks)
    command = [sys.executable, "-m", "smf.lm_eval", "--model", "hf", "--model_args", f"pretrained={folder}"]
    options = [
        "--tasks",
        "towns",
        "--include_path",
        str(tasks),
        "--device",
        "cpu",
        "--output_path",
        str(tmp_path / "out"),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (results,) = (tmp_path / "out").rglob("results_*.json")
    assert json.loads(results.read_text())["results"]["towns"]["acc,none"] == pytest.approx(expected_accuracy(folder))


def test_our_tasks_are_found_unless_another_folder_is_named():
    ours = ["--include_path", str(TASK_FOLDER)]
    assert with_our_tasks(["ls", "tasks"]) == ["ls", "tasks", *ours]
    assert with_our_tasks(["--tasks", "x", "--include_path", "mine"]) == ["--tasks", "x", "--include_path", "mine"]
    assert with_our_tasks(["--tasks", "x", "--include_path=mine"]) == ["--tasks", "x", "--include_path=mine"]
    assert with_our_tasks([]) == []
