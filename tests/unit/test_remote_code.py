"""Memory models in a Python without smf: the code beside the weights is the package's own and gives the same logits."""

import ast
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import smf
from smf.files.model_folder import CODE_FILES, MEMORY_MODEL_FILES
from smf.models.checkpoint import load_model, save_checkpoint
from smf.models.remote_code import remote_code
from tests.helpers import base_model, expected_accuracy, logits, memory_model, same_bytes, tokenizer, write_task

WITHOUT = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] == "HIDDEN" else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Hiding, sys.meta_path)
"""
LOAD = """
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

folder = sys.argv[1]
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
assert "smf" not in sys.modules and type(model).__module__.startswith("transformers_modules"), type(model)
with torch.no_grad():
    found = model(input_ids=load_file(f"{folder}/ids")["ids"]).logits
save_file({"logits": found}, f"{folder}/found")
"""
SAVE_AGAIN = """
model.save_pretrained(sys.argv[2])
again = AutoModelForCausalLM.from_pretrained(sys.argv[2], trust_remote_code=True)
with torch.no_grad():
    assert torch.equal(again(input_ids=load_file(f"{folder}/ids")["ids"]).logits, found)
"""


def run_without(hidden, code, *arguments, home):
    """Run code in a Python that does not find the package ``hidden``."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.replace("HIDDEN", hidden) + code, *map(str, arguments)],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def save_with_ids(model, folder):
    save_checkpoint(model, tokenizer(), folder)
    ids = torch.randint(1, 250, (2, 12), generator=torch.Generator().manual_seed(1))  # those of tests.helpers.logits
    save_file({"ids": ids}, folder / "ids")


def test_the_same_logits_without_smf_also_after_saving_again(tmp_path):
    model = memory_model("llama", query_norm="rms", tied=False)
    save_with_ids(model, tmp_path / "model")
    done = run_without("smf", LOAD + SAVE_AGAIN, tmp_path / "model", tmp_path / "again", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert same_bytes(load_file(tmp_path / "model" / "found")["logits"], logits(model))


def test_a_python_without_triton_needs_none(tmp_path):
    save_with_ids(memory_model(), tmp_path / "model")
    check = """
from transformers.dynamic_module_utils import check_imports
from pathlib import Path
for file in Path(sys.argv[1]).glob("*.py"):
    check_imports(file)
"""
    done = run_without("triton", LOAD + check, tmp_path / "model", home=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"smf_format": 7}, "has smf format 7, this version reads 1"), ({"num_keys": 9}, "4 mismatched keys, the first")],
)
def test_what_smf_refuses_is_refused_without_it(changes, message, tmp_path):
    save_with_ids(memory_model(), tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, **changes}))
    done = run_without("smf", LOAD, tmp_path / "model", home=tmp_path)
    assert done.returncode != 0
    assert message in done.stderr


def test_the_folder_holds_exactly_the_declared_files(tmp_path):
    save_checkpoint(memory_model(), tokenizer(), tmp_path / "memory")
    assert sorted(file.name for file in (tmp_path / "memory").iterdir()) == sorted(MEMORY_MODEL_FILES)
    assert sorted(remote_code()) == list(CODE_FILES)
    save_checkpoint(base_model(), tokenizer(), tmp_path / "base")
    assert not list((tmp_path / "base").glob("*.py"))
    assert "auto_map" not in json.loads((tmp_path / "base" / "config.json").read_text())


def test_the_code_is_the_packages_own_but_for_import_lines():
    root = smf.__path__[0]
    for name, text in remote_code().items():
        header, copied = text.split("\n", 1)
        source = header.removeprefix("# A copy of smf/").split(" of smf")[0]
        with open(f"{root}/{source}", encoding="utf-8") as file:
            original = file.read()
        assert len(copied.splitlines()) == len(original.splitlines())
        for mine, theirs in zip(copied.splitlines(), original.splitlines(), strict=True):
            assert mine == theirs or (mine.lstrip().startswith("from .smf_") and "from smf." in theirs)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert f"{node.module}.py" in remote_code(), name


def test_lm_evals_own_command_line_scores_the_folder_without_smf(tmp_path):
    folder, tasks = tmp_path / "model", tmp_path / "tasks"
    save_checkpoint(memory_model(), tokenizer(), folder)
    write_task(tasks)
    arguments = ["--model", "hf", "--model_args", f"pretrained={folder},trust_remote_code=True", "--tasks", "towns"]
    arguments += ["--include_path", tasks, "--device", "cpu", "--output_path", tmp_path / "out"]
    code = "import runpy; runpy.run_module('lm_eval', run_name='__main__', alter_sys=True)"
    done = run_without("smf", code, *arguments, home=tmp_path)
    assert done.returncode == 0, done.stderr
    (results,) = (tmp_path / "out").rglob("results_*.json")
    assert json.loads(results.read_text())["results"]["towns"]["acc,none"] == pytest.approx(expected_accuracy(folder))


def test_with_smf_the_packages_own_classes_are_used_and_no_question_is_asked(tmp_path):
    save_checkpoint(memory_model(), tokenizer(), tmp_path)
    assert type(load_model(tmp_path, "cpu")).__module__ == "smf.models.memory_model"
