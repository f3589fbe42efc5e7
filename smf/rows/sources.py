"""Rows of data sets: from the hub by name, or from files with the hub's schemas.

A source is a mapping with ``hub``, ``hub_config``, ``split`` and ``file``, and optionally ``revision``, ``data_dir``
and ``first_rows``.
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
    """Read and check the rows of a source.

    Args:
        data_root: Folder of the files; None to read a source that names a data set on the hub from there.
        source: Where the rows are; :data:`smf.rows.files.CONTAINERS` lists the supported files.
        columns: The columns that every row must have, with their types; other columns are left out.
        optional: Columns that a row may have; if one is missing or null, the value is None.
        example: An example row, to show if a file lacks a column.

    Raises:
        DataError: A file or a data set is missing or unreachable, lacks a column, or a row is broken.
    """
    if is_file(data_root, source):
        name = str(Path(data_root or ".") / source["file"])
        records = read_file(name)
    else:
        from smf.rows.hub_sets import read_hub  # imports datasets, which takes seconds; files do not need it

        name, rows = hub_name(source), read_hub(source, columns, optional or {})
        records = (Record(f"row {number}", row) for number, row in enumerate(rows, start=1))
    first_rows, format = source.get("first_rows"), source.get("format")
    yield from checked(records, name, columns, optional, first_rows=first_rows, format=format, example=example)


def at_commits(settings: Mapping, key: str) -> tuple[dict, dict[str, dict]]:
    """Pin each source on the hub to one commit, so that it is read unchanged even if the set is updated meanwhile.

    Args:
        settings: Sources by name, or mappings of such, and ``data_root``.
        key: Their path in the config.

    Returns:
        The pinned settings, and for each source on the hub, by its path in the config, ``name``, ``revision`` and
        ``commit``.

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
        from smf.rows.hub_sets import find_on_hub  # imports datasets, which takes seconds; files do not need it

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
    """A source's name in messages and figures: the file, or the data set on the hub with its split."""
    return source["file"] if is_file(data_root, source) else hub_name(source)


def hub_name(source: Mapping) -> str:
    """The name of a data set on the hub in messages and figures: its name, configuration and split."""
    config = f"/{source['hub_config']}" if source["hub_config"] else ""
    return f"{source['hub']}{config} {source['split']}"


def require_rows(key: str, number: int, rows: Sequence, source: str) -> None:
    """Refuse to draw more rows than there are.

    Args:
        key: The source's path in the config.
        number: Rows wanted.
        rows: The usable rows.
        source: Its name, see :func:`source_name`.

    Raises:
        ConfigError: There are fewer.
    """
    if len(rows) < number:
        raise ConfigError(
            f"{key}.num_rows is {number} but only {len(rows)} rows of {source} can be used; lower num_rows or give a "
            "larger file"
        )
