"""The command ``smf``: its subcommands, its exit status, and its one-line messages after an error or Ctrl-C."""

import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from smf.cli import experiment, models, patch
from smf.cli.output import complain
from smf.cli.words import one_value_each
from smf.errors import SmfError

INTERRUPTED = 130
"""The exit status after Ctrl-C, as in shells."""

_MODEL = "A model of your own"
_EXPERIMENT = "An experiment"


class Ending(TyperGroup):
    """Command group that ends with a one-line message whatever stops it."""

    def invoke(self, ctx: Any) -> int:
        """Run a command; returns its exit status."""
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except (SmfError, OSError) as error:
            complain("\n".join([f"{type(error).__name__}: {error}", *_notes(error)]))
            return 1
        except KeyboardInterrupt as error:
            complain("; ".join(["stopped by Ctrl-C", *_notes(error)]))
            return INTERRUPTED
        return status or 0


class Asking(TyperCommand):
    """Command whose usage line shows that the last argument is the question."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The usage line after the command's name."""
        return ["[OPTIONS]", "{model}", "[patch]...", "{question}"]


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


app = typer.Typer(
    name="smf",
    cls=Ending,
    help="Teach a language model facts by sparse memory finetuning: add a memory, teach the model, ask it questions, "
    "and inspect, combine and undo what it learned.",
    epilog="`smf COMMAND --help` shows a command's options and examples.",
    rich_markup_mode="markdown",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel=_MODEL, epilog=models.RETROFIT_EXAMPLES)(models.retrofit)
app.command(rich_help_panel=_MODEL, epilog=models.TEACH_EXAMPLES)(models.teach)
app.command(rich_help_panel=_MODEL, cls=Asking, epilog=models.ASK_EXAMPLES)(models.ask)
app.add_typer(patch.app, name="patch", rich_help_panel=_MODEL)
app.command(rich_help_panel=_EXPERIMENT, epilog=experiment.PLAN_EXAMPLES)(experiment.plan)
app.command(rich_help_panel=_EXPERIMENT, epilog=experiment.STATUS_EXAMPLES)(experiment.status)
app.command(rich_help_panel=_EXPERIMENT, epilog=experiment.LEADERBOARD_EXAMPLES)(experiment.leaderboard)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line after ``smf``; None for that of this process.

    Returns:
        The exit status: 0; 1 with a message on standard error; 2 if the model does not know a taught fact
        (:data:`smf.cli.models.NOT_KNOWN`); 130 after Ctrl-C.
    """
    os.environ.setdefault("TQDM_MININTERVAL", "1")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # terminals that lack the arrow must still show the facts
    try:
        words = one_value_each(sys.argv[1:] if arguments is None else arguments)
        return typer.main.get_command(app).main(words, prog_name="smf", standalone_mode=False)
    except typer.TyperException as error:  # click's own status, 2, would mean that facts are not known
        context = getattr(error, "ctx", None)
        usage = f"{context.get_usage()}\n{context.command_path}: error: " if context else ""
        if message := error.format_message():
            complain(f"{usage}{message}")
        return 1
