"""What a fact costs each method to learn: tokens, seconds, and bytes of what is kept of it."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

COSTS_COLUMNS = ("method", "seed", "num_facts", "tokens_per_fact", "seconds_per_fact", "bytes_per_fact")


class Cost(NamedTuple):
    """The cost of one run.

    Attributes:
        num_facts: Facts learned.
        tokens_per_fact: Tokens that learning read, without padding.
        seconds_per_fact: Wall-clock time of learning, without loading the model.
        bytes_per_fact: Size of the run's last delta, as a file, divided by the number of facts.
    """

    num_facts: int
    tokens_per_fact: float
    seconds_per_fact: float
    bytes_per_fact: float


def costs_table(costs: Mapping[tuple[str, int], Cost]) -> pd.DataFrame:
    """One row per method and seed, with the columns of ``COSTS_COLUMNS``."""
    rows = [(method, seed, *cost) for (method, seed), cost in costs.items()]
    return pd.DataFrame(rows, columns=list(COSTS_COLUMNS))
