"""Read one config file as YAML, and report YAML's traps by file and line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from smf.errors import ConfigError, Key

_TAG = "tag:yaml.org,2002:"
_NO_SPACE = re.compile(r"^\s*(?:- )?(?P<key>[\w-]+):[^\s:/]")
"""``key:value``, which YAML reads as one string."""


@dataclass(frozen=True)
class Place:
    """Where a value was written, and how.

    Attributes:
        file: The file, or ``--config``.
        line: Its line, counted from 1; None on the command line.
        written: The raw text of an unquoted value; None for all others.
    """

    file: str
    line: int | None
    written: str | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}, line {self.line}"


def read_config(path: str | Path) -> tuple[dict, dict[Key, Place]]:
    """Read a config file.

    Returns:
        The file's contents, and the place of each value.

    Raises:
        ConfigError: The file cannot be read or is not YAML, holds no keys, or holds something that YAML reads
            differently than it is written: a key twice, a key that is not a string, a date, a number in base 8 or 60.
            Names file and line.
    """
    text = _text(path)
    try:
        return _read(text, str(path))
    except (yaml.YAMLError, ValueError) as error:  # a number of 5,000 digits raises a plain ValueError
        raise ConfigError(_syntax(path, text, error)) from error


def plain_value(text: str) -> object:
    """The value that YAML reads in unquoted ``text``: a number for ``5``, None for ``null``, mostly a string."""
    loader = yaml.SafeLoader("")
    try:
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        return loader.construct_object(yaml.ScalarNode(tag, text))
    except (ValueError, yaml.YAMLError):  # such as the date 2026-13-01, or =
        return text
    finally:
        loader.dispose()


def _read(text: str, file: str) -> tuple[dict, dict[Key, Place]]:
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise ConfigError(f"{file} is empty; a config holds keys and values, as in `seeds: [0, 1]`")
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{_at(file, root)}: a config holds keys and values, as in `seeds: [0, 1]`")
        places = dict(_places(root, (), file, ()))
        return loader.construct_document(root), places
    finally:
        loader.dispose()


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}; {Path(path).absolute()})") from error


def _places(node: yaml.Node, path: Key, file: str, outer: tuple[yaml.Node, ...]) -> Iterator[tuple[Key, Place]]:
    """The places of a value and of all within it; keys merged by ``<<`` come first, as the mapping's own keys win."""
    if any(node is one for one in outer):
        raise ConfigError(f"{_at(file, node)}: this value contains itself through its anchor; write it out")
    inner = (*outer, node)
    if isinstance(node, yaml.ScalarNode):
        _check_value(node, file)
        yield path, Place(file, node.start_mark.line + 1, node.value if node.style is None else None)
        return
    yield path, Place(file, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, part in enumerate(node.value):
            yield from _places(part, (*path, str(index)), file, inner)
        return
    for key, value in node.value:
        if key.tag == f"{_TAG}merge":
            parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for part in reversed(parts):
                yield from _places(part, path, file, inner)
    yield path, Place(file, node.start_mark.line + 1)
    lines: dict[str, int] = {}
    for key, value in node.value:
        if key.tag == f"{_TAG}merge":
            continue
        _check_key(key, file)
        where, line = (*path, key.value), key.start_mark.line + 1
        if key.value in lines:
            raise ConfigError(
                f"{file}, lines {lines[key.value]} and {line}: {'.'.join(where)} is there twice, and YAML would "
                "silently take the last one; drop one",
                where,
            )
        lines[key.value] = line
        for inside, place in _places(value, where, file, inner):
            # Users look for a value at the line of its key.
            yield inside, Place(file, line, place.written) if inside == where else place


def _check_key(node: yaml.Node, file: str) -> None:
    where = _at(file, node)
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError(f"{where}: a list or a mapping cannot be a key")
    if node.tag == f"{_TAG}bool":
        raise ConfigError(f"{where}: YAML reads the key {node.value} as true or false; put it in quotes")
    if node.tag != f"{_TAG}str":
        kind = node.tag.removeprefix(_TAG)
        raise ConfigError(f"{where}: the key {node.value} is not text to YAML ({kind}); begin keys with a letter")
    if node.style is None and (found := _NO_SPACE.match(node.value)):
        raise ConfigError(f"{where}: no space after the colon of `{found['key']}:`; YAML needs one")


def _check_value(node: yaml.ScalarNode, file: str) -> None:
    if node.style is not None:
        return
    where, kind, written = _at(file, node), node.tag.removeprefix(_TAG), node.value
    if kind == "timestamp":
        raise ConfigError(f"{where}: YAML reads {written} as a date; put it in quotes")
    if kind in ("int", "float") and ":" in written:
        raise ConfigError(
            f"{where}: YAML reads {written} as {plain_value(written)}, in base 60; put text in quotes, or write the "
            "number"
        )
    if kind == "int" and re.fullmatch(r"[-+]?0[0-7_]+", written):
        raise ConfigError(
            f"{where}: YAML reads {written} as {plain_value(written)}, in base 8; drop "
            "the leading zeros, or put text in quotes"
        )


def _syntax(path: str | Path, text: str, error: yaml.YAMLError | ValueError) -> str:
    """The parser's message in one line, or the usual cause if the lines show one."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text[: error.position].count("\n") + 1
        return f"{path}, line {line}: the character {error.character:#x} is not allowed in YAML; remove it"
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"{path} is not YAML: {' '.join(str(error).split())}"
    mark = error.problem_mark or error.context_mark
    assert mark is not None  # what it is marked with
    lines = text.splitlines()
    near = range(min(mark.line, len(lines) - 1), max(-1, mark.line - 3), -1)
    for number in near:
        if "\t" in lines[number].removesuffix(lines[number].lstrip()):
            return f"{path}, line {number + 1}: a tab; indent YAML with spaces only"
    for number in near:
        if found := _NO_SPACE.match(lines[number]):
            return f"{path}, line {number + 1}: no space after the colon of `{found['key']}:`; YAML needs one"
    told = ", ".join(filter(None, [error.context, error.problem]))
    return (
        f"{path}, line {mark.line + 1}: not YAML ({told}); check the indentation, brackets, quotes and colons there "
        "and in the line above"
    )


def _at(path: str | Path, node: yaml.Node) -> str:
    return f"{path}, line {node.start_mark.line + 1}"
