"""A GPU of its own for each job of a machine that has several: who comes takes one that nobody holds."""

import getpass
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
_held: list[FileLock] = []  # as long as the process lives


def take_gpu(folder: Path | None = None) -> str | None:
    """Let this process see one GPU alone, one that no other job of this machine has taken.

    It must be called before CUDA is used. A cluster that has given the job its GPU, and a machine with one, are left
    as they are. What is taken is free again when the process ends, however it ends.

    Args:
        folder: Where the locks lie; the same for all jobs of a machine. By default in the folder for temporary files.

    Returns:
        The GPU, as in ``CUDA_VISIBLE_DEVICES``; None if there was nothing to choose.
    """
    gpus = visible_gpus()
    if len(gpus) < 2:
        return None
    folder = folder or Path(tempfile.gettempdir()) / f"smf-gpus-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    for gpu in gpus:
        lock = FileLock(folder / f"{gpu.replace(os.sep, '_')}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _held.append(lock)
        os.environ[VISIBLE] = gpu
        logger.info("computes on GPU %s", gpu)
        return gpu
    chosen = gpus[os.getpid() % len(gpus)]
    logger.warning(
        "all of the GPUs %s are taken: GPU %s is shared, which takes more time and memory; run as many jobs at a time "
        "as there are GPUs: --resources gpu=%d",
        ", ".join(gpus),
        chosen,
        len(gpus),
    )
    os.environ[VISIBLE] = chosen
    return chosen


def visible_gpus() -> Sequence[str]:
    """The GPUs that this process may use: those that ``CUDA_VISIBLE_DEVICES`` lists, else all of the machine."""
    if VISIBLE in os.environ:
        return [gpu.strip() for gpu in os.environ[VISIBLE].split(",") if gpu.strip()]
    # Not torch: to count may start CUDA, after which nothing can be chosen.
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    found = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(found))]
