"""lm-eval's command line on folders that this project writes."""

import json
import os
import subprocess
import sys

import pytest
import torch

from smf.evaluation.harness import TASK_FOLDER
from smf.lm_eval import with_our_tasks
from smf.models.checkpoint import load_model, save_checkpoint
from tests.helpers import memory_model, tokenizer

ITEMS = [
    {"prompt": "Joel Quint was born in", "endings": ["Tarnow", "Ostry", "Melvik"], "label": 0},
    {"prompt": "The birthplace of Rosa Varga is", "endings": ["Velburg", "Ostry", "Tarnow"], "label": 1},
    {"prompt": "Emil Hollis was born in", "endings": ["Ostry", "Velburg", "Melvik"], "label": 2},
]
TASK = """
task: towns
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: prompt
doc_to_choice: endings
doc_to_target: label
metric_list: [{{metric: acc}}]
"""


def expected_accuracy(folder):
    """Of each item the ending with the highest log-likelihood, ending by ending."""
    model, right = load_model(folder, "cpu"), 0
    for item in ITEMS:
        scores = []
        for ending in item["endings"]:
            start = tokenizer()(item["prompt"])["input_ids"]
            whole = tokenizer()(f"{item['prompt']} {ending}")["input_ids"]
            with torch.no_grad():
                log_probabilities = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
            scores.append(sum(log_probabilities[i - 1, whole[i]].item() for i in range(len(start), len(whole))))
        right += scores.index(max(scores)) == item["label"]
    return right / len(ITEMS)


def test_lm_evals_command_line_scores_a_memory_model(tmp_path):
    folder, tasks = tmp_path / "model", tmp_path / "tasks"
    save_checkpoint(memory_model(), tokenizer(), folder)
    tasks.mkdir()
    (tasks / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    (tasks / "towns.yaml").write_text(TASK.format(path=tasks / "items.jsonl"))
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
