"""Optimizer state of the rows that were ever selected, looked up by slot without an index of the table's size.

Shapes: R selected row, E row of state, M moment, V value_dim.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from smf.errors import CheckpointError
from smf.memory.bags import sizes_are_free

_NONE = torch.iinfo(torch.long).max  # slot of a state row that is still free; sorts after all real slots
_STEPS_WITHOUT_WAITING = 16
"""Steps for which an accelerator keeps rows free; after them the host must wait to learn how many are used."""


class RowState:
    """Moments and step counters. Grows by doubling, up to the table's size; a new row starts at zero.

    Args:
        num_moments: M.
        like_0V: An empty tensor with the type, device and row size of the moments.
        num_slots: Slots of the table.
    """

    def __init__(self, num_moments: int, like_0V: Tensor, num_slots: int):
        device = like_0V.device
        self._most_rows = num_slots + 1  # one is always free
        self.moments_MEV = like_0V.new_zeros(num_moments, 0, like_0V.shape[1])
        self.steps_E = torch.zeros(0, dtype=torch.long, device=device)
        # The slots in ascending order, and the row of state of each. State rows are assigned in order of selection.
        self._slots_E = torch.zeros(0, dtype=torch.long, device=device)
        self._row_of_E = torch.zeros(0, dtype=torch.long, device=device)
        self._used = torch.zeros((), dtype=torch.long, device=device)
        self._at_most_used = 0  # the host's upper bound on it, known without waiting for the device

    def rows(self, slots_R: Tensor) -> Tensor:
        """The state rows of these slots (ascending); creates those that do not exist yet."""
        self._make_room(len(slots_R))
        place_R = torch.searchsorted(self._slots_E, slots_R)
        repeated_R = torch.zeros_like(slots_R, dtype=torch.bool)
        repeated_R[1:] = slots_R[1:] == slots_R[:-1]
        found_R = self._slots_E[place_R] == slots_R
        new_R = ~found_R & ~repeated_R
        if sizes_are_free(slots_R.device) and not new_R.any():
            return self._row_of_E[place_R]
        number_R = new_R.cumsum(0)
        # A new slot takes the next free row; merging it into the ascending list shifts the slots after it.
        rows_R = torch.where(found_R, self._row_of_E[place_R], self._used + number_R - 1)
        slots = torch.cat([self._slots_E, torch.where(new_R, slots_R, _NONE)])
        slots, order = slots.sort(stable=True)
        capacity = len(self._slots_E)
        self._row_of_E = torch.cat([self._row_of_E, rows_R])[order[:capacity]]
        self._slots_E = slots[:capacity]
        self._used = self._used + new_R.sum()
        return rows_R

    @property
    def nbytes(self) -> int:
        """Size of the state in bytes, free rows included."""
        return sum(part.nbytes for part in (self.moments_MEV, self.steps_E, self._slots_E, self._row_of_E, self._used))

    def state_dict(self) -> dict[str, Tensor]:
        """``slots`` (E), ascending, and their ``steps`` (E) and ``moments`` (M, E, V)."""
        used = int(self._used)
        rows_E = self._row_of_E[:used]
        return {
            "slots": self._slots_E[:used].clone(),
            "steps": self.steps_E[rows_E],
            "moments": self.moments_MEV[:, rows_E],
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a :meth:`state_dict`.

        Raises:
            CheckpointError: Names or shapes do not match this state.
        """
        num_moments, _, value_dim = self.moments_MEV.shape
        used = len(state.get("slots", ()))
        shapes = {"slots": (used,), "steps": (used,), "moments": (num_moments, used, value_dim)}
        found = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if found != shapes:
            raise CheckpointError(
                f"the optimizer's state has shapes {found}, this optimizer needs {shapes}; learn the stream again"
            )
        device = self.moments_MEV.device
        self.moments_MEV = state["moments"].to(device, copy=True)
        self.steps_E = state["steps"].to(device, copy=True)
        self._slots_E = state["slots"].to(device, copy=True)
        self._row_of_E = torch.arange(used, device=device)
        self._used = torch.tensor(used, device=device)
        self._at_most_used = used

    def _make_room(self, number: int) -> None:
        """Make room for ``number`` more rows than may be in use now, plus one free row where searches may end.

        Once every slot has a row, no call can need a new one, however many rows it asks for.
        """
        capacity = len(self._slots_E)
        if self._at_most_used + number + 1 > capacity and capacity < self._most_rows:
            self._at_most_used = int(self._used)  # the host waits
            needed = self._at_most_used + number + 1
            if not sizes_are_free(self.steps_E.device):
                needed = self._at_most_used + _STEPS_WITHOUT_WAITING * number + 1
            if needed > capacity:
                self._grow(min(max(needed, 2 * capacity), self._most_rows) - capacity)
        self._at_most_used += number

    def _grow(self, extra: int) -> None:
        num_moments, _, value_dim = self.moments_MEV.shape
        self.moments_MEV = torch.cat([self.moments_MEV, self.moments_MEV.new_zeros(num_moments, extra, value_dim)], 1)
        self.steps_E = torch.cat([self.steps_E, self.steps_E.new_zeros(extra)])
        self._slots_E = torch.cat([self._slots_E, self._slots_E.new_full((extra,), _NONE)])
        self._row_of_E = torch.cat([self._row_of_E, self._row_of_E.new_zeros(extra)])
