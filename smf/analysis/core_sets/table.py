"""The table of core sets: how many slots all texts of a fact share, which of them train, and how few are enough."""

from collections.abc import Mapping, Sequence

import pandas as pd

from smf.errors import DataError
from smf.scores.columns import require_columns

CORE_SET_COLUMNS = (
    "seed",
    "fact_id",
    "texts",
    "core",
    "training_core",
    "training_reads",
    "question_reads",
    "question_shared",
    "wordings_asked",
    "wordings_top_t",
    "wordings_rate",
    "wordings_slots",
    "question_asked",
    "question_top_t",
    "question_rate",
    "question_slots",
)
"""One row per fact. Slots are counted over all memory layers, ``texts`` over all wordings and the question.

``core``: slots that all texts read; ``training_core``: slots that all training wordings read; ``training_reads`` and
``question_reads``: slots that any training wording, or the question, reads; ``question_shared``: share of the
question's slots that any training wording reads too.

If the fact is learned alone, ``wordings_top_t`` and ``question_top_t`` are the fewest trained slots per step and layer
with which all training wordings, or the question, were answered (0: the start model answered; empty: no number that was
tried is enough, or nothing was asked). Beside them stand the learning ``rate`` (empty: steps need none) and the number
of distinct ``slots`` trained.

Then ``core_block_<block>``, the core's slots in each memory layer, and for each method ``trained_<method>``, the slots
that its first step on the fact trains, and ``trained_core_<method>``, those of them in the core.
"""
ASKED = ("wordings", "question")


def core_sets_table(rows: Sequence[Mapping], blocks: Sequence[int], methods: Sequence[str]) -> pd.DataFrame:
    """Build the tidy table, one row per fact.

    Args:
        rows: For each fact, the values by column.
        blocks: The blocks with memory.
        methods: The methods whose choice of slots is shown.
    """
    columns = [*CORE_SET_COLUMNS, *(f"core_block_{block}" for block in blocks)]
    columns += [f"{column}_{method}" for method in methods for column in ("trained", "trained_core")]
    table = pd.DataFrame(list(rows), columns=columns)
    whole = [column for column in columns if column.endswith(("_top_t", "_slots")) or column == "question_reads"]
    return table.astype(dict.fromkeys(whole, "Int64"))  # whole numbers that may be missing


def require_core_sets(table: pd.DataFrame) -> None:
    """Check a table of core sets.

    Raises:
        DataError: A column is missing, or it holds no fact.
    """
    require_columns("table of core sets", table, CORE_SET_COLUMNS)
    if table.empty:
        raise DataError("the table of core sets is empty; make it again, with core_sets.num_facts of at least 1")


def trained_methods(table: pd.DataFrame) -> list[str]:
    """The methods whose choice of slots the table holds."""
    return [column.removeprefix("trained_core_") for column in table.columns if column.startswith("trained_core_")]


def core_trained(table: pd.DataFrame, method: str) -> pd.Series:
    """For each fact with a core, the share of the core that the method's first step trains."""
    with_core = table[table["core"] > 0]
    return with_core[f"trained_core_{method}"] / with_core["core"]


def trained_in_core(table: pd.DataFrame, method: str) -> pd.Series:
    """For each fact, the core's share of the slots that the method's first step trains."""
    return table[f"trained_core_{method}"] / table[f"trained_{method}"]


def answered_shares(table: pd.DataFrame, asked: str, numbers: Sequence[int]) -> list[float]:
    """For each number of trained slots, the share of asked facts that so many or fewer were enough to answer.

    Args:
        table: The table.
        asked: ``wordings`` or ``question``.
        numbers: Trained slots per step and layer.

    Returns:
        One share per number; empty if no fact is asked this way.
    """
    fewest = table.loc[table[f"{asked}_asked"].astype(bool), f"{asked}_top_t"]
    if fewest.empty:
        return []
    fewest = fewest.astype("Float64").fillna(float("inf"))
    return [float((fewest <= number).mean()) for number in numbers]
