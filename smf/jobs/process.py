"""Which process a number stands for: the system gives the number of an ended process to another one."""

from pathlib import Path

_STARTED = 19
"""Where /proc/<pid>/stat has the time of the start, counted from behind the program's name (proc(5), field 22)."""


def process_start(pid: int) -> str:
    """When a process of this machine started, in clock ticks after a boot that is named too; "" if nothing tells.

    Only Linux tells. The boot's name, unlike a date, does not move when the clock is set.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # a name may hold spaces
    except OSError:
        return ""
    return f"{boot} {int(fields[_STARTED])}"
