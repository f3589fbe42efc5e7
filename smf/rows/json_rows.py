"""Read JSON objects as people write them: one per line, in an array, or over several lines; explain syntax errors."""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from smf.errors import DataError
from smf.files.artifacts import require_text


class Record(NamedTuple):
    """A row of a file.

    Attributes:
        place: Its place for error messages, such as ``line 3``.
        values: Its columns.
        are_texts: Whether every value is still a text, as in CSV, whatever the type of its column.
    """

    place: str
    values: dict
    are_texts: bool = False


def json_rows(lines: Iterable[str], name: str) -> Iterator[Record]:
    """Yield the objects of JSON text; blank lines are skipped.

    Args:
        lines: The lines of the text, with line ends. They are read lazily, unless the text is an array or an object
            spans several lines.
        name: The file's name, for error messages.

    Raises:
        DataError: The text is not JSON, or holds values that are not objects; names the line, and the remedy.
    """
    numbered = enumerate(lines, start=1)
    first = True
    for number, line in numbered:
        if not line.strip():
            continue
        if first and line.lstrip().startswith("["):
            yield from _array(line + "".join(rest for _, rest in numbered), number, name)
            return
        first = False
        try:
            value = _DECODER.decode(line)
        except (ValueError, RecursionError):  # broken, or the first line of an object that spans several
            yield from _objects(line + "".join(rest for _, rest in numbered), number, name)
            return
        yield _record(value, line, f"line {number}", name)


def from_json(text: str) -> object:
    """The value of one JSON text.

    Raises:
        ValueError: It is not JSON, or not strict JSON: a key is repeated, or a number is NaN.
    """
    return _DECODER.decode(text)


def _array(text: str, line: int, name: str) -> Iterator[Record]:
    """The elements of an array that begins in ``line``."""
    position, counted, number = _next(text, text.index("[") + 1), 0, 0
    while not text.startswith("]", position):
        line, counted, number = line + text.count("\n", counted, position), position, number + 1
        place = f"item {number} (line {line})"
        value, end = _decode(text, position, line, place, name)
        yield _record(value, text[position:end], place, name)
        position = _next(text, end)
        if text.startswith(",", position):
            position = _next(text, position + 1)
        elif not text.startswith("]", position):
            found = repr(text[position : position + 20].split("\n")[0]) if position < len(text) else "the file's end"
            raise DataError(
                f"{name}, {place}: {found} follows in the array; write a comma between its objects and ] behind the "
                "last, or no brackets and commas and one object a line"
            )
    if text[position + 1 :].strip():
        line += text.count("\n", counted, _next(text, position + 1))
        raise DataError(f"{name}, line {line}: text follows the array's end; write all objects into one array")


def _objects(text: str, line: int, name: str) -> Iterator[Record]:
    """Objects that may span several lines; the first begins in ``line``."""
    position, counted = _next(text, 0), 0
    while position < len(text):
        line, counted = line + text.count("\n", counted, position), position
        value, end = _decode(text, position, line, f"line {line}", name)
        ends = text.find("\n", end)
        if text[end : ends if ends >= 0 else None].strip():
            reason = _reason(text[position:], json.JSONDecodeError("Extra data", text[position:], end - position), line)
            raise DataError(f"{name}, line {line}: {reason}")
        yield _record(value, text[position:end], f"line {line}", name)
        position = _next(text, end)


def _decode(text: str, position: int, line: int, place: str, name: str) -> tuple[object, int]:
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        here = json.JSONDecodeError(error.msg, text[position:], error.pos - position)
        raise DataError(f"{name}, {place}: {_reason(text[position:], here, line)}") from error
    except _NotStrictError as error:
        raise DataError(f"{name}, {place}: {error}") from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, or deep nesting
        raise DataError(f"{name}, {place}: not valid JSON ({error}); fix the row or leave it out") from error


def _record(value: object, text: str, place: str, name: str) -> Record:
    where = f"{name}, {place}"
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object, found {type(value).__name__}; write {{…}} with named columns")
    require_text(text, value, where)
    return Record(place, value)


def _next(text: str, position: int) -> int:
    """Position of the next character that is not white space."""
    found = _NOT_SPACE.search(text, position)
    return found.start() if found else len(text)


def _reason(text: str, error: json.JSONDecodeError, line: int) -> str:
    """Explain the syntax error in the row that ``text`` begins with, in line ``line``, and how to fix it."""
    first = text.split("\n", 1)[0].strip()
    for looks, remedy in _HABITS:
        if looks(first):
            return f"not valid JSON: {remedy}"
    where = f"line {line + error.lineno - 1}, column {error.colno}"
    if "\n" not in text and not first.endswith(("}", "]")) and first.startswith("{"):
        return f"not valid JSON: the file ends within this row ({where}); it was cut off, copy or write it again"
    if error.msg.startswith("Invalid control character"):
        return f"not valid JSON: a text is not closed ({where}); write line breaks and tabs within as \\n and \\t"
    return f'not valid JSON ({error.msg}: {where}); one object a line is expected, such as {{"text": "…"}}'


def _is_python(line: str) -> bool:
    try:
        return isinstance(ast.literal_eval(line), dict)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def _is_json(line: str) -> bool:
    try:
        _DECODER.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


_HABITS = (
    (lambda line: line.startswith(("//", "#", "/*")), "JSON has no comments; remove the line"),
    (
        lambda line: line.startswith("version https://git-lfs"),
        "the file is a pointer of Git LFS; fetch its content with `git lfs pull`",
    ),
    (lambda line: line.startswith("<"), "this is a web page or XML; download the raw file"),
    (
        lambda line: line.endswith(",") and _is_json(line[:-1]),
        "remove the comma at the end of the line; JSONL has none between rows",
    ),
    (
        lambda line: re.search(r",\s*[}\]]", line) and _is_json(re.sub(r",(\s*[}\]])", r"\1", line)),
        "remove the comma before the closing bracket",
    ),
    (
        lambda line: re.match(r"\{\s*[“”„‘’]", line),
        "its quotes are curly; JSON needs straight double quotes",
    ),
    (
        lambda line: re.match(r"\{\s*'", line) or _is_python(line),
        "it is written as in Python; JSON needs double quotes, and true, false and null in small letters "
        "(json.dumps writes it)",
    ),
    (lambda line: re.match(r"\{\s*[A-Za-z_]\w*\s*:", line), "names of columns need double quotes"),
)


class _NotStrictError(ValueError):
    """Python's decoder would accept it, but other readers would disagree on its meaning."""


def _no_repeats(pairs: list[tuple[str, object]]) -> dict:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _NotStrictError(f"the key {twice!r} appears twice in one object; keep one of the two")
    return values


def _no_constant(word: str) -> None:
    raise _NotStrictError(f"{word} is not a JSON value; write null, or leave the column out")


_NOT_SPACE = re.compile(r"[^ \t\r\n]")
_DECODER = json.JSONDecoder(object_pairs_hook=_no_repeats, parse_constant=_no_constant)
