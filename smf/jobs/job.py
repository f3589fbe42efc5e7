"""What every workflow job does around its work: log, check inputs, resume, seal outputs, report its state.

with Job(snakemake) as job:
work(..., resume=job.resume)
"""

import smf.jobs.hand_over  # noqa: F401 - before the slow imports: on import, another process may take the job over

# isort: split

import hashlib
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from smf.files.artifacts import write_json
from smf.files.seals import is_below, kept_path, makers_job, seal, verified
from smf.jobs.cost import cost
from smf.jobs.gpus import take_gpu
from smf.jobs.process import process_start
from smf.jobs.versions import library_versions
from smf.logs import configure_logging, quiet_interrupts

if TYPE_CHECKING:
    from smf.files.resume import Resume

STATE_SUFFIX = ".state.json"
"""Suffix of the file beside a job's log that says whether the job is running, done, failed or interrupted, and why."""

quiet_interrupts()  # at import time: a script's next imports take seconds, and Ctrl-C may come during them


class Call(Protocol):
    """The part of Snakemake's script object that is read here."""

    log: list
    input: list
    output: list
    params: dict
    wildcards: dict
    resources: dict
    config: dict
    rule: str


class Job:
    """One call of a rule.

    On entry it sets up logging, takes a GPU if the job computes on one, compares every input below the results folder
    with its seal, and deletes the resume state of the jobs that made these inputs, as they are done. On exit it seals
    the outputs.

    Args:
        call: Snakemake's ``snakemake``. Its first log is ``<results>/logs/<rule>/<job>.log``, and ``config["kept"]`` is
            the permanent results folder; ``config["command_options"]`` are the options of ``snakemake`` that give the
            config, for messages. The job's own results folder is the same one unless Snakemake gives each job copies of
            its files; seals, resume state and job states, which jobs share, are always in the permanent one.
        keep_state: Whether the resume state stays until another job reads the outputs. False for jobs so many that
            their states would fill a disk: if Snakemake is killed before it records such a job, it is computed again.

    Raises:
        CheckpointError: An input has changed since its job wrote it.
    """

    def __init__(self, call: Call, *, keep_state: bool = True):
        self._call, self._keep_state = call, keep_state
        self._log = Path(call.log[0])
        self._results = self._log.parents[2]
        self._kept = Path(call.config["kept"])
        self._hashes: dict[str, str] = {}
        self._started = time.time()
        self._handler: Callable | int | None = None  # SIGTERM's handler outside the job

    def __enter__(self) -> "Job":
        configure_logging(self._log)
        if threading.current_thread() is threading.main_thread():
            # Clusters end jobs with SIGTERM, which by default skips all cleanup and leaves no record.
            self._handler = signal.signal(signal.SIGTERM, _interrupt)
        self._tell("running")
        with self._told():
            if self._call.resources.get("gpu", 0) and self._call.params.get("device") == "cuda":
                take_gpu()
            options = self._call.config.get("command_options", ())
            self._hashes = verified(self._results, self._files(self._call.input), self._kept, options)
            self._clear_state_of_makers()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
        if error is not None:
            self._tell_failure(error)
            return
        outputs = [path for path in self._files(self._call.output) if is_below(path, self._results)]
        wildcards = dict(self._call.wildcards.items())
        with self._told():
            seal(
                self._results,
                outputs,
                self._hashes,
                rule=self._call.rule,
                job=f"{self._log.parent.name}/{self._log.stem}",
                wildcards=wildcards,
                versions=library_versions(),
                kept=self._kept,
            )
        self._tell("done")
        if not self._keep_state:
            self._clear(self._folder)

    @cached_property
    def resume(self) -> "Resume":
        """The :class:`~smf.files.resume.Resume` of this job, for inputs, settings, code and libraries as they are."""
        from smf.files.resume import Resume  # imports torch, which many jobs do not need

        return Resume(self._folder, self.key, float(self._call.resources.get("resume_interval", 0)))

    @property
    def key(self) -> str:
        """Everything that the job's state depends on: rule, wildcards, settings, code, contents of inputs, libraries.

        A finished job does not depend on the versions of libraries, which are no params: an upgrade reruns nothing. But
        a run that began with one version does not go on with another.
        """
        made_of = {
            "rule": self._call.rule,
            "wildcards": dict(self._call.wildcards.items()),
            "params": dict(self._call.params.items()),
            "inputs": self._hashes,
            "versions": library_versions(),
        }
        return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def _folder(self) -> Path:
        return self._kept / "resume" / self._log.parent.name / self._log.stem

    def _clear_state_of_makers(self) -> None:
        """Delete the resume state of the jobs that made this job's inputs: Snakemake has recorded them as done."""
        resume = self._kept / "resume"
        makers = {makers_job(self._kept, Path(name)) for name in self._hashes} if resume.is_dir() else set()
        for state in sorted(resume.glob("*/*")):
            if f"{state.parent.name}/{state.name}" in makers:
                self._clear(state)

    def _clear(self, state: Path) -> None:
        shutil.rmtree(state, ignore_errors=True)  # another job may do the same
        for folder in (state.parent, self._kept / "resume"):
            with suppress(OSError):  # another job's state lies there
                folder.rmdir()

    def _files(self, names: list) -> list[Path]:
        return [Path(name) for name in names]

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Record failures before and after the work too."""
        try:
            yield
        except BaseException as error:
            self._tell_failure(error)
            raise

    def _tell_failure(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._tell("interrupted", str(error) or "by Ctrl-C")
        else:
            self._tell("failed", f"{type(error).__name__}: {error}")

    def _tell(self, state: str, why: str = "") -> None:
        """Write the job's state, for ``smf status``, and what it has cost, for ``compute``."""
        write_json(
            kept_path(self._results, self._log, self._kept).with_suffix(STATE_SUFFIX),
            {
                "rule": self._call.rule,
                "wildcards": {name: str(value) for name, value in self._call.wildcards.items()},
                "state": state,
                "why": why,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "process_start": process_start(os.getpid()),
                "started": self._started,
                "changed": time.time(),
                **cost(),
            },
        )


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt(f"by {signal.Signals(number).name}")
