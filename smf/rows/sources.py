"""Rows of data sets: from the hub by name, or from files that have the hub's schemas.

A source is a mapping with ``hub``, ``hub_config``, ``split`` and ``file``, and where it needs them ``revision``,
``data_dir`` and ``first_rows``.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from smf.errors import ConfigError, DataError
from smf.files.artifacts import Columns
from smf.rows.file_rows import Row, checked
from smf.rows.files import read_file
from smf.rows.json_rows import Record


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
        source: Where the rows are. What files can be is told by :data:`smf.rows.files.CONTAINERS`.
        columns: The columns that every row must have, with their types; other columns are left out.
        optional: Columns that a row may have; where it has none, or null, the value is None.
        example: A row, to be shown where a file lacks a column.

    Raises:
        DataError: A file or a data set is missing or unreachable, lacks a column, or a row is broken.
    """
    if is_file(data_root, source):
        name = str(Path(data_root or ".") / source["file"])
        records = read_file(name)
    else:
        from smf.rows.hub_sets import read_hub  # datasets: seconds that files need not wait for

        name, rows = hub_name(source), read_hub(source, columns, optional or {})
        records = (Record(f"row {number}", row) for number, row in enumerate(rows, start=1))
    first_rows, format = source.get("first_rows"), source.get("format")
    yield from checked(records, name, columns, optional, first_rows=first_rows, format=format, example=example)


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
    known: dict[tuple, Any] = {}
    commits: dict[str, dict] = {}

    def look_up(value: object, where: str) -> Any:
        if not isinstance(value, Mapping):
            return value
        if "hub" not in value:
            return {name: look_up(part, f"{where}.{name}") for name, part in value.items()}
        if is_file(settings["data_root"], value):
            return value
        from smf.rows.hub_sets import find_on_hub  # datasets: seconds that files need not wait for

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
