"""Logging and progress: one call sends a job's messages, warnings and its last traceback to its log file."""

import logging
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from smf.errors import SmfError

logger = logging.getLogger("smf")

PROGRESS = "progress"
"""What a log line of a progress bar has in place of the logger's name."""


def configure_logging(log_path: str | Path) -> None:
    """Log to ``log_path`` and, in short, to the terminal; uncaught exceptions go to both.

    An :class:`~smf.errors.SmfError` is shown on the terminal as its message alone: it says what to do, and a traceback
    would bury it. The log file always has the traceback.
    """
    path = Path(log_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    to_file = logging.FileHandler(path, mode="w", encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setFormatter(logging.Formatter("%(message)s"))
    to_terminal.addFilter(lambda record: record.name.startswith("smf") or record.levelno >= logging.ERROR)
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_terminal], force=True)
    logging.captureWarnings(True)
    warnings.simplefilter("default")

    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        quiet = logging.LogRecord("failure", logging.INFO, __file__, 0, str(error), None, (kind, error, trace))
        to_file.emit(quiet)
        if issubclass(kind, SmfError):
            sys.stderr.write(f"\n{kind.__name__}: {error}\n(log: {path})\n")
        else:
            _report_quietly(kind, error, trace)

    sys.excepthook = report


def quiet_interrupts() -> None:
    """Show one line in place of a traceback if this process is interrupted, by Ctrl-C or by a cluster's SIGTERM."""
    sys.excepthook = _report_quietly


def _report_quietly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("\ninterrupted; repeat the command to go on\n")
    else:
        sys.__excepthook__(kind, error, trace)


class _Lines:
    """A stream for progress bars where there is no terminal: each state of the bar becomes a line of its own.

    The job's log file has these lines too, so that someone who looks on sees how far the job is.
    """

    def write(self, text: str) -> None:
        sys.stderr.write(text.replace("\r", "\n"))
        if (line := text.strip("\r\n ")) and logging.root.handlers:
            record = logging.LogRecord(PROGRESS, logging.INFO, __file__, 0, line, None, None)
            for handler in logging.root.handlers:
                if isinstance(handler, logging.FileHandler):
                    handler.emit(record)

    def flush(self) -> None:
        sys.stderr.flush()


def progress(items: Iterable, description: str, **options: Any) -> tqdm:
    """A progress bar with rate and time left; a line every ten seconds where the output is not a terminal."""
    if sys.stderr.isatty():
        return tqdm(items, desc=description, dynamic_ncols=True, **options)
    return tqdm(items, desc=description, file=_Lines(), mininterval=10.0, ascii=True, ncols=100, **options)
