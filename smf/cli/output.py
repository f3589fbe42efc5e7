"""Lines on the terminal or into a pipe."""

import sys

import typer


def say(text: str, *, nl: bool = True) -> None:
    """Write a text to standard output.

    Without an explicit stream, ``typer.echo`` takes an ASCII stream for a mistake and writes UTF-8 to it.
    """
    typer.echo(text, file=sys.stdout, nl=nl)


def complain(text: str) -> None:
    """Write a line to standard error, see :func:`say`."""
    typer.echo(text, file=sys.stderr)
