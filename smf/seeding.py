"""Every random draw comes from an explicit seed, split by purpose so that draws never share a sequence."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose, independent of the seeds for all other purposes.

    Args:
        seed: The seed that the configuration names.
        purpose: What the numbers are for, e.g. ``"stream"`` or ``("pretraining", "init")``.

    Returns:
        An integer in [0, 2**63); the same arguments give the same integer on every machine.
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def python_generator(seed: int, *purpose: str | int) -> random.Random:
    """A ``random.Random`` for one purpose."""
    return random.Random(derive_seed(seed, *purpose))


def torch_generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A ``torch.Generator`` for one purpose. The same seed gives different numbers on different kinds of device."""
    import torch  # a slow import, which drawing a stream does not need

    return torch.Generator(device).manual_seed(derive_seed(seed, *purpose))
