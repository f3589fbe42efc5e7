"""Text, JSON and tables on disk. Writes are atomic (:mod:`smf.files.atomic`); reads name the file that they reject."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from smf.errors import DataError
from smf.files.atomic import atomic_path

_TEXT_COLUMNS = ("method", "metric", "setting", "label")  # table columns that hold text, even if it looks like a number
_SETTLED = 2_000_000_000  # nanoseconds after which any further change to a file surely changes its mtime
_digests: dict[str, tuple[tuple[int, int, int] | None, str]] = {}  # of files that this process has read
Columns = Mapping[str, type | tuple[type, ...]]  # the columns of a row, with their types


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: object) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes. NaN is refused."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> dict:
    """Read a JSON object.

    Raises:
        DataError: The file is missing, or is not a JSON object.
    """
    try:
        value = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits raises a plain ValueError
        raise DataError(f"{path} is not valid JSON ({error}); fix it, or rerun the job that made it") from error
    if not isinstance(value, dict):
        raise DataError(
            f"{path}: expected a JSON object, found {type(value).__name__}; fix it, or rerun the job that made it"
        )
    return value


def write_jsonl(path: str | Path, rows: Iterable[Mapping]) -> None:
    """Write one JSON object a line. NaN is refused."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_lines(path: str | Path) -> list[str]:
    """Read a UTF-8 text file as lines without their line endings.

    Raises:
        DataError: The file cannot be read, or is not UTF-8.
    """
    text = _read_text(path)
    # Not splitlines(), which also splits at U+2028 and other characters that JSON text may hold.
    return text.removesuffix("\n").split("\n") if text else []


def read_jsonl(path: str | Path, columns: Columns, optional: Columns | None = None) -> list[dict]:
    """Read one JSON object a line and check every row.

    Args:
        path: The file.
        columns: The columns that every row must have, with their types.
        optional: Columns that a row may have, with their types.

    Raises:
        DataError: The file is missing, or a row is broken or incomplete; names the file and the line.
    """
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits raises a plain ValueError
            raise DataError(f"{where}: not valid JSON ({error}); one object a line is expected") from error
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected an object, found {type(row).__name__}")
        require_text(line, row, where)
        require_columns(row, columns, where, optional)
        rows.append(row)
    if not rows:
        raise DataError(f"{path} holds no rows")
    return rows


def require_columns(row: Mapping, columns: Columns, where: str, optional: Columns | None = None) -> None:
    """Check the columns of one row and their types, see :func:`read_jsonl`.

    Raises:
        DataError: A column is missing or of another type; the message begins with ``where`` and names the value found.
    """
    for column in columns:
        if column not in row:
            raise DataError(f"{where}: no column {column!r}; found {', '.join(sorted(row)) or 'none'}")
    for column, kinds in {**columns, **(optional or {})}.items():
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        value = row.get(column)
        is_bool_for_int = isinstance(value, bool) and bool not in kinds and object not in kinds
        if column in row and (not isinstance(value, kinds) or is_bool_for_int):
            wanted = " or ".join(kind.__name__ for kind in kinds if kind is not type(None))
            raise DataError(f"{where}: column {column!r} is {_told(value)}, not {wanted}{_remedy(value, kinds)}")


def copy_file(source: str | Path, path: str | Path) -> None:
    """Copy a file; it appears under its new name only once it is whole."""
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV; floats keep 10 significant digits, so equal tables give equal bytes."""
    write_text(path, table.to_csv(index=False, float_format="%.10g", lineterminator="\n"))


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a CSV table.

    Raises:
        DataError: The file is missing or empty.
    """
    try:
        # A method may be called "null", "inf" or "true": only an empty field is missing, and names are text.
        return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(_TEXT_COLUMNS, str))
    except (OSError, UnicodeDecodeError, pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise DataError(f"cannot read the table {path}: {error}") from error


def sha256(*paths: str | Path) -> str:
    """SHA-256 of a file's contents; for several files, of their digests.

    Each process reads a file only once: a job first checks the seals of gigabytes of weights, then hashes the model
    from the same files.

    Raises:
        OSError: A file cannot be read.
    """
    digests = [_digest(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def file_stamp(path: str | Path) -> tuple[int, int, int] | None:
    """Size, mtime and inode of a file, which its next change alters; None if it was written too recently for that.

    Raises:
        OSError: There is no such file.
    """
    found = os.stat(path)
    settled = time.time_ns() - found.st_mtime_ns > _SETTLED
    return (found.st_size, found.st_mtime_ns, found.st_ino) if settled else None


def _digest(path: str | Path) -> str:
    name, stamp = os.path.abspath(path), file_stamp(path)
    if stamp is None or _digests.get(name, (None,))[0] != stamp:
        with open(path, "rb") as file:
            _digests[name] = (stamp, hashlib.file_digest(file, "sha256").hexdigest())
    return _digests[name][1]


def _read_text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")  # some editors write a byte-order mark
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error


def require_text(text: str, row: dict, where: str) -> None:
    """Refuse lone surrogates, which JSON can escape but no tokenizer can read."""
    if "\\ud" in text.lower():
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise DataError(f"{where}: holds {half!r}, an unpaired surrogate; fix the text") from error


def _told(value: object) -> str:
    return "null" if value is None else type(value).__name__


def _remedy(value: object, kinds: tuple[type, ...]) -> str:
    """How to fix a value of the wrong type for its column, if that is obvious."""
    if not isinstance(value, (str, int, float)):
        return ""
    if list in kinds:
        return f"; write a list, [{json.dumps(str(value), ensure_ascii=False)[:80]}]"
    if str in kinds:
        return f"; write it in double quotes, {json.dumps(str(value))[:80]}"
    return ""
