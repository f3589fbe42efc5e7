"""The process that jobs are copies of: it imports what they need once, and forks for each of them.

Snakemake's main process starts one for each run (:func:`start`), so that jobs run the code as it is when the first of
them begins. :mod:`smf.jobs.hand_over` hands it the jobs' scripts. It imports at the first of them, and computes nothing
itself: a copy inherits no thread, no CUDA and no state of random numbers that was used. It ends when the main process
does, however that ends, and interrupts what still runs.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from smf.jobs.hand_over import ANSWER, BEGAN, ENDED, LENGTH, REFUSED, SERVER

AVAILABLE = sys.platform == "linux"
"""Whether this system can tell a copy that the server has ended, and has libraries that a fork leaves intact."""
FREE = frozenset({"_", "OLDPWD", "PWD", "SHLVL", "TEMP", "TEMPDIR", "TMP", "TMPDIR"})
"""Environment variables that no import reads, so that a job's may differ from the server's."""
ONE_THREAD = dict.fromkeys(
    ["VECLIB_MAXIMUM_THREADS", *(f"{name}_NUM_THREADS" for name in ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR"))], "1"
)
"""What Snakemake sets for a job of one thread. Libraries read it when they load: jobs with more start on their own."""
FORK_SAFE = frozenset({"jemalloc_bg_thd"})
"""Threads of libraries that see to forks themselves: that of Arrow's allocator."""
TIMEOUT = 10.0
"""Seconds that a request may take to arrive."""
_COMMAND = "from smf.jobs.fork_server import main; main()"  # with -m, a copy would not end by SIGINT as a script does
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_LONGEST = 80  # a socket's path has at most 107 bytes


def start(modules: Sequence[str]) -> subprocess.Popen:
    """Start a server, and name it to the jobs that this process starts from now on.

    Args:
        modules: What it imports.

    Returns:
        The server. It ends when its standard input is closed: at the latest with this process, which waits for it.
    """
    folder = tempfile.mkdtemp(prefix="smf-")
    if len(folder) > _LONGEST:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="smf-", dir="/tmp")
    address = f"{folder}/jobs"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(128)
        server = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, str(listener.fileno()), *modules],
            stdin=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD},
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C reaches a job once, by way of the process that waits for it
        )
    os.environ[SERVER] = address
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # a server that was killed leaves it
    atexit.register(server.communicate)  # goes first: closes its standard input and waits
    return server


@dataclass(frozen=True)
class Script:
    """A script to run in this process, in the place of the process that handed it over."""

    folder: str
    arguments: list[str]
    path: str  # the first entry of sys.path: the script's folder
    environment: dict[str, str]
    streams: list[int]

    def run(self) -> None:
        """Run it as Python runs a script: its errors and exits are those of this process."""
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        tempfile.tempdir = None  # TMPDIR may be another
        sys.argv[:] = self.arguments
        sys.path[0] = self.path
        runpy.run_path(self.arguments[0], run_name="__main__")


