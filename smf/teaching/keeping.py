"""Keep results safe: reserve the output path before the work, and write the result somewhere whatever happens."""

import logging
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from smf.errors import DataError
from smf.files.atomic import require_new

logger = logging.getLogger(__name__)


@contextmanager
def reserved(path: str | Path) -> Iterator[None]:
    """Reserve a path that does not exist yet for this process. It is free again when the process ends, however it ends.

    Raises:
        DataError: The path exists, cannot be written, or is reserved by another process.
    """
    require_new(path)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(
            f"another process is about to write {path}; wait until it is done, or name another place"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; name another place") from error
    try:
        require_new(path)  # the process that held the lock before may have written it
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def keep(path: str | Path, write: Callable[[Path], None]) -> None:
    """Write a costly result; if that fails, write it elsewhere before reporting the failure.

    Args:
        path: Where to write it.
        write: Writes the result to a given path.

    Raises:
        DataError: It could not be written to ``path``; the message says where it is instead.
        OSError: It could not be written anywhere.
    """
    path = Path(path)
    try:
        if path.exists():
            raise FileExistsError(f"{path} was created after the command began")
        write(path)
    except OSError as error:
        for folder in (path.parent, Path(tempfile.gettempdir()), Path.home()):
            other = _free(folder / path.name)
            try:
                write(other)
            except OSError as again:
                logger.warning("%s cannot be written either: %s", other, again)
                continue
            raise DataError(
                f"{path} was not written ({error}), but {other} was: it holds all that was learned"
            ) from error
        raise


def _free(path: Path) -> Path:
    """A similar path that does not exist yet."""
    number = 2
    while (other := path.with_stem(f"{path.stem}-{number}")).exists():
        number += 1
    return other


@contextmanager
def stopped_by_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C was pressed; a second Ctrl-C interrupts as usual. Main thread only."""
    pressed = []

    def note(*_: object) -> None:
        pressed.append(True)
        signal.signal(signal.SIGINT, before)
        sys.stderr.write(
            "\nstopping when this fact is learned, and keeping what was learned; Ctrl-C again stops at once\n"
        )

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
