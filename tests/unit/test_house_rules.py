"""What a reviewer should not have to say twice: layering, style, and modules that hold one idea."""

import ast
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


# Files appear whole or not at all

WRITERS = {"write_text", "write_bytes", "savefig", "save_file", "save_pretrained", "copyfile", "open"}
UNSEEN = {"atomic_path", "new_folder", "TemporaryDirectory"}
"""What gives a place that nobody reads before it is whole."""
IN_UNSEEN_FOLDERS = {
    "smf/adapters/peft_config.py": "where peft has just written the weights, as it does for all its methods",
    "smf/evaluation/own_tasks.py": "into its caller's temporary folder",
    "smf/models/memory_model.py": "save_pretrained is transformers' own, into the temporary folder of save_checkpoint",
    "smf/models/remote_code.py": "into the temporary folder of save_checkpoint",
    "smf/patches/folder.py": "_overwrite changes a copy in a new folder",
    "smf/patches/stored_rows.py": "overwrite_stored_rows changes a copy in a new folder",
}


def name_of(called):
    """The last word of what is called; nothing for a function of our own that is called like a path's method."""
    if isinstance(called, ast.Attribute):
        return called.attr
    return called.id if isinstance(called, ast.Name) and called.id in {*UNSEEN, "open", "save_file"} else ""


def writes(path):
    """The lines in which a module writes a file where it could be seen half written, or puts one in place itself."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    unseen = set()
    for block in (node for node in nodes if isinstance(node, ast.With)):
        if any(
            isinstance(item.context_expr, ast.Call) and name_of(item.context_expr.func) in UNSEEN
            for item in block.items
        ):
            unseen.update(ast.walk(block))
    lines = set()
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        name, mode = name_of(call.func), ast.unparse(call.args[1]) if len(call.args) > 1 else ""
        if name in WRITERS and call not in unseen and (name != "open" or set("wax+") & set(mode)):
            lines.add(call.lineno)
        if name in ("replace", "rename") and len(call.args) == 1 and not call.keywords:  # a path's, not a text's
            lines.add(call.lineno)
    return sorted(lines)


def test_files_are_written_where_nobody_sees_them_before_they_are_whole():
    found = {path.relative_to(ROOT).as_posix(): writes(path) for path in ROOT.glob("smf/**/*.py")}
    assert {path: lines for path, lines in found.items() if lines}.keys() == {"smf/files/atomic.py", *IN_UNSEEN_FOLDERS}


def test_a_file_that_is_written_in_place_is_found(tmp_path):
    (tmp_path / "module.py").write_text(
        "path.write_text('a')\nwith open(path, 'wb') as file:\n    pass\nfile.replace(path)\n'a'.replace('a', 'b')\n"
        "with open(path) as file:\n    pass\nwith atomic_path(path) as other:\n    other.write_text('a')\n"
    )
    assert writes(tmp_path / "module.py") == [1, 2, 4]