class Server:
    """Takes scripts from a socket, and forks for each.

    Args:
        listener: The socket.
        modules: What to import before the first script.
    """

    def __init__(self, listener: socket.socket, modules: Sequence[str]):
        self._listener = listener
        self._modules = list(modules)  # those that are still to be imported
        self._environment = dict(os.environ)  # without what imports add to it
        self._open = True  # whether the main process is there
        self._jobs: dict[int, socket.socket] = {}  # by process: where to tell how it ends
        self._ended, self._wakeup = socket.socketpair()
        self._wakeup.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        for source in (listener, self._ended, sys.stdin):
            self._selector.register(source, selectors.EVENT_READ)

    def serve(self) -> Script | None:
        """Serve until the main process and all jobs have ended; in a copy, return the script that it is to run."""
        while self._open or self._jobs:
            for key, _ in self._selector.select():
                if key.fileobj is self._ended:
                    self._ended.recv(4096)
                    self._tell_ends()
                elif key.fileobj is sys.stdin:
                    self._interrupt_all()
                elif key.data in self._jobs:
                    self._pass_on(key.data)
                elif key.fileobj is self._listener and (script := self._take()) is not None:
                    return script
        return None

    def _take(self) -> Script | None:
        """Take one script; returns it in the copy that is to run it."""
        job, _ = self._listener.accept()
        try:
            request, streams = _received(job)
        except (OSError, ValueError):  # the process that asked has ended
            job.close()
            return None
        refusal = self._difference(request) or self._import()
        process = None if refusal else os.fork()
        if process == 0:
            self._leave(job)
            added = {name: text for name, text in os.environ.items() if self._environment.get(name) != text}
            environment = {**request["environment"], **added}
            return Script(request["folder"], request["arguments"], request["path"], environment, streams)
        for stream in streams:
            os.close(stream)
        if process is None:
            _tell(job, ANSWER.pack(REFUSED, len(refusal.encode())) + refusal.encode())
            job.close()
        else:
            self._jobs[process] = job
            self._selector.register(job, selectors.EVENT_READ, process)
        return None

    def _difference(self, request: Mapping) -> str:
        """In what a script's process differs from this one, so that a copy could not stand for it, or ""."""
        if request["python"] != sys.executable:
            return f"its Python is {request['python']}, not {sys.executable}"
        theirs, ours = request["environment"], self._environment
        names = {*theirs, *ours} - FREE
        differing = sorted(name for name in names if theirs.get(name) != ours.get(name))
        return f"its environment differs in {', '.join(differing)}" if differing else ""

    def _import(self) -> str:
        """Import what is still to be imported; returns why this process cannot be copied, or ""."""
        if self._modules:
            for name in self._modules:
                importlib.import_module(name)
            self._modules = []
            gc.collect()
            gc.freeze()  # a copy's garbage collection need not look at, and so copy, what all of them share
        if threading.active_count() > 1 or (others := _threads() - FORK_SAFE):
            return f"it runs threads, which no copy would have: {', '.join(sorted(others))}"
        return ""

    def _leave(self, job: socket.socket) -> None:
        """Let go of everything that is the server's, in a copy; the copy is to end with the server."""
        server = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:
            os._exit(1)
        _tell(job, ANSWER.pack(BEGAN, os.getpid()))  # by the copy, so that none begins of which nobody knows
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for source in (self._listener, self._ended, self._wakeup, job, *self._jobs.values()):
            source.close()

    def _pass_on(self, process: int) -> None:
        """Give a job the signal that it is sent; end it if the process that waits for it is gone."""
        job = self._jobs[process]
        try:
            number = job.recv(1)
        except ConnectionError:
            number = b""
        os.kill(process, number[0] if number else signal.SIGKILL)
        if not number:
            self._selector.unregister(job)

    def _tell_ends(self) -> None:
        """Tell those who wait for jobs how these have ended."""
        with suppress(ChildProcessError):  # there is none left
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                process, status = ended
                if (job := self._jobs.pop(process, None)) is not None:
                    if job in self._selector.get_map():
                        self._selector.unregister(job)
                    _tell(job, ANSWER.pack(ENDED, status))
                    job.close()

    def _interrupt_all(self) -> None:
        """End, as the main process has: at once without jobs, else when all of them have been interrupted."""
        self._open = False
        for source in (self._listener, sys.stdin):
            self._selector.unregister(source)
        for process in self._jobs:
            os.kill(process, signal.SIGTERM)


def _received(job: socket.socket) -> tuple[dict, list[int]]:
    """A request, and the streams sent with it."""
    job.settimeout(TIMEOUT)
    head, streams, _, _ = socket.recv_fds(job, LENGTH.size, 3)
    try:
        text = job.recv(LENGTH.unpack(head)[0], socket.MSG_WAITALL) if len(head) == LENGTH.size else b""
        request = json.loads(text)
    except (OSError, ValueError):
        for stream in streams:
            os.close(stream)
        raise
    job.settimeout(None)
    return request, streams


def _tell(job: socket.socket, answer: bytes) -> None:
    with suppress(ConnectionError):  # nobody waits any more, which the selector tells
        job.sendall(answer)


def _threads() -> set[str]:
    """Names of the threads of this process, its own besides."""
    tasks = [task for task in Path("/proc/self/task").iterdir() if task.name != str(os.getpid())]
    return {(task / "comm").read_text(encoding="utf-8").strip() for task in tasks}


def main() -> None:
    """Serve on the socket that the first argument names by its descriptor; the others are modules to import."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    folder, server = Path(listener.getsockname()).parent, os.getpid()
    try:
        script = Server(listener, sys.argv[2:]).serve()
    finally:
        if os.getpid() == server:
            shutil.rmtree(folder, ignore_errors=True)
    if script is not None:
        script.run()
