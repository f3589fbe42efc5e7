"""What a reviewer should not have to say twice: layering, style, and modules that hold one idea."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MOST_LINES = 300


def run_on_repository(*command: str) -> None:
    """Run a tool of this environment at the repository's root; what it complains about fails the test."""
    result = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)
    if result.returncode != 0:
        pytest.fail(f"{' '.join(command)}\n{result.stdout}{result.stderr}", pytrace=False)


def test_imports_keep_to_the_layers():
    run_on_repository("lint-imports", "--no-cache")


def test_ruff_has_no_complaints():
    run_on_repository("ruff", "check", "--no-cache", "--output-format=concise", ".")


def test_code_is_formatted():
    run_on_repository("ruff", "format", "--check", "--no-cache", ".")


@pytest.mark.parametrize("path", sorted(ROOT.glob("smf/**/*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_holds_one_idea(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES
