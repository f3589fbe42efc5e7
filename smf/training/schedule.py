"""The learning rate over a stream: one schedule for every method, as a share of the method's own rate."""

import math
from dataclasses import dataclass
from typing import Literal

ScheduleShape = Literal["constant", "cosine"]


@dataclass(frozen=True)
class Schedule:
    """The share of the learning rate at each step.

    Attributes:
        num_steps: Optimizer steps of the whole stream.
        shape: ``constant``, or ``cosine``: half a cosine wave from 1 after the warm-up to 0 after the last step.
        warmup_steps: Over these first steps the share rises linearly; the last of them has the full rate.
    """

    num_steps: int
    shape: ScheduleShape = "constant"
    warmup_steps: int = 0

    def share(self, step: int) -> float:
        """The share at a step, counted from 0; exactly 1 where the rate is constant."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.shape == "constant":
            return 1.0
        progress = (step - self.warmup_steps) / (self.num_steps - self.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * progress))
