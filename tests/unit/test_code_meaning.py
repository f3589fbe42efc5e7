"""What an edit of a module means: words rerun nothing, everything else reruns what it made."""

import ast
import re

import pytest

import smf.errors
from smf.jobs.code_digest import LEFT_OUT, _is_left_out
from smf.jobs.code_meaning import meaning
from smf.logs import progress
from tests.workflow.runs import ROOT

MODULES = sorted((ROOT / "smf").glob("**/*.py"))
SOURCE = '''"""What this module does."""

import logging
from dataclasses import dataclass
from typing import Literal

from smf.errors import DataError, refuse
from smf.logs import progress
from smf.rows.sources import read_rows

logger = logging.getLogger(__name__)

RATE = 0.5
"""Of learning."""


@dataclass(frozen=True)
class Settings:
    """What is set."""

    kind: Literal["sum", "mean"] = "sum"
    size: int = 3


def total(rows: list[int], scale: float = 1.0, *, name: str | None = None) -> float:
    """The total.

    Raises:
        DataError: A row is below 0.
    """
    # Why it is done like this.
    result = 0.0
    for row in progress(read_rows("train"), "rows"):
        if row < 0:
            raise DataError(f"{name}: row {row} is below 0; " + "drop it")
        if row > 100 and scale == 1.0:
            refuse("rows", row, "at most 100")
        result += row * scale
    assert result >= 0, "a total is never below 0"
    logger.info("the total of %d rows is %s", len(rows), result)
    return result * RATE


def label(value: int) -> str:
    return f"total: {value}"
'''


def meant(source):
    return meaning(ast.parse(source), _is_left_out)


def edited(*change):
    old, new = change
    assert SOURCE.count(old) == 1, old
    return SOURCE.replace(old, new)


WORDS = {
    "a module's docstring": ("What this module does.", "What it does."),
    "a function's docstring": ("The total.\n", "The sum of all rows.\n"),
    "a docstring taken out": ('    """What is set."""\n\n', ""),
    "the docstring of a constant": ("Of learning.", "Of steps."),
    "a comment": ("# Why it is done like this.", "# Why, in other words."),
    "a comment more": ("result = 0.0", "result = 0.0  # nothing yet"),
    "an error's text": ("is below 0; ", "must not be below 0; "),
    "what an error's text fills in": ("{name}: row {row} is", "{name}: row {row!r} of {', '.join(map(str, rows))} is"),
    "an error's text in one piece": ('0; " + "drop it")', '0; drop it")'),
    "the text of a refusal": ("at most 100", "100 at most"),
    "the text of an assertion": ("a total is never below 0", "below 0"),
    "a log line's text": ("the total of %d rows is %s", "%d rows, total %s"),
    "a log line's level": ("logger.info(", "logger.debug("),
    "a log line more": ("result = 0.0\n", 'result = 0.0\n    logger.info("begins with %s", name)\n'),
    "what a progress bar is called": ('"rows")', '"rows of data")'),
    "another error imported": ("import DataError, refuse", "import ConfigError, DataError, refuse"),
    "blank lines": ("result = 0.0\n", "result = 0.0\n\n"),
    "line breaks and a trailing comma": (
        "def total(rows: list[int], scale: float = 1.0, *, name: str | None = None) -> float:",
        "def total(\n    rows: list[int],\n    scale: float = 1.0,\n    *,\n    name: str | None = None,\n) -> float:",
    ),
    "quotes": ('read_rows("train")', "read_rows('train')"),
    "parentheses": ("return result * RATE", "return (result * RATE)"),
}

DEEDS = {
    "a constant": ("RATE = 0.5", "RATE = 0.25"),
    "the type of a constant": ("scale == 1.0", "scale == 1"),
    "a default": ("scale: float = 1.0", "scale: float = 2.0"),
    "the default of a field": ("size: int = 3", "size: int = 4"),
    "what a field may be": ('Literal["sum", "mean"]', 'Literal["sum", "median"]'),
    "a decorator": ("@dataclass(frozen=True)", "@dataclass"),
    "a type": ("rows: list[int]", "rows: list[float]"),
    "an operator": ("row * scale", "row + scale"),
    "a comparison": ("row < 0", "row <= 0"),
    "the order of statements": (
        'logger = logging.getLogger(__name__)\n\nRATE = 0.5\n"""Of learning."""\n',
        "RATE = 0.5\nlogger = logging.getLogger(__name__)\n",
    ),
    "when an error is raised": ("row > 100", "row > 1000"),
    "which error is raised": ("raise DataError(f", "raise ValueError(f"),
    "an error that is not raised any more": ('refuse("rows", row, "at most 100")', "pass"),
    "what is refused": ('refuse("rows", row, "at', 'refuse("rows", rows, "at'),
    "an assertion's condition": ("result >= 0", "result > 0"),
    "what is computed in a log line": ("len(rows), result)", "len(rows), rows.pop())"),
    "a text that is no message": ('read_rows("train")', 'read_rows("test")'),
    "a text that is returned": ('f"total: {value}"', 'f"sum: {value}"'),
    "what a text fills in": ("total: {value}", "total: {value:.3f}"),
    "where a name comes from": ("from smf.rows.sources import", "from smf.rows.own_sources import"),
    "a keyword-only argument": ("*, name", "name"),
}


@pytest.mark.parametrize("change", WORDS.values(), ids=WORDS)
def test_an_edit_of_words_means_nothing(change):
    assert meant(edited(*change)) == meant(SOURCE)


