"""One GPU per job on a machine with several: each job takes one that no other job holds."""

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
_held: list[FileLock] = []  # held until the process ends


def take_gpu(folder: Path | None = None) -> str | None:
    """Restrict this process to one GPU that no other job on this machine has taken.

    Call it before CUDA is used. Nothing changes if a cluster has already assigned a GPU to the job, or if the machine
    has only one. The GPU is free again when the process ends, however it ends.

    Args:
        folder: Where the locks lie, the same for all jobs on a machine; by default in the folder for temporary files.

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
        "all of the GPUs %s are taken: GPU %s is shared, which takes more time and memory; run only as many jobs at a "
        "time as there are GPUs: --resources gpu=%d",
        ", ".join(gpus),
        chosen,
        len(gpus),
    )
    os.environ[VISIBLE] = chosen
    return chosen


def visible_gpus() -> Sequence[str]:
    """The GPUs that this process may use: those that ``CUDA_VISIBLE_DEVICES`` lists, else all GPUs of the machine."""
    if VISIBLE in os.environ:
        return [gpu.strip() for gpu in os.environ[VISIBLE].split(",") if gpu.strip()]
    # Not torch: counting may initialise CUDA, after which the choice has no effect.
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    found = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(found))]
