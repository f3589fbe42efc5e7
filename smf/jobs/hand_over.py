"""Hand a workflow's script over to a process that has already imported what jobs need; on import, before they do.

Importing torch and transformers takes half of a small job's time. :mod:`smf.jobs.fork_server` imports them once; each
job is then a copy of that process, made by fork. The process that Snakemake started waits here for its copy: it passes
signals on, and ends as the copy ends. Importing this module does nothing unless Snakemake's main process names a server
in :data:`SERVER`, and the importing script is one of Snakemake's.
"""

import json
import os
import signal
import socket
import struct
import sys
from typing import NoReturn

SERVER = "SMF_FORK_SERVER"
"""Environment variable that names the server's socket; unset where jobs start on their own."""
LENGTH = struct.Struct("!I")
"""What a request begins with: its length in bytes. The standard streams are sent along with it."""
ANSWER = struct.Struct("!ci")
"""An answer: what it says, and a number."""
BEGAN, REFUSED, ENDED = b"B", b"R", b"E"
"""The number is the process, the length of the reason, which follows, and the wait status."""
PASSED_ON = {
    "SIGINT": "SIGINT",
    "SIGTERM": "SIGTERM",
    "SIGTSTP": "SIGSTOP",  # Ctrl-Z; a process without a terminal would not stop
    "SIGCONT": "SIGCONT",
}
"""Signals that the waiting process gets, and what the copy gets for each, sent as one byte."""


def hand_over() -> None:
    """Run this process's script in a copy of the server, and end as it ends.

    Returns only if the script has to run in this process: no server is named, it has ended, or its Python or
    environment is not this process's; the terminal says which.
    """
    address = os.environ.pop(SERVER, None)  # what the job itself starts is not handed over
    if address is None or not hasattr(sys.modules["__main__"], "snakemake"):
        return
    before = {name: signal.getsignal(getattr(signal, name)) for name in PASSED_ON}
    got: list[int] = []
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(address)
            _ask(server)
            got = _pass_on_signals(server)
            said, number = _answer(server)
            refusal = server.recv(number, socket.MSG_WAITALL).decode() if said == REFUSED else ""
        except OSError as error:
            said, refusal = REFUSED, f"the process that has them cannot be reached ({error})"
        if said == BEGAN:
            _end_as(_wait(server))
        elif said == ENDED:  # killed before it could begin
            _end_as(number)
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)
    for number in got:
        signal.raise_signal(number)
    sys.stderr.write(f"this job imports its packages itself: {refusal}\n")


def _ask(server: socket.socket) -> None:
    request = {
        "python": sys.executable,
        "folder": os.getcwd(),
        "arguments": sys.argv,
        "path": sys.path[0],
        "environment": dict(os.environ),
    }
    text = json.dumps(request).encode()
    socket.send_fds(server, [LENGTH.pack(len(text))], [0, 1, 2])
    server.sendall(text)


def _answer(server: socket.socket) -> tuple[bytes, int]:
    answer = server.recv(ANSWER.size, socket.MSG_WAITALL)
    if len(answer) < ANSWER.size:
        raise ConnectionError("it has ended")
    said, number = ANSWER.unpack(answer)
    return said, number


def _pass_on_signals(server: socket.socket) -> list[int]:
    """From now on, pass signals on; returns the list of those that have come, which grows."""
    got: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        got.append(number)
        server.send(bytes([getattr(signal, PASSED_ON[signal.Signals(number).name])]))
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    for name in PASSED_ON:
        signal.signal(getattr(signal, name), pass_on)
    return got


def _wait(server: socket.socket) -> int:
    """The wait status of the copy, when it has ended."""
    try:
        return _answer(server)[1]
    except OSError:
        sys.stderr.write(
            "the process that this job was copied from has ended, and the job with it; repeat the command to resume, "
            "with --config preload=false if it happens again\n"
        )
        os._exit(1)


def _end_as(status: int) -> NoReturn:
    """End this process as another has ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


hand_over()