@pytest.mark.parametrize("change", DEEDS.values(), ids=DEEDS)
def test_any_other_edit_means_something(change):
    assert meant(edited(*change)) != meant(SOURCE)


def test_texts_given_to_what_is_computed_for_a_message_are_no_words():
    """``read_rows("train")`` above; the same in a log line and in an error's text that is not one by itself."""
    for line in ('logger.info("%s", read("{}"))', 'raise DataError(read("{}"))', 'progress(read("{}"), "rows")'):
        before = f"from smf.logs import progress\n{line.format('a')}"
        after = f"from smf.logs import progress\n{line.format('b')}"
        assert meant(before) != meant(after), line


def test_empty_texts_that_some_versions_of_python_put_into_trees_mean_nothing():
    tree = ast.parse('f"{value:{width}}"; x = f"{value}{width}"; y = ""')
    as_written = meaning(tree, _is_left_out)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            node.values.append(ast.Constant(""))
    assert meaning(tree, _is_left_out) == as_written
    assert meant('y = ""') != meant("y = None")


def test_our_own_modules_mean_the_same_when_their_layout_and_comments_go():
    for path in MODULES:
        source = path.read_text(encoding="utf-8")
        assert meant(ast.unparse(ast.parse(source))) == meant(source), path


# What is left out of digests cannot change a result


def uses(tree, names):
    """How a module uses names: each use with its name, the kind of place it stands in."""
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Load):
            chain = [node]
            while not isinstance(chain[-1], ast.stmt | ast.ExceptHandler):
                chain.append(parents[chain[-1]])
            yield node.id, chain


def shown(chain):
    """Whether what is used there is only raised, caught, told, handed to whoever raises it, or names a type."""
    last = chain[-1]
    if isinstance(last, ast.Raise | ast.FunctionDef):
        return True
    if isinstance(last, ast.Return):
        return isinstance(last.value, ast.Call) and last.value.func is chain[0]
    if isinstance(last, ast.ExceptHandler):
        return last.type is chain[-2]
    return isinstance(last, ast.Expr) and isinstance(last.value, ast.Call) and last.value.func is chain[0]


def imported_from_left_out(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _is_left_out(node.module or ""):
            module = node.module.removeprefix("smf.").replace(".", "/")
            yield tree, module, {alias.asname or alias.name for alias in node.names}


def test_each_module_that_is_left_out_is_there_and_has_its_reason():
    for name, reason in LEFT_OUT.items():
        assert (ROOT / "smf" / f"{name}.py").is_file(), name
        assert reason


# No job's result is made there.
BOOKKEEPING = {
    *LEFT_OUT,
    "cli/__init__",
    "cli/__main__",
    "cli/app",
    "cli/experiment",
    "cli/models",
    "cli/options",
    "cli/output",
    "cli/patch",
    "cli/tables",
    "cli/words",
    "config/load",
    "config/overlays",
    "config/yaml_file",
    "lm_eval",
    "jobs/lost",
    "plan",
    "jobs/status",
    "jobs/user_files",
}
WORKING = [path for path in MODULES if path.relative_to(ROOT / "smf").with_suffix("").as_posix() not in BOOKKEEPING]


@pytest.mark.parametrize("path", WORKING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_left_out_is_used_in_no_way_that_could_change_a_result(path):
    """Errors are raised and caught, progress bars run through, files put in place; the rest is not used."""
    name = path.relative_to(ROOT / "smf").with_suffix("").as_posix()
    for tree, module, names in imported_from_left_out(path):
        if module == "errors":
            for used, chain in uses(tree, names):
                assert shown(chain) or used in ("did_you_mean", "Key"), f"{used} in line {chain[0].lineno}"
        elif module == "logs":
            assert names == {"progress"}
            for _, chain in uses(tree, names):
                parent = chain[1]
                assert isinstance(parent, ast.Call)
                assert parent.func is chain[0]
        elif module == "files/atomic":
            assert names <= {
                "atomic_path",
                "put_in_place",
                "new_folder",
                "temporary_folder",
                "require_new",
                "not_written",
            }
        elif module == "files/package":
            assert name in ("models/remote_code", "teaching/model_asking", "teaching/given_files")  # to find files
        else:
            assert (name, module) in (
                ("patches/held", "files/seals"),  # to find a patch's seal; no rule runs it
                ("jobs/fork_server", "jobs/hand_over"),  # to start jobs, before their own code runs
            )


def catches_ours(handler):
    """Whether one of our own errors, whose texts are words, could end up there."""
    caught = (
        {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else {"Exception"}
    )
    ours = {name for name, kind in vars(smf.errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    return bool(caught & {*ours, "Exception", "BaseException"})


def test_no_handler_reads_the_text_of_one_of_our_errors_but_to_show_it():
    """Texts of errors are words only if nothing depends on them."""
    for path in WORKING:
        for handler in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(handler, ast.ExceptHandler) or handler.name is None or not catches_ours(handler):
                continue
            for _, chain in uses(handler, {handler.name}):
                told = re.match(rf"(logger\.\w+|{handler.name}\.add_note)\(", ast.unparse(chain[-1]))
                kept = re.match(r"(reason|half) = ", ast.unparse(chain[-1]))  # goes into the next error's text
                assert isinstance(chain[-1], ast.Raise) or told or kept, f"{path}, line {chain[-1].lineno}"


def test_a_progress_bar_hands_on_what_it_is_given():
    assert list(progress(iter([3, 1, 2]), "things", total=3)) == [3, 1, 2]
