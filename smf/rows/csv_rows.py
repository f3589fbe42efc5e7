"""Rows of CSV. Cells are texts: 007 and 1984 stay as written."""

import csv
import sys
from collections.abc import Iterator
from typing import TextIO

from smf.errors import DataError
from smf.files.artifacts import Columns
from smf.rows.json_rows import Record, from_json

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # documents exceed the default of 131,072 characters


def csv_rows(file: TextIO, name: str, delimiter: str | None = None) -> Iterator[Record]:
    """Read rows of CSV with a header, lazily; empty lines are left out.

    Args:
        file: Opened with ``newline=""``.
        name: The file's name, for error messages.
        delimiter: Delimiter of the cells; None for the most frequent in the header of comma, semicolon and tab.

    Raises:
        DataError: A row has more or fewer cells than the header, or quotes are broken; names the line.
    """
    head = file.readline()
    if delimiter is None:
        delimiter = max(",;\t", key=head.count)
    rows = csv.reader(_chain(head, file), delimiter=delimiter, skipinitialspace=True, strict=True)
    header, end = None, 0
    try:
        for cells in rows:
            line, end = end + 1, rows.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                if twice := [column for column in header if column and header.count(column) > 1]:
                    raise DataError(f"{name}, line {line}: the column {twice[0]!r} appears twice; keep one of the two")
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{name}, line {line}: {len(cells)} cells, but the header has {len(header)}; put text that holds "
                    f"{delimiter!r} in double quotes"
                )
            pairs = zip(header, cells, strict=True)
            yield Record(f"line {line}", {column: cell for column, cell in pairs if column}, True)
    except csv.Error as error:
        raise DataError(
            f"{name}, line {end + 1}: not valid CSV ({error}); put text with quotes in double quotes, and double the "
            "quotes within"
        ) from error


def typed(record: Record, columns: Columns, optional: Columns, name: str) -> dict:
    """Convert the cells of a CSV row to the types of their columns.

    A column of lists holds JSON, ``["Ostry", "Ostra"]``, or a single text; a column of objects holds JSON; a column of
    numbers holds a number. Any other cell stays a text, which the type check of the columns then refuses. An empty cell
    of an optional column is left out.

    Raises:
        DataError: A cell begins like JSON but is not.
    """
    values = {column: cell for column, cell in record.values.items() if cell or column not in optional}
    for column, kinds in {**columns, **optional}.items():
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        if column in values:
            values[column] = _typed(values[column], kinds, f"{name}, {record.place}: column {column!r}")
    return values


def _typed(text: str, kinds: tuple[type, ...], where: str) -> object:
    holds_lists, holds_objects = list in kinds or object in kinds, dict in kinds or object in kinds
    if (holds_lists and text.lstrip().startswith("[")) or (holds_objects and text.lstrip().startswith("{")):
        try:
            return from_json(text)
        except (ValueError, RecursionError) as error:
            example = '["one text", "another"]' if holds_lists else '{"name": "value"}'
            raise DataError(
                f"{where} is not JSON ({error}); write {example}, with the cell in double quotes and the quotes within "
                "doubled"
            ) from error
    if str in kinds or object in kinds:
        return text
    if list in kinds:
        return [text] if text else []
    return _number(text, kinds)


def _number(text: str, kinds: tuple[type, ...]) -> int | float | str:
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                continue
    return text


def _chain(head: str, file: TextIO) -> Iterator[str]:
    yield head
    yield from file
