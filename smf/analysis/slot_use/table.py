"""The table of slot use, from a healing report (:mod:`smf.training.slot_use` defines the measures)."""

from collections.abc import Mapping

import pandas as pd

from smf.errors import DataError
from smf.training.slot_use import SLOT_USE_COLUMNS


def slot_use_table(report: Mapping) -> pd.DataFrame:
    """The tidy table of a healing report.

    Raises:
        DataError: The report holds no slot use.
    """
    if not report.get("slot_use"):
        raise DataError("the healing report holds no slot_use; heal the model again")
    return pd.DataFrame(report["slot_use"], columns=list(SLOT_USE_COLUMNS))
