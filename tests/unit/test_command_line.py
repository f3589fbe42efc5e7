"""The command `smf`: what it reads, what its help says, and what a terminal shows."""

import io
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest
import typer
from rich.console import Console

from smf import cli
from smf.cli.app import app
from smf.cli.tables import show_plan, show_status
from smf.cli.words import one_by_one, one_value_each, with_number
from smf.files.artifacts import write_json
from smf.jobs.status import job_states, status_text
from smf.sizing.text import Block, Plan
from smf.teaching.lessons import BEST_ARM, Lessons
from smf.teaching.model_asking import ChosenFormat
from smf.teaching.retrofit_folder import Retrofit
from tests.workflow.runs import ROOT


def commands(group=None, name=""):
    """Every command by its name, those of `patch` too."""
    for each in (group or typer.main.get_command(app)).commands.values():
        path = f"{name} {each.name}".strip()
        if hasattr(each, "commands"):
            yield from commands(each, path)
        else:
            yield path, each


COMMANDS = dict(commands())


def options(command):
    return {option.opts[-1]: option for option in COMMANDS[command].params if option.param_type_name == "option"}


# Help


def test_help_is_there_at_once():
    """Torch, transformers, pandas and lm-eval take seconds to import."""
    program = (
        "import sys\n"
        "from smf.cli import main\n"
        "assert main(['--help']) == main(['teach', '--help']) == main(['patch', 'stack', '--help']) == 0\n"
        "slow = {'torch', 'transformers', 'pandas', 'lm_eval', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(slow) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--stop-loss" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_explains_it_and_every_argument_and_option(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert COMMANDS[command].help.splitlines()[0].replace("`", "") in said
    for parameter in COMMANDS[command].params:
        assert parameter.help, parameter.name
        assert max(parameter.opts, key=len) in said


def test_the_help_names_the_defaults_of_the_library():
    library = {**vars(Lessons()), **vars(Retrofit()), "learning_rate": None, "write_at": "all", **BEST_ARM}
    shown = {
        name.removeprefix("--").replace("-", "_"): re.search(r"\[default: ([\w.]+)\]", option.help)
        for command in ("teach", "retrofit")
        for name, option in options(command).items()
        if option.default is None
    }
    shown = {name: found[1] for name, found in shown.items() if found}
    expected = {name: library[name] for name in shown}
    assert shown == {
        name: f"{value:g}" if isinstance(value, float) else str(value or "none").lower()
        for name, value in expected.items()
    }
    assert {"steps", "stop_loss", "write_at", "contrast", "max_length", "max_new_tokens", "num_keys", "dtype"} < set(
        shown
    )


def test_questions_are_asked_in_every_format_that_the_library_knows():
    for command in ("teach", "ask"):
        choices = options(command)["--prompt-format"].type_descriptor.choices
        assert sorted(choices) == sorted(word for part in get_args(ChosenFormat) for word in get_args(part) or [part])


@pytest.mark.parametrize(
    "example", [line for each in COMMANDS.values() for line in re.findall(r"`(smf .*)`", each.epilog or "")]
)
def test_the_examples_of_the_help_are_understood(example):
    _, command, *words = shlex.split(example)
    COMMANDS[command].make_context(command, one_value_each(words))


# What is read


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["m", "--layers", "1", "3", "-o", "out"], ["m", "--layers", "1", "--layers", "3", "-o", "out"]),
        (["--layers", "1", "3", "m"], ["--layers", "1", "--layers", "3", "m"]),
        (["--layers", "-1", "two", "5"], ["--layers", "-1", "two", "5"]),
        (["--layers"], ["--layers"]),
        ([], []),
        (["--num-keys", "4", "5"], ["--num-keys", "4", "5"]),
    ],
)
def test_an_option_takes_all_the_whole_numbers_that_follow_it(typed, read):
    assert one_by_one(typed, "--layers") == read


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["--paraphrase", "-o", "p"], ["--paraphrase", "4", "-o", "p"]),
        (["--paraphrase", "2", "-o", "p"], ["--paraphrase", "2", "-o", "p"]),
        (["m", "--paraphrase"], ["m", "--paraphrase", "4"]),
        ([], []),
        (["--paraphrase", "-1"], ["--paraphrase", "-1"]),
    ],
)
def test_an_option_without_its_number_takes_the_usual_one(typed, read):
    assert with_number(typed, "--paraphrase", 4) == read


def test_what_is_typed_reaches_the_library(monkeypatch, tmp_path):
    reached = []
    monkeypatch.setattr("smf.teaching.retrofit_folder.retrofit_folder", lambda *given: reached.append(given))
    monkeypatch.setattr("smf.teaching.retrofit_folder.retrofitted_text", lambda *_: "done")
    assert cli.main(["retrofit", "m", "-o", "new", "--layers", "1", "3", "--dtype", "bfloat16"]) == 0
    assert cli.main(["retrofit", "m", "-o", "new"]) == 0
    assert reached == [("m", Path("new"), Retrofit(layers=[1, 3], dtype="bfloat16")), ("m", Path("new"), Retrofit())]


def test_a_mistake_in_what_is_typed_is_told_in_one_line_below_the_usage(capsys):
    assert cli.main(["teach", "m", "f", "-o", "p", "--write-at", "nowhere"]) == 1
    usage, error = capsys.readouterr().err.splitlines()
    assert usage == "Usage: smf teach [OPTIONS] {model} {facts}"
    assert error.startswith("smf teach: error: Invalid value for '--write-at': ")
    assert "'nowhere' is not one of 'all', 'subject', 'subject_and_answer'" in error


# What a terminal shows


@pytest.fixture
def results(tmp_path):
    known = {"host": "far", "pid": 1, "started": time.time() - 100, "changed": time.time() - 40}
    for method, state, why in (("full", "done", ""), ("lora", "failed", "DataError: [bold]no[/bold] such file")):
        row = {"rule": "learn", "wildcards": {"method": method, "seed": "0"}, "state": state, "why": why, **known}
        write_json(tmp_path / f"logs/learn/{method}.state.json", row)
    return tmp_path


def shown(show, what, width=200):
    console = Console(file=io.StringIO(), width=width)
    show(what, console)
    return console.file.getvalue()


def test_a_terminal_shows_every_word_of_the_status(results):
    said = status_text(results)
    assert "DataError: [bold]no[/bold] such file" in said
    assert set(said.split()) <= set(shown(show_status, job_states(results)).split())


def test_a_narrow_terminal_cuts_no_path(results):
    whole = re.sub(r"\s", "", shown(show_status, job_states(results), width=60))
    assert str(results / "logs/learn/lora.log") in whole


def test_a_terminal_shows_every_word_of_the_plan():
    models = Block("Models [of 1]", [("base", "10 parameters"), ("a layer", "[bold] 5")])
    plan = Plan([models, Block("Disk", [("sum", "3")])], "WARNING: too small")
    assert plan.text == (
        "Models [of 1]\n  base     10 parameters\n  a layer  [bold] 5\n\nDisk\n  sum  3\n\nWARNING: too small\n"
    )
    assert shown(show_plan, plan).split() == plan.text.split()


@pytest.mark.parametrize("terminal", [True, False])
def test_tables_are_for_terminals_and_aligned_text_for_everything_else(results, monkeypatch, capsys, terminal):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert cli.main(["status", str(results)]) == 0
    said = capsys.readouterr().out
    assert ("───" in said) == terminal
    assert (said == status_text(results) + "\n") != terminal
