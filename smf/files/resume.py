"""Resume state: what a job that was killed goes on from, so that a crash costs one interval and changes no bit.

State lies outside of a rule's outputs, which Snakemake deletes before it runs a job again. It belongs to one job made
of one set of inputs and settings, its key, after which its folder is named: what was kept under another key is never
found, and goes when this job keeps its own first state. All of it goes when another job reads what this one made
(:class:`smf.jobs.job.Job`): until Snakemake has noted that a job is done it can still be asked for again.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from smf.errors import CheckpointError
from smf.files.tensors import read_tensors, write_tensors

logger = logging.getLogger(__name__)

_LARGEST_SHARE = 0.02
"""Of its time, a job spends no more on keeping state: with states that take long to write the interval grows."""


class Resume:
    """The resume state of one job, in parts by name.

    Args:
        folder: Where the job's state lies, below it by key; None keeps nothing, and nothing is found.
        key: What the job is made of.
        interval: Seconds from one state to the next; 0 keeps every state that is offered.
        clock: Tells seconds.
    """

    def __init__(
        self, folder: Path | None, key: str = "", interval: float = 0.0, clock: Callable[[], float] = time.monotonic
    ):
        self._job, self._key, self._interval, self._clock = folder, key, interval, clock
        self._folder = None if folder is None else folder / hashlib.sha256(key.encode()).hexdigest()[:16]
        self._others_are_gone = False
        self._last = self._asked = clock()
        self._cost = 0.0  # seconds that the last state took to write
        self._gap = 0.0  # the longest time between two chances to keep one

    @property
    def active(self) -> bool:
        """Whether anything is kept."""
        return self._folder is not None

    def due(self) -> bool:
        """Whether it is time to keep a state."""
        if not self.active or not self._interval:
            return self.active
        now = self._clock()
        self._gap, self._asked = max(self._gap, now - self._asked), now
        # The next chance comes a gap later, and writing takes time too: then it would be too late.
        in_time = self._interval - self._gap - self._cost
        return now - self._last >= max(in_time, self._cost / _LARGEST_SHARE)

    def save(self, name: str, tensors: Mapping[str, Tensor], values: Mapping[str, object]) -> None:
        """Keep a state in place of the last one of this name.

        Args:
            name: Of the part.
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
        """The last state of this name, if this very job kept one."""
        if not self.active:
            return None
        if not self.path(name).is_file():
            for other in self._others():
                logger.info("%s was kept by a job of other inputs or settings; this one starts anew", other)
            return None
        try:
            tensors, metadata = read_tensors(self.path(name))
        except CheckpointError as error:
            logger.warning("%s; the job starts over", error)  # state is a saving of time, not a result
            return None
        if metadata.get("key") != self._key:
            logger.warning("%s is not this job's; the job starts over", self.path(name))
            return None
        logger.info("going on from %s", self.path(name))
        return tensors, json.loads(metadata["values"])

    def path(self, name: str, suffix: str = ".safetensors") -> Path:
        """Where a part lies; also for finished results that wait here until the job is done.

        Raises:
            ValueError: Nothing is kept.
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
"""Keeps nothing."""


class Tape:
    """Results of a long row of equal steps, each a JSON value: what was computed before is played, not computed.

    Args:
        resume: Keeps them.
        name: Of the part.
    """

    def __init__(self, resume: Resume = NO_RESUME, name: str = "tape"):
        self._resume, self._name = resume, name
        found = resume.load(name)
        self._values: list = found[1]["values"] if found else []
        self._place = 0

    def next(self, compute: Callable[[], object]) -> object:
        """The result of the next step."""
        if self._place == len(self._values):
            self._values.append(compute())
            if self._resume.due():
                self.keep()
        self._place += 1
        return self._values[self._place - 1]

    def keep(self) -> None:
        """Keep the results so far, whether it is time or not."""
        self._resume.save(self._name, {}, {"values": self._values})


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's random numbers."""
    state = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["random.cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Go on where :func:`random_state` was taken."""
    torch.set_rng_state(state["random.cpu"])
    if "random.cuda" in state:
        torch.cuda.set_rng_state(state["random.cuda"], device)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What a torch optimizer keeps of each parameter, by the parameter's place. References, not copies."""
    return {
        f"optimizer.{place}.{name}": torch.as_tensor(value)
        for place, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
        if value is not None
    }


def set_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Go on where :func:`optimizer_state` was taken, with an optimizer of the same parameters."""
    entries: dict[int, dict[str, Tensor]] = {}
    for full_name, value in state.items():
        if full_name.startswith("optimizer."):
            _, place, name = full_name.split(".", 2)
            entries.setdefault(int(place), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})
