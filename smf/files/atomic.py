"""Files that appear under their final name only once they are whole: written beside it, synced and renamed."""

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
    """Move a whole file to where it belongs, on the same disk, with the mode of any new file there."""
    probe = Path(path).with_name(f".mode.{secrets.token_hex(4)}")
    probe.touch(exist_ok=False)
    try:
        _put(Path(written), Path(path), probe.stat().st_mode)
    finally:
        probe.unlink()


def temporary_folder(parent: str | Path, prefix: str) -> Path:
    """A new folder with the mode of any new folder there, unlike those of :mod:`tempfile`."""
    folder = Path(parent) / f"{prefix}{secrets.token_hex(4)}"
    folder.mkdir()
    return folder


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder that is synced and named ``path`` when the block ends; after an exception nothing is left."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.writing.*"):  # by a process that was killed
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
    """Refuse a place where something is, or where nothing can be written, before work is done for it.

    Raises:
        DataError: It exists, or something above it is no folder or must not be written to.
    """
    path = Path(path)
    if path.exists() or path.is_symlink():
        raise DataError(f"{path} exists and is not written over; name a place where nothing is, or move it away")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        handle, name = tempfile.mkstemp(dir=above, prefix=f".{path.stem}.", suffix=path.suffix)
    except OSError as error:
        raise DataError(f"{path} cannot be written in {above}: {error.strerror}; name another place") from error
    os.close(handle)
    os.unlink(name)


def not_written(path: str | Path) -> str:
    """What to say of a file or folder whose writing failed, be it for a full disk."""
    return f"{path} was not written; free space on its disk or mend what is said above, then repeat the command"


def _put(written: Path, path: Path, mode: int) -> None:
    """Sync and rename. Libraries write files that only their owner may read: the mode is the umask's again."""
    with open(written, "rb+") as file:
        os.fsync(file.fileno())
    written.chmod(mode & 0o777)
    written.replace(path)
