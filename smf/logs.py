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
"""Stands in place of the logger's name in the log lines of a progress bar."""


def configure_logging(log_path: str | Path) -> None:
    """Log to ``log_path`` and, in short form, to the terminal; uncaught exceptions go to both.

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
    """Show one line instead of a traceback when Ctrl-C or a cluster's SIGTERM interrupts this process."""
    sys.excepthook = _report_quietly


def _report_quietly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("\ninterrupted; repeat the command to resume\n")
    else:
        sys.__excepthook__(kind, error, trace)


class _Lines:
    """Output stream for progress bars without a terminal: each update becomes a line of its own.

    The lines also go to the job's log file, so that its progress can be followed there.
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
    """Show a progress bar with rate and time left, or a line every ten seconds if the output is not a terminal."""
    if sys.stderr.isatty():
        return tqdm(items, desc=description, dynamic_ncols=True, **options)
    return tqdm(items, desc=description, file=_Lines(), mininterval=10.0, ascii=True, ncols=100, **options)
