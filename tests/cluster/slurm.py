"""A Slurm cluster of two nodes on this machine, for tests: real daemons, as root, without systemd.

It needs /etc/slurm/slurm.conf, because jobs of Snakemake's plugin do not see another place. Where that file exists the
machine may belong to a real cluster, and nothing is touched.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

CONFIG = Path("/etc/slurm/slurm.conf")
NODES = ("n1", "n2")
_PROGRAMS = ("slurmctld", "slurmd", "munged", "mungekey", "sbatch", "squeue", "scancel", "sinfo")
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def why_not() -> str:
    """Why no cluster can be started here; "" if one can."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"{', '.join(missing)} missing (Debian: slurmctld slurmd slurm-client munge)"
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    if CONFIG.exists():
        return f"{CONFIG} exists"
    return ""


class Cluster:
    """Two nodes of two cores each.

    Args:
        folder: Where the daemons keep their state and logs.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Cluster":
        for name in ("state", *(f"spool_{node}" for node in NODES)):
            (self._folder / name).mkdir(parents=True)
        self._start_munge()
        CONFIG.parent.mkdir(exist_ok=True)
        CONFIG.write_text(self._config(), encoding="utf-8")
        self._start("slurmctld", "slurmctld", "-D")
        for node in NODES:
            self._start(node, "slurmd", "-D", "-N", node)
        for _ in range(60):
            if self.states().count("idle") == len(NODES):
                return self
            time.sleep(1)
        self.__exit__()
        raise RuntimeError(f"the nodes did not come up; see {self._folder}")

    def __exit__(self, *_: object) -> None:
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        CONFIG.unlink(missing_ok=True)

    def states(self) -> list[str]:
        """The state of each node."""
        found = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%t"], capture_output=True, text=True, check=False
        )
        return found.stdout.split()

    def running(self) -> dict[str, tuple[str, str]]:
        """The running jobs: number to node and comment, in which the plugin writes rule and wildcards."""
        found = subprocess.run(
            ["squeue", "--noheader", "--states=running", "--format=%i|%N|%k"],
            capture_output=True,
            text=True,
            check=False,
        )
        rows = (line.split("|") for line in found.stdout.splitlines())
        return {number: (node, comment) for number, node, comment in rows}

    def cancel(self, number: str) -> None:
        """Cancel one job."""
        subprocess.run(["scancel", number], check=True)

    def kill_node(self, node: str) -> None:
        """The node's machine dies: its daemon and all that it started."""
        pids = _descendants(self._daemons[node].pid)
        jobs = [number for number, (where, _) in self.running().items() if where == node]
        # The processes that watch over job steps leave the daemon's tree; their titles name the job. What jobs run
        # carries the node's name in its environment.
        steps = tuple(f"slurmstepd: [{number}." for number in jobs)
        pids |= {
            pid
            for pid in _pids()
            if _read(pid, "cmdline").startswith(steps) or f"SLURMD_NODENAME={node}\0" in _read(pid, "environ")
        }
        for pid in pids - {os.getpid()}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._daemons[node].wait()

    def _start_munge(self) -> None:
        Path("/run/munge").mkdir(exist_ok=True)
        if not Path("/etc/munge/munge.key").exists():
            subprocess.run(["mungekey", "--create"], check=True, env={"PATH": _PATH})
        for path in ("/etc/munge", "/etc/munge/munge.key", "/run/munge", "/var/log/munge", "/var/lib/munge"):
            if Path(path).exists():
                shutil.chown(path, "munge", "munge")
        Path("/run/munge").chmod(0o755)
        self._start("munged", "su", "-s", "/bin/sh", "munge", "-c", "exec /usr/sbin/munged --foreground --force")
        for _ in range(20):
            if Path("/run/munge/munge.socket.2").exists():
                return
            time.sleep(0.5)
        raise RuntimeError("munged did not come up")

    def _start(self, name: str, *command: str) -> None:
        with open(self._folder / f"{name}.out", "wb") as out:
            self._daemons[name] = subprocess.Popen(
                command, stdout=out, stderr=out, env={**os.environ, "PATH": _PATH}, start_new_session=True
            )

    def _config(self) -> str:
        host, folder = socket.gethostname().split(".")[0], self._folder
        settings = {
            "ClusterName": "test",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "AuthType": "auth/munge",
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "StateSaveLocation": folder / "state",
            "SlurmdSpoolDir": f"{folder}/spool_%n",
            "SlurmctldPidFile": folder / "slurmctld.pid",
            "SlurmdPidFile": f"{folder}/slurmd_%n.pid",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "MpiDefault": "none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core",
            "SchedulerParameters": "batch_sched_delay=1,sched_interval=2,bf_interval=5",
            "AccountingStorageType": "accounting_storage/none",
            "JobAcctGatherType": "jobacct_gather/none",
            "ReturnToService": 2,
            "MinJobAge": 600,
            "KillWait": 5,
            "SlurmdTimeout": 10,
            "MessageTimeout": 5,
            "TCPTimeout": 3,
            "JobRequeue": 0,
            "SlurmdParameters": "config_overrides",
        }
        lines = [f"{name}={value}" for name, value in settings.items()]
        lines.append(
            f"NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=2 RealMemory=16000"
        )
        lines.append("PartitionName=debug Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP")
        return "\n".join(lines) + "\n"


def _pids() -> set[int]:
    return {int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()}


def _descendants(pid: int) -> set[int]:
    """A process and all that it started."""
    parents = {}
    for other in _pids():
        if stat := _read(other, "stat"):
            parents[other] = int(stat.rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _read(pid: int, name: str) -> str:
    """What a process says of itself; "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
