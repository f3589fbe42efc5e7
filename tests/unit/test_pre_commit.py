"""The hooks before a commit: with the tools of this environment, without the network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.runs import ROOT

BIN = Path(sys.executable).parent
CONFIG = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
HOOKS = {hook["id"]: hook for source in CONFIG["repos"] for hook in source["hooks"]}
BAD = {
    "ruff": ("bad.py", '"""A module."""\n\nimport os\n\nprint(undefined)\n'),
    "ruff-format": ("bad.py", '"""A module."""\n\nx = [1,2]\n'),
    "snakefmt": ("bad.smk", "rule a:\n  output: 'a'\n"),
    "end-of-file": ("bad.txt", "no line break"),
    "trailing-whitespace": ("bad.txt", "a \n"),
    "large-files": ("bad.txt", "x" * 79 + "\n" + ("x" * 79 + "\n") * 2000),
    "merge-conflict": ("bad.txt", "<<<<<<< HEAD\na\n=======\nb\n>>>>>>> c\n"),
    "yaml": ("bad.yaml", "a: [1\n"),
}


@pytest.fixture
def repository(tmp_path):
    """An empty repository with our hooks and this environment as its .venv."""
    for name in (".pre-commit-config.yaml", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/bin").symlink_to(BIN)
    (tmp_path / ".gitignore").write_text("/.venv\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    return tmp_path


def git(folder, *arguments):
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def run_hook(folder, hook):
    offline = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    environment = os.environ | offline | {"PRE_COMMIT_HOME": str(folder / ".venv/home")}
    command = [BIN / "pre-commit", "run", hook, "--verbose"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("hook", BAD)
def test_a_hook_finds_what_it_is_for(repository, hook):
    name, text = BAD[hook]
    (repository / name).write_text(text)
    git(repository, "add", name)
    done = run_hook(repository, hook)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Failed" in done.stdout


def test_every_hook_is_local_and_its_tool_is_there():
    assert {source["repo"] for source in CONFIG["repos"]} == {"local"}
    assert {hook["language"] for hook in HOOKS.values()} == {"system"}
    for hook in HOOKS.values():
        tool = hook["entry"].split()[0]
        assert tool == "make" or (BIN / Path(tool).relative_to(".venv/bin")).is_file()
    assert set(HOOKS) == {*BAD, "import-layers", "schema"}  # tests of their own show that these two find something
