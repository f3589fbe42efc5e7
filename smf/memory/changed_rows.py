"""The rows of tables that a stream has changed: saves their values, and restores what the tables held before."""

from collections.abc import Mapping

import torch
from torch import Tensor

from smf.errors import CheckpointError


class ChangedRows:
    """All rows that were ever selected, in all tables.

    Args:
        tables: The tables, by block, each (S, V); views are written through.
        rows: What a row is called, in the names of a delta's tensors and in messages.
        has: What messages say of the blocks that have a table.
    """

    def __init__(self, tables: Mapping[int, Tensor], rows: str, has: str):
        self._tables = tables
        self._rows, self._has = rows, has
        self._changed: dict[int, list[Tensor]] = {block: [] for block in tables}
        self._originals: dict[int, tuple[Tensor, Tensor]] = {}

    def add(self, block: int, rows_R: Tensor) -> None:
        """Record rows that the next step may change."""
        self._changed[block].append(rows_R)

    def of(self, block: int) -> Tensor:
        """Every row recorded so far, ascending."""
        none = torch.empty(0, dtype=torch.long, device=self._tables[block].device)
        rows = torch.cat([none, *self._changed[block]]).unique()
        self._changed[block] = [rows]  # so that a long stream's list stays short
        return rows

    def delta(self) -> dict[str, Tensor]:
        """Indices and current values of all changed rows, on the CPU."""
        tensors = {}
        for block, table_SV in self._tables.items():
            rows = self.of(block)
            tensors[f"{block}.{self._rows}"] = rows.cpu()
            tensors[f"{block}.values"] = table_SV.detach()[rows].cpu()
        return tensors

    def load(self, delta: Mapping[str, Tensor]) -> None:
        """Write a :meth:`delta` into the tables, after undoing the one loaded before it, if any.

        Raises:
            CheckpointError: The delta does not fit these tables.
        """
        expected = {f"{block}.{part}" for block in self._tables for part in (self._rows, "values")}
        if delta.keys() != expected:
            raise CheckpointError(
                f"the delta holds {sorted(delta)}, the model has {self._has} in blocks {sorted(self._tables)}; "
                "learn the stream again"
            )
        for block, table_SV in self._tables.items():
            rows, values = delta[f"{block}.{self._rows}"], delta[f"{block}.values"]
            if values.shape != (len(rows), table_SV.shape[1]) or (rows >= len(table_SV)).any():
                raise CheckpointError(
                    f"the delta's {self._rows} of block {block} do not fit a table of {tuple(table_SV.shape)}; "
                    "learn the stream again"
                )
        for block, table in self._tables.items():
            table_SV = table.data
            if block in self._originals:
                rows, values = self._originals[block]
                table_SV[rows] = values
            rows = delta[f"{block}.{self._rows}"].to(table_SV.device)
            self._originals[block] = (rows, table_SV[rows].clone())
            table_SV[rows] = delta[f"{block}.values"].to(table_SV)

    def resume(self, delta: Mapping[str, Tensor]) -> None:
        """Load a delta and continue from it: its rows count as changed."""
        self.load(delta)
        for block, table_SV in self._tables.items():
            self._changed[block] = [delta[f"{block}.{self._rows}"].to(table_SV.device)]
