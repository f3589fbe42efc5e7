"""The check that a table has the columns that its reader needs."""

from collections.abc import Iterable

import pandas as pd

from smf.errors import DataError


def require_columns(name: str, table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Check that a table that this project made has all of some columns.

    Args:
        name: What the table is called in the message, such as ``slot-use table``.
        table: The table.
        columns: The columns.

    Raises:
        DataError: A column is missing.
    """
    if missing := [column for column in columns if column not in table.columns]:
        raise DataError(f"the {name} has no column {', '.join(missing)}; make it again")
