"""Check that the device that a config asks for is available."""

import re

import torch

from smf.errors import ConfigError, refuse


def require_device(device: str) -> None:
    """Refuse a device that this machine does not have, before a job has done any work.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:<number>`` or ``mps``.

    Raises:
        ConfigError: The name is none of these, this machine has no such device, or torch was built without support for
            it.
    """
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", device):
        refuse("device", repr(device), "cpu, cuda, cuda:<number> or mps")
    kind, _, number = device.partition(":")
    if kind == "cuda":
        found = torch.cuda.device_count()
        if found <= int(number or 0):
            build = (
                f"this torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "this torch has none"
            )
            raise ConfigError(
                f"device is {device}, but torch finds {found} CUDA devices here ({build}); set `device: cpu`, or "
                "install a CUDA build of torch on a machine with a GPU"
            )
    elif kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"device is {device}, but torch finds no Apple GPU here; set `device: cpu`")
