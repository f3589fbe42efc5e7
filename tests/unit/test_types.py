"""Types: those of the library agree, and a user's type checker sees them."""

import re
import subprocess
import sys
import tomllib

import pytest

from tests.pages import PAGES
from tests.workflow.runs import ROOT

WRONG = """from smf import *

facts = read_facts("facts.jsonl")
model = retrofit(load_model("model"), num_slots=4096)
background = count_background(model, ["The sun rose late."])
learned = learn_stream(model, load_tokenizer("model"), "facts.jsonl", MethodSettings("smf"), background=background)
revert(model, learned.patch)
facts[0].answers.append("Tarnow")
"""
MISTAKES = [
    (4, "call-arg", 'Unexpected keyword argument "num_slots" for "retrofit"'),
    (5, "list-item", 'List item 0 has incompatible type "str"; expected "Batch"'),
    (6, "arg-type", 'Argument 3 to "learn_stream" has incompatible type "str"'),
    (7, "arg-type", 'Argument 2 to "revert" has incompatible type "MemoryPatch | Any"'),
    (8, "attr-defined", '"tuple[str, ...]" has no attribute "append"'),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What mypy says of the library, of the tutorial's code and of a script with mistakes, in one run: it is slow."""
    folder = tmp_path_factory.mktemp("scripts")
    blocks = re.findall(r"^```python\n(.*?)^```", PAGES["docs/tutorial.md"], re.MULTILINE | re.DOTALL)
    (folder / "tutorial.py").write_text("".join(blocks), encoding="utf-8")
    (folder / "wrong.py").write_text(WRONG, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--show-error-codes", "smf", folder / "tutorial.py", folder / "wrong.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr  # there are mistakes, and mypy did not fail
    assert not done.stderr  # such as a part of its settings that is about no module any more
    return [line for line in done.stdout.splitlines() if ": error: " in line]


def about(told, part):
    return [line for line in told if part in line.partition(": error: ")[0]]


def test_the_types_of_the_library_agree(told):
    assert not about(told, "smf/")


def test_the_tutorials_code_has_the_types_that_the_library_asks_for(told):
    assert not about(told, "tutorial.py")


def test_a_wrong_type_at_the_front_door_is_found(told):
    found = about(told, "wrong.py")
    assert len(found) == len(MISTAKES), "\n".join(found)
    for line, (number, code, text) in zip(found, MISTAKES, strict=True):
        assert f"wrong.py:{number}: error: {text}" in line
        assert line.endswith(f"[{code}]")


def test_the_installed_package_says_that_it_has_types():
    assert (ROOT / "smf/py.typed").is_file()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert "py.typed" in settings["setuptools"]["package-data"]["smf"]


def test_no_part_of_the_library_is_left_unchecked_but_by_the_list_in_pyproject():
    ignored = re.compile(r"#\s*(type:\s*ignore(?!\[)|mypy:)")
    assert not [path for path in (ROOT / "smf").rglob("*.py") if ignored.search(path.read_text(encoding="utf-8"))]
