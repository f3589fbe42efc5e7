"""Options that take any number of values, or none. Click, on which typer builds, gives an option exactly one."""

from collections.abc import Sequence


def one_value_each(words: Sequence[str]) -> list[str]:
    """Give each option one value: ``--layers 1 3`` becomes two options, ``--paraphrase`` alone gets its number."""
    return one_by_one(with_number(words, "--paraphrase", 4), "--layers")


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
    """Add a number after an option that has none.

    Example:
        >>> with_number(["--paraphrase", "--steps", "3"], "--paraphrase", 4)
        ['--paraphrase', '4', '--steps', '3']
    """
    complete: list[str] = []
    for word, after in zip(words, [*words[1:], ""], strict=False):
        complete += [word, str(number)] if word == option and not _is_whole(after) else [word]
    return complete


def _is_whole(word: str) -> bool:
    return word.removeprefix("-").isdecimal()
