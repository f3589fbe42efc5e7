"""Rows of files, each checked against the wanted columns."""

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from smf.errors import DataError
from smf.files.artifacts import Columns, require_columns
from smf.rows.csv_rows import typed
from smf.rows.files import read_file
from smf.rows.json_rows import Record
from smf.rows.layouts import LAYOUTS


class Row(NamedTuple):
    """A row of a source: its number from 1, its place for messages, the wanted columns, and the others' names."""

    number: int
    where: str
    values: dict
    others: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The place within the file, such as ``line 3``; unlike ``number``, it counts blank lines."""
        return self.where.rpartition(", ")[2]


def read_file_rows(path: str | Path, columns: Columns) -> Iterator[Row]:
    """Read and check the rows of a file in any supported container.

    Raises:
        DataError: The file is missing, lacks a column, or a row is broken.
    """
    return checked(read_file(path), str(path), columns)


def first_columns(path: str | Path) -> set[str]:
    """The columns of a file's first row, which tell its kind.

    Raises:
        DataError: The file is missing or empty, or its first row is broken.
    """
    for record in read_file(path):
        return set(record.values)
    raise DataError(f"{path} holds no rows")


def checked(
    records: Iterable[Record],
    name: str,
    columns: Columns,
    optional: Columns | None = None,
    *,
    first_rows: int | None = None,
    format: str | None = None,
    example: str = "",
) -> Iterator[Row]:
    """Check rows for the wanted columns and their types.

    Args:
        records: The rows as found.
        name: Name of the file or the data set, for error messages.
        columns: The columns that every row must have, with their types; other columns are left out.
        optional: Columns that a row may have; if it is missing or null, the value is None.
        first_rows: How many rows to read; None for all.
        format: The set's format, to recognise its other layout (:data:`smf.rows.layouts.LAYOUTS`).
        example: An example row, to show if a column is missing.

    Raises:
        DataError: There is no row, or one lacks a column or holds another type.
    """
    optional = {column: (*_kinds(kinds), type(None)) for column, kinds in (optional or {}).items()}
    number, layout = 0, LAYOUTS.get(format) if format else None
    for number, record in enumerate(itertools.islice(records, first_rows), start=1):
        where = f"{name}, {record.place}"
        found = typed(record, columns, optional, name) if record.are_texts else record.values
        row = layout(found) if layout else found
        try:
            require_columns(row, columns, where, optional)
        except DataError as error:
            if set(columns) <= set(row):
                raise
            raise DataError(f"{error}{_hint(row, columns, example)}") from error
        others = tuple(column for column in row if column not in columns and column not in optional)
        values = {column: row[column] for column in columns} | {column: row.get(column) for column in optional}
        yield Row(number, where, values, others)
    if not number:
        raise DataError(f"{name} holds no rows")


def _kinds(kinds: type | tuple[type, ...]) -> tuple[type, ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)


def _hint(row: Mapping, columns: Columns, example: str) -> str:
    """A hint to add to the error message for a missing column."""
    lists = [name for name, value in row.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(row) == len(lists) == 1:
        return f"; if {lists[0]!r} lists the rows, save that list alone"
    missing = next(column for column in columns if column not in row)
    near = difflib.get_close_matches(missing, [name for name in row if name not in columns], n=1)
    renamed = f"; if {near[0]!r} is what is meant, rename it" if near else ""
    return renamed + (f"; a row is such as {example}" if example else "")
