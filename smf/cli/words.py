"""Options that take any number of values, or none. Click, which typer is made of, gives an option exactly one."""

from collections.abc import Sequence

import typer
from typer.core import TyperCommand


class WithLayers(TyperCommand):
    """Reads ``--layers 1 3`` as ``--layers 1 --layers 3``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Parse what was typed."""
        return super().parse_args(ctx, one_by_one(args, "--layers"))


class WithParaphrase(TyperCommand):
    """Reads ``--paraphrase`` without a number as ``--paraphrase 4``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Parse what was typed."""
        return super().parse_args(ctx, with_number(args, "--paraphrase", 4))


class WithQuestion(TyperCommand):
    """Says that of all its words the last one is the question."""

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:
        """What the usage line says behind the command."""
        return ["[OPTIONS]", "{model}", "[patch]...", "{question}"]


def one_by_one(words: Sequence[str], option: str) -> list[str]:
    """Put an option before each of the whole numbers that follow it.

    Example:
        >>> one_by_one(["m", "--layers", "1", "3", "-o", "out"], "--layers")
        ['m', '--layers', '1', '--layers', '3', '-o', 'out']
    """
    spread: list[str] = []
    values = False
    for before, word in zip(["", *words], words, strict=False):
        first = before == option
        values = first or (values and _is_whole(word))
        spread += [option, word] if values and not first else [word]
    return spread


def with_number(words: Sequence[str], option: str, number: int) -> list[str]:
    """Put a number behind an option that none follows.

    Example:
        >>> with_number(["--paraphrase", "--steps", "3"], "--paraphrase", 4)
        ['--paraphrase', '4', '--steps', '3']
    """
    complete: list[str] = []
    for word, after in zip(words, [*words[1:], ""], strict=True):
        complete += [word, str(number)] if word == option and not _is_whole(after) else [word]
    return complete


def _is_whole(word: str) -> bool:
    return word.removeprefix("-").isdecimal()
