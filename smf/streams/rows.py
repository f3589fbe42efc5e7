"""Rows of data sets: from the hub by name, or from files that have the hub's schemas.

A source is a mapping with ``hub``, ``hub_config``, ``split`` and ``file``, and where it needs them ``revision``,
``data_dir`` and ``first_rows``.
"""

import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from smf.artifacts import Columns, require_columns
from smf.errors import ConfigError, DataError
from smf.streams.csv_rows import typed
from smf.streams.files import read_file
from smf.streams.json_rows import Record
from smf.streams.layouts import LAYOUTS


class Row(NamedTuple):
    """A row of a source: its number from 1, its place for messages, the columns asked for, and the others' names."""

    number: int
    where: str
    values: dict
    others: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The place within the file, such as ``line 3``: blank lines are not counted as rows."""
        return self.where.rpartition(", ")[2]


def read_rows(
    data_root: str | None,
    source: Mapping,
    columns: Columns,
    optional: Columns | None = None,
    example: str = "",
) -> Iterator[Row]:
    """The rows of a source, each checked.

    Args:
        data_root: Folder of the files; without it a source that names a data set on the hub comes from there.
        source: Where the rows are. What files can be is told by :data:`smf.streams.files.CONTAINERS`.
        columns: The columns that every row must have, with their types; other columns are left out.
        optional: Columns that a row may have; where it has none, or null, the value is None.
        example: A row, to be shown where a file lacks a column.

    Raises:
        DataError: A file or a data set is missing or unreachable, lacks a column, or a row is broken.
    """
    optional = {name: (*_kinds(kinds), type(None)) for name, kinds in (optional or {}).items()}
    if is_file(data_root, source):
        name = str(Path(data_root or ".") / source["file"])
        records = read_file(name)
    else:
        from smf.streams.hub_sets import read_hub  # datasets: seconds that files need not wait for

        name, rows = hub_name(source), read_hub(source, columns, optional)
        records = (Record(f"row {number}", row) for number, row in enumerate(rows, start=1))
    number, layout = 0, LAYOUTS.get(source.get("format"))
    for number, record in enumerate(itertools.islice(records, source.get("first_rows")), start=1):
        where = f"{name}, {record.place}"
        row = typed(record, columns, optional, name) if record.are_texts else record.values
        row = layout(row) if layout else row
        try:
            require_columns(row, columns, where, optional)
        except DataError as error:
            if set(columns) <= set(row):
                raise
            raise DataError(f"{error}{_hint(row, columns, example)}") from error
        others = tuple(name for name in row if name not in columns and name not in optional)
        values = {**{name: row[name] for name in columns}, **{name: row.get(name) for name in optional}}
        yield Row(number, where, values, others)
    if not number:
        raise DataError(f"{name} holds no rows")


def first_columns(path: str | Path) -> set[str]:
    """The columns of a file's first row, by which its kind is told.

    Raises:
        DataError: The file is missing or empty, or its first row is broken.
    """
    for record in read_file(path):
        return set(record.values)
    raise DataError(f"{path} holds no rows")


def at_commits(settings: Mapping, key: str) -> tuple[dict, dict[str, dict]]:
    """Settings whose sources on the hub are each read at one commit, though the set should change meanwhile.

    Args:
        settings: Sources by name, or mappings of such, and ``data_root``.
        key: Their place in the config.

    Returns:
        The settings, and of each source on the hub, by its place in the config, ``name``, ``revision`` and ``commit``.

    Raises:
        DataError: The hub has no such set or revision, or cannot be reached and the cache does not hold the set.
    """
    known, commits = {}, {}

    def look_up(value: object, where: str) -> object:
        if not isinstance(value, Mapping):
            return value
        if "hub" not in value:
            return {name: look_up(part, f"{where}.{name}") for name, part in value.items()}
        if is_file(settings["data_root"], value):
            return value
        from smf.streams.hub_sets import find_on_hub  # datasets: seconds that files need not wait for

        place = tuple(value.get(name) for name in ("hub", "revision", "hub_config", "data_dir"))
        if place not in known:
            try:
                known[place] = find_on_hub(value)
            except DataError as error:
                raise DataError(f"{where}: {error}") from error
        revision = value.get("revision") or "main"
        commits[where] = {"name": value["hub"], "revision": revision, "commit": known[place].commit}
        return {**value, "found": known[place]}

    return look_up(settings, key), commits


def is_file(data_root: str | None, source: Mapping) -> bool:
    """Whether a source is read from a file: below ``data_root``, or because it names nothing on the hub."""
    return data_root is not None or source["hub"] is None


def source_name(data_root: str | None, source: Mapping) -> str:
    """What messages and figures call a source: the file that is read, or the hub's set with its split."""
    return source["file"] if is_file(data_root, source) else hub_name(source)


def hub_name(source: Mapping) -> str:
    """What messages and figures call a set of the hub: its name, its configuration and its split."""
    config = f"/{source['hub_config']}" if source["hub_config"] else ""
    return f"{source['hub']}{config} {source['split']}"


def require_rows(key: str, number: int, rows: Sequence, source: str) -> None:
    """Refuse to draw more rows than there are.

    Args:
        key: The source's place in the config.
        number: Rows wanted.
        rows: Those that can be used.
        source: Its name, see :func:`source_name`.

    Raises:
        ConfigError: There are fewer.
    """
    if len(rows) < number:
        raise ConfigError(
            f"{key}.num_rows is {number} but only {len(rows)} rows of {source} can be used; lower num_rows or give a "
            "larger file"
        )


def _kinds(kinds: type | tuple[type, ...]) -> tuple[type, ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)


def _hint(row: Mapping, columns: Columns, example: str) -> str:
    """What else to say where a row lacks a column."""
    lists = [name for name, value in row.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(row) == len(lists) == 1:
        return f"; if {lists[0]!r} lists the rows, save that list alone"
    missing = next(column for column in columns if column not in row)
    near = difflib.get_close_matches(missing, [name for name in row if name not in columns], n=1)
    renamed = f"; if {near[0]!r} is what is meant, rename it" if near else ""
    return renamed + (f"; a row is such as {example}" if example else "")
