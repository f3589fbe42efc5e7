"""What makes results stale: the contents of the code that made them, followed through the imports."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import smf.jobs.code_digest
from smf.files.package import package_file
from smf.jobs.code_digest import code_digest
from smf.methods.registry import method_class, method_kinds
from tests.workflow.runs import ROOT

SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))
MODULES = sorted((ROOT / "smf").glob("**/*.py"))
MOST_LINES = 25


def closure(*files):
    """Names of the modules that the digest of these files covers, e.g. ``training/learn``."""
    reached, waiting = set(), list(files)
    while waiting:
        if (path := waiting.pop()) not in reached:
            reached.add(path)
            waiting += smf.jobs.code_digest._imports(path)
    return {path.relative_to(ROOT / "smf").with_suffix("").as_posix() for path in reached - set(files)}


def script(name):
    return ROOT / "workflow/scripts" / f"{name}.py"


@pytest.fixture
def folder(tmp_path):
    """A small package of the same name, with the real digest, and a script that imports from it."""
    for name, text in {
        "script.py": "from smf.one import value\n\nvalue()\n",
        "smf/__init__.py": "",
        "smf/one.py": "from smf.two import value\n",
        "smf/two.py": "import smf.errors\n\n\ndef value():\n    import smf.part.three\n",
        "smf/part/__init__.py": "",
        "smf/part/three.py": "import json\n",
        "smf/unrelated.py": "",
        "smf/errors.py": "import smf.unrelated\n",
        "smf/task.yaml": "task: a\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("jobs/code_digest.py", "jobs/code_meaning.py", "files/package.py"):
        (tmp_path / "smf" / name).parent.mkdir(exist_ok=True)
        shutil.copy2(package_file(name), tmp_path / "smf" / name)
    return tmp_path


def digest_in(folder, *names):
    """The digest that a new process computes there; a process remembers the imports that it has read."""
    code = "import sys; from smf.jobs.code_digest import code_digest; print(code_digest(*sys.argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", code, *names]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def edit(path):
    path.write_text(path.read_text() + ("EDIT = 1\n" if path.suffix == ".py" else "# an edit\n"))


@pytest.mark.parametrize("name", ["script.py", "smf/one.py", "smf/two.py", "smf/part/__init__.py", "smf/part/three.py"])
def test_an_edit_of_anything_imported_changes_the_digest(folder, name):
    before = digest_in(folder, "script.py")
    edit(folder / name)
    assert digest_in(folder, "script.py") != before


@pytest.mark.parametrize(
    "name", ["smf/__init__.py", "smf/unrelated.py", "smf/jobs/code_digest.py", "smf/task.yaml", "smf/errors.py"]
)
def test_an_edit_of_anything_else_does_not(folder, name):
    before = digest_in(folder, "script.py")
    edit(folder / name)
    assert digest_in(folder, "script.py") == before


def test_nothing_here_imports_through_the_front_door_which_no_digest_covers():
    for path in [*MODULES, *SCRIPTS]:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "smf"]
        assert not {alias.name for node in froms for alias in node.names} & set(smf.__all__), path
        assert "smf" not in [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names], path


def test_neither_modification_times_nor_the_place_matter(folder, tmp_path_factory):
    before = digest_in(folder, "script.py")
    elsewhere = shutil.copytree(folder, tmp_path_factory.mktemp("elsewhere") / "copy", copy_function=shutil.copyfile)
    for path in elsewhere.rglob("*"):
        os.utime(path, (0, 0))
    assert digest_in(elsewhere, "script.py") == before


def test_a_file_that_is_not_python_counts_by_its_contents(folder):
    before = digest_in(folder, "script.py", "smf/task.yaml")
    assert before != digest_in(folder, "script.py")
    edit(folder / "smf/task.yaml")
    assert digest_in(folder, "script.py", "smf/task.yaml") != before


def test_the_order_of_the_files_does_not_matter():
    assert code_digest(script("learn"), script("heal")) == code_digest(script("heal"), script("learn"))


# What the scripts reach


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_has_one_job(path):
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= MOST_LINES
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If | ast.For)]
    stages = [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and "stages" in node.module]
    assert len(stages) == 1


def test_every_rule_has_its_script_and_every_script_its_rule():
    rules = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))
    for path in SCRIPTS:
        assert f'"../scripts/{path.name}"' in rules
        assert f'code_of("{path.name}"' in rules


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("prepare_data", {"data/world", "data/question_sets"}, {"models/memory_model", "training/loop"}),
        ("draw_stream", {"streams/facts"}, {"models/memory_model", "training/loop"}),
        (
            "base_model",
            {"training/pretrain", "training/loop", "evaluation/recall"},
            {"evaluation/harness", "methods/smf"},
        ),
        ("heal", {"models/retrofit", "memory/layer", "training/heal"}, {"evaluation/harness", "methods/smf"}),
        ("count_background", {"selection/background", "memory/layer"}, {"evaluation/harness", "methods/smf"}),
        ("learn", {"training/learn", "methods/registry", "memory/layer"}, {"evaluation/harness", "scores/summary"}),
        ("evaluate", {"evaluation/harness", "evaluation/documents", "memory/layer"}, {"scores/summary"}),
        ("evaluate_start", {"evaluation/harness", "evaluation/documents", "memory/layer"}, {"scores/summary"}),
        ("scores", {"scores/table"}, {"training/loop", "evaluation/harness"}),
        ("summary", {"scores/summary"}, {"training/loop", "evaluation/harness"}),
        ("tuning", {"analysis/tuning/rule"}, {"training/loop", "evaluation/harness"}),
        ("plot_forgetting", {"analysis/forgetting/figure", "figures/style"}, {"training/loop", "evaluation/harness"}),
        ("plot_overview", {"analysis/overview/figure", "figures/style"}, {"training/loop", "evaluation/harness"}),
        ("plot_tuning", {"analysis/tuning/figure", "figures/style"}, {"training/loop", "evaluation/harness"}),
    ],
)
def test_a_script_reaches_its_own_part_of_the_library(name, inside, outside):
    reached = closure(script(name))
    assert inside <= reached
    assert not outside & reached


def test_a_method_reaches_what_it_uses_and_no_other_method_than_that_which_it_builds_on():
    kinds = {f"methods/{kind}" for kind in method_kinds()}
    for kind in method_kinds():
        built_on = {base.__module__.replace(".", "/").removeprefix("smf/") for base in method_class(kind).__mro__[1:]}
        assert kinds & closure(package_file("methods", f"{kind}.py")) == kinds & built_on
    assert {"memory/row_optimizers", "memory/row_sparse", "selection/select"} <= closure(package_file("methods/smf.py"))


def test_the_imports_of_each_script_are_all_in_its_closure():
    """What Python really loads, against what the digest says, for each script in a process of its own."""
    program = """
import os, sys
import datasets, lm_eval, matplotlib, pandas, peft, torch, transformers  # once, before the forks
for script in sys.argv[1:]:
    if os.fork() == 0:
        for line in open(script):
            if line.startswith(("import", "from")):
                exec(line)
        files = [m.__file__ for name, m in sys.modules.items() if name.split(".")[0] == "smf"]
        print(script, *files, sep="|", flush=True)
        os._exit(0)
    os.wait()
"""
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, SCRIPTS)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split("|") for line in result.stdout.splitlines() if "|" in line]
    assert len(lines) == len(SCRIPTS)
    for name, *files in lines:
        loaded = {Path(file).relative_to(ROOT / "smf").with_suffix("").as_posix() for file in files}
        assert loaded - set(smf.jobs.code_digest.LEFT_OUT) <= closure(Path(name))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_imports_in_a_way_that_the_digest_does_not_see(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    dynamic = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "import_module"]
    # The rules add the files of the first; nothing that a digest covers imports through the second; what the third
    # imports early, scripts import by name.
    known = ("smf/methods/registry.py", "smf/__init__.py", "smf/jobs/fork_server.py")
    assert not dynamic or path.relative_to(ROOT).as_posix() in known
