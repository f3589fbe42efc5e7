"""Rows of CSV, whose cells are texts: 007 and 1984 stay as they are written."""

import csv
import sys
from collections.abc import Iterator
from typing import TextIO

from smf.artifacts import Columns
from smf.errors import DataError
from smf.streams.json_rows import Record, from_json

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a document is longer than the default, 131,072 characters


def csv_rows(file: TextIO, name: str, delimiter: str | None = None) -> Iterator[Record]:
    """The rows of CSV with a header, read as they are taken; empty cells are left out, and lines without cells.

    Args:
        file: Opened with ``newline=""``.
        name: The file, for messages.
        delimiter: Between cells; None for the comma, semicolon or tab that the header holds most often.

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
                    raise DataError(f"{name}, line {line}: the column {twice[0]!r} comes twice; keep one of the two")
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{name}, line {line}: {len(cells)} cells, but the header has {len(header)}; put a text that "
                    f"holds {delimiter!r} in double quotes"
                )
            pairs = zip(header, cells, strict=True)
            yield Record(f"line {line}", {column: cell for column, cell in pairs if column and cell}, True)
    except csv.Error as error:
        raise DataError(
            f"{name}, line {end + 1}: not valid CSV ({error}); a text with quotes is put in double quotes, and each of "
            "its own is doubled"
        ) from error


def typed(record: Record, columns: Columns, name: str) -> dict:
    """The cells of a row of CSV as what their columns hold.

    A column of lists holds JSON, ``["Ostry", "Ostra"]``, or one text alone; a column of objects holds JSON; a column of
    numbers a number. A cell that is neither stays a text, for the check of the columns' types to refuse.

    Raises:
        DataError: A cell begins like JSON and is none.
    """
    values = dict(record.values)
    for column, kinds in columns.items():
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        text = values.get(column)
        if text is None:
            if list in kinds or str in kinds:
                empty = [] if list in kinds else ""
                values.update({} if type(None) in kinds else {column: empty})
        elif (list in kinds and text.lstrip().startswith("[")) or (dict in kinds and text.lstrip().startswith("{")):
            try:
                values[column] = from_json(text)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{name}, {record.place}: column {column!r} is no JSON ({error}); write "
                    + ('["one text", "another"]' if list in kinds else '{"name": "value"}')
                    + ", with the cell in double quotes and each of its own quotes doubled"
                ) from error
        elif str in kinds:
            continue
        elif list in kinds:
            values[column] = [text]
        elif number := _number(text, kinds):
            values[column] = number[0]
    return values


def _number(text: str, kinds: tuple[type, ...]) -> tuple[int | float] | None:
    for kind in (int, float):
        if kind in kinds:
            try:
                return (kind(text),)
            except ValueError:
                continue
    return None


def _chain(head: str, file: TextIO) -> Iterator[str]:
    yield head
    yield from file
