"""The plan of an experiment: what it will need, written before anything runs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from smf.errors import ConfigError
from smf.files.artifacts import write_text
from smf.sizing.text import Plan, plan
from smf.sizing.work import Work


def make_plan(config: Mapping, probes: Mapping[str, str], positions: Sequence[int]) -> Plan:
    """Work out what an experiment will need.

    Args:
        config: The checked config.
        probes: Kind of each held-out set by its name.
        positions: Positions of the snapshots.

    Raises:
        ConfigError: The base model's sizes, or the device's memory, are not known.
    """
    asked = config["device_memory"]
    size = device_memory(config["device"]) if asked is None else int(asked * 1e9)
    return plan(Work(config, probes, tuple(positions)), size)


def describe_plan(config: Mapping, probes: Mapping[str, str], positions: Sequence[int]) -> str:
    """The plan as text; see :func:`make_plan`."""
    return make_plan(config, probes, positions).text


def write_plan(config: Mapping, probes: Mapping[str, str], positions: Sequence[int], path: str | Path) -> None:
    """Write the plan; see :func:`make_plan`."""
    write_text(path, describe_plan(config, probes, positions))


def device_memory(device: str) -> int:
    """Bytes of memory that a torch device has.

    Raises:
        ConfigError: This machine does not have the device.
    """
    if device == "cpu" or device == "mps":  # which shares the machine's memory
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    import torch  # a slow import, needed only for accelerators

    if not torch.cuda.is_available():
        raise ConfigError(
            f"device is {device}, but this machine has no CUDA device to ask for its memory; set device_memory (in GB)"
        )
    return torch.cuda.get_device_properties(device).total_memory
