"""Rows of data sets: from the hub by name, or from files that have the hub's schemas.

This is the only module that imports ``datasets``. A source is a mapping with ``hub``, ``hub_config``, ``split`` and
``file``, and where it needs them ``data_dir`` and ``first_rows``.
"""

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import datasets
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from smf.artifacts import Columns, read_jsonl, read_lines, require_columns
from smf.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

HUB_TIMEOUT = 10.0  # seconds until the hub counts as unreachable; its own client would retry for a minute


class Row(NamedTuple):
    """A row of a source: its number from 1, its place for messages, the columns asked for, and the others' names."""

    number: int
    where: str
    values: dict
    others: tuple[str, ...] = ()


def read_rows(
    data_root: str | None, source: Mapping, columns: Columns, optional: Columns | None = None
) -> Iterator[Row]:
    """The rows of a source, each checked.

    Args:
        data_root: Folder of the files; without it a source that names a data set on the hub comes from there.
        source: Where the rows are. A ``.txt`` file has one row a line, in the column ``text``; other files are JSONL.
        columns: The columns that every row must have, with their types; other columns are left out.
        optional: Columns that a row may have; where it has none, or null, the value is None.

    Raises:
        DataError: A file or a data set is missing or unreachable, lacks a column, or a row is broken.
    """
    optional = {name: (*_kinds(kinds), type(None)) for name, kinds in (optional or {}).items()}
    if is_file(data_root, source):
        path = Path(data_root or ".") / source["file"]
        place, rows = f"{path}, line", _read_file(path, columns, optional)
    else:
        place, rows = f"{_hub_name(source)}, row", _read_hub(source, columns)
    for number, row in enumerate(itertools.islice(rows, source.get("first_rows")), start=1):
        where = f"{place} {number}"
        require_columns(row, columns, where, optional)
        others = tuple(name for name in row if name not in columns and name not in optional)
        values = {**{name: row[name] for name in columns}, **{name: row.get(name) for name in optional}}
        yield Row(number, where, values, others)


def is_file(data_root: str | None, source: Mapping) -> bool:
    """Whether a source is read from a file: below ``data_root``, or because it names nothing on the hub."""
    return data_root is not None or source["hub"] is None


def source_name(data_root: str | None, source: Mapping) -> str:
    """What messages and figures call a source: the file that is read, or the hub's set with its split."""
    return source["file"] if is_file(data_root, source) else _hub_name(source)


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


def _hub_name(source: Mapping) -> str:
    config = f"/{source['hub_config']}" if source["hub_config"] else ""
    return f"{source['hub']}{config} {source['split']}"


def _kinds(kinds: type | tuple[type, ...]) -> tuple[type, ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)


def _read_file(path: Path, columns: Columns, optional: Columns) -> list[dict]:
    if path.suffix == ".txt":
        return [{"text": line} for line in read_lines(path)]
    return read_jsonl(path, columns, optional=optional)


def _read_hub(source: Mapping, columns: Columns) -> Iterable[dict]:
    name, remedy = source["hub"], "check the network, or set data_root to a folder with the JSONL files"
    options = {"data_dir": source["data_dir"]} if source.get("data_dir") else {}
    if source.get("first_rows"):
        options["streaming"] = True  # only what is read is downloaded
    try:
        with _cache_only_if(not _hub_answers(name)):
            data = datasets.load_dataset(name, source["hub_config"], split=source["split"], **options)
            if source.get("first_rows"):
                return list(data.take(source["first_rows"]))
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise DataError(f"cannot load {_hub_name(source)} from the hub: {error}; {remedy}") from error
    if missing := [column for column in columns if column not in data.column_names]:
        raise DataError(f"{_hub_name(source)}: no column {missing[0]!r}; found {', '.join(sorted(data.column_names))}")
    return data


def _hub_answers(name: str) -> bool:
    try:
        HfApi(endpoint=datasets.config.HF_ENDPOINT).dataset_info(name, timeout=HUB_TIMEOUT)
    except HfHubHTTPError:
        return True  # it says no, and load_dataset will say why
    except (HTTPError, OfflineModeIsEnabled) as error:
        logger.warning("the hub cannot be reached (%s); looking for %s in the local cache", error, name)
        return False
    return True


@contextmanager
def _cache_only_if(offline: bool) -> Iterator[None]:
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
