"""Atomic writes: a file is written beside its final path, synced and renamed once it is complete."""

import glob
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smf.errors import DataError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends without an exception."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        _put(temporary, path, mode)
    except Exception as error:
        error.add_note(not_written(path))
        raise
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(written: str | Path, path: str | Path) -> None:
    """Move a complete file to its final path on the same disk, with the default mode of a new file."""
    probe = Path(path).with_name(f".mode.{secrets.token_hex(4)}")
    probe.touch(exist_ok=False)
    try:
        _put(Path(written), Path(path), probe.stat().st_mode)
    finally:
        probe.unlink()


def temporary_folder(parent: str | Path, prefix: str) -> Path:
    """Create a temporary folder with the default mode of new folders; :mod:`tempfile` would make it private."""
    folder = Path(parent) / f"{prefix}{secrets.token_hex(4)}"
    folder.mkdir()
    return folder


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder that is synced and renamed to ``path`` when the block ends; an exception removes it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.writing.*"):  # left by a killed process
        shutil.rmtree(left)
    temporary = temporary_folder(path.parent, f".{path.name}.writing.")
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with open(file, "rb+") as written:
                    os.fsync(written.fileno())
        temporary.rename(path)
    except Exception as error:
        error.add_note(not_written(path))
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_new(path: str | Path) -> None:
    """Refuse an output path that exists or cannot be written, before any work is done for it.

    Raises:
        DataError: It exists, or a parent is not a folder or not writable.
    """
    path = Path(path)
    if path.exists() or path.is_symlink():
        raise DataError(f"{path} exists and is not overwritten; name another path, or move it away")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        handle, name = tempfile.mkstemp(dir=above, prefix=f".{path.stem}.", suffix=path.suffix)
    except OSError as error:
        raise DataError(f"{path} cannot be written in {above}: {error.strerror}; name another place") from error
    os.close(handle)
    os.unlink(name)


def not_written(path: str | Path) -> str:
    """The message for a file or folder that could not be written, e.g. because the disk is full."""
    return f"{path} was not written; free space on its disk or fix the error above, then repeat the command"


def _put(written: Path, path: Path, mode: int) -> None:
    """Sync and rename. Reset the mode to the umask's, as some libraries write files that only their owner may read."""
    with open(written, "rb+") as file:
        os.fsync(file.fileno())
    written.chmod(mode & 0o777)
    written.replace(path)
