"""Resume state: where a killed job picks up, so that a crash costs one interval and changes no bit.

State lies outside the rule's outputs, because Snakemake deletes those before it reruns a job. Its folder is named after
the job's key: its inputs, settings, code and versions of libraries. State under another key is never loaded, and is
deleted when the job saves its first state under the new key. All state is deleted once another job reads this job's
outputs (:class:`smf.jobs.job.Job`): until Snakemake has recorded a job as done, it may still rerun it. That of a
trial, of which there are many, is deleted when its outputs are sealed.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from smf.errors import CheckpointError
from smf.files.tensors import read_tensors, write_tensors

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LARGEST_SHARE = 0.02
"""Largest share of its time that a job spends on saving state; if writing is slow, the interval grows."""


class Resume:
    """The resume state of one job, in parts by name.

    Args:
        folder: Where the job's state lies, in a subfolder per key; None saves and loads nothing.
        key: Everything that the job depends on, as text.
        interval: Seconds between saves; 0 saves at every opportunity.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, folder: Path | None, key: str = "", interval: float = 0.0, clock: Callable[[], float] = time.monotonic
    ):
        self._job, self._key, self._interval, self._clock = folder, key, interval, clock
        self._folder = None if folder is None else folder / hashlib.sha256(key.encode()).hexdigest()[:16]
        self._others_are_gone = False
        self._last = self._asked = clock()
        self._cost = 0.0  # seconds that the last save took
        self._gap = 0.0  # longest time between two opportunities to save

    @property
    def active(self) -> bool:
        """Whether state is saved at all."""
        return self._folder is not None

    def due(self) -> bool:
        """Whether it is time to save a state."""
        if not self.active or not self._interval:
            return self.active
        now = self._clock()
        self._gap, self._asked = max(self._gap, now - self._asked), now
        # The next opportunity comes one gap later, and writing takes time too: waiting for it would be too late.
        in_time = self._interval - self._gap - self._cost
        return now - self._last >= max(in_time, self._cost / _LARGEST_SHARE)

    def save(self, name: str, tensors: Mapping[str, Tensor], values: Mapping[str, object]) -> None:
        """Save a state in place of the last one of this name.

        Args:
            name: Name of the part.
            tensors: On any device.
            values: JSON values. Floats come back with the same bits, mappings in the same order.
        """
        if not self.active:
            return
        started = self._clock()
        self._drop_others()
        write_tensors(self.path(name), dict(tensors), {"key": self._key, "values": json.dumps(values)})
        self._last = self._asked = self._clock()
        self._cost = self._last - started

    def load(self, name: str) -> tuple[dict[str, Tensor], dict] | None:
        """Load the last state of this name; None unless this job saved one under the same key."""
        if not self.active:
            return None
        if not self.path(name).is_file():
            for other in self._others():
                logger.info(
                    "%s was kept by a job with other inputs, settings, code or versions of torch, transformers, peft "
                    "or lm-eval; this one starts from scratch",
                    other,
                )
            return None
        try:
            tensors, metadata = read_tensors(self.path(name))
        except CheckpointError as error:
            logger.warning("%s; the job starts over", error)  # state only saves time
            return None
        if metadata.get("key") != self._key:
            logger.warning("%s is not this job's; the job starts over", self.path(name))
            return None
        logger.info("resuming from %s", self.path(name))
        return tensors, json.loads(metadata["values"])

    def path(self, name: str, suffix: str = ".safetensors") -> Path:
        """Path of a part; finished results also wait here until the job is done.

        Raises:
            ValueError: No state is saved.
        """
        if self._folder is None:
            raise ValueError("this job keeps nothing")
        return self._folder / f"{name}{suffix}"

    def _others(self) -> list[Path]:
        """Folders of other keys."""
        if self._job is None or not self._job.is_dir():
            return []
        return [path for path in sorted(self._job.iterdir()) if path != self._folder]

    def _drop_others(self) -> None:
        if not self._others_are_gone:
            for other in self._others():
                shutil.rmtree(other) if other.is_dir() else other.unlink()
        self._others_are_gone = True


NO_RESUME = Resume(None)
"""Saves and loads nothing."""


class Tape:
    """Results of a long sequence of similar steps, each a JSON value: saved results are replayed, not recomputed.

    Args:
        resume: Saves them.
        name: Name of the part.
    """

    def __init__(self, resume: Resume = NO_RESUME, name: str = "tape"):
        self._resume, self._name = resume, name
        found = resume.load(name)
        self._values: list = found[1]["values"] if found else []
        self._place = 0

    def next(self, compute: Callable[[], T]) -> T:
        """The result of the next step; a replayed one has lists in place of tuples, because JSON has none."""
        if self._place == len(self._values):
            self._values.append(compute())
            if self._resume.due():
                self.keep()
        self._place += 1
        return self._values[self._place - 1]

    def keep(self) -> None:
        """Save the results so far, even if no save is due."""
        self._resume.save(self._name, {}, {"values": self._values})


def random_state(device: torch.device) -> dict[str, Tensor]:
    """State of torch's random number generators."""
    state = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["random.cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore what :func:`random_state` returned."""
    torch.set_rng_state(state["random.cpu"])
    if "random.cuda" in state:
        torch.cuda.set_rng_state(state["random.cuda"], device)


def optimizer_state(optimizer: torch.optim.Optimizer, name: str = "optimizer") -> dict[str, Tensor]:
    """A torch optimizer's state for each parameter, by ``name`` and the parameter's index. References, not copies."""
    return {
        f"{name}.{place}.{key}": torch.as_tensor(value)
        for place, entries in optimizer.state_dict()["state"].items()
        for key, value in entries.items()
        if value is not None
    }


def set_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor], name: str = "optimizer") -> None:
    """Restore what :func:`optimizer_state` returned, into an optimizer of the same parameters."""
    entries: dict[int, dict[str, Tensor]] = {}
    for full_name, value in state.items():
        if full_name.startswith(f"{name}."):
            place, key = full_name.removeprefix(f"{name}.").split(".", 1)
            entries.setdefault(int(place), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})
