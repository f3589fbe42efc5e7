"""A journal of a stream: which lesson moved which slots, and how far.

A *lesson* is a batch of facts learned together, with all its steps; usually it is one fact. A slot's movements, over
all lessons that wrote it, add up to its change over the stream, up to rounding.

Shapes: S slot, R row (a slot that the stream wrote), V value, W entry of a list of writers, M kept movement.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from smf.errors import CheckpointError
from smf.memory.layer import MemoryLayer

KEPT_SHARE = 0.999
"""Share of a lesson's squared movement that is kept; most slots that a lesson reads hardly move."""
Lesson = tuple[int, ...]
"""The facts of a lesson, by their places in the stream."""
_KEPT_TYPE = torch.bfloat16


class Journal:
    """Records how the value tables move while a stream is learned.

    Args:
        layers: The memory layers, by block.
    """

    def __init__(self, layers: Mapping[int, MemoryLayer]):
        self._layers = {block: _LayerJournal(layer) for block, layer in layers.items()}
        self._numbers: dict[Lesson, int] = {}

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """The lessons by number, in order of first appearance."""
        return tuple(self._numbers)

    def before_step(self, block: int, slots_R: Tensor) -> None:
        """Record slots that the next step may change."""
        self._layers[block].before_step(slots_R)

    def end_lesson(self, lesson: Lesson) -> None:
        """Attribute all steps since the last call to this lesson; a lesson that is repeated keeps its number."""
        number = self._numbers.setdefault(lesson, len(self._numbers))
        moved = {block: layer.movements() for block, layer in self._layers.items()}
        squares = {block: movements_RV.square().sum(1) for block, (_, movements_RV) in moved.items()}
        lowest = _lowest_kept(torch.cat(list(squares.values())))
        for block, (slots_R, movements_RV) in moved.items():
            self._layers[block].keep(number, slots_R, movements_RV, squares[block] >= lowest)

    def forget(self) -> None:
        """Start over from the current tables."""
        self._numbers.clear()
        for layer in self._layers.values():
            layer.forget()

    def history(self) -> dict[str, Tensor]:
        """What a patch holds besides the final values (:mod:`smf.patches.patch`), on the CPU.

        For each block: ``slots`` (R), the slots that any lesson moved, ascending; ``before`` (R, V), their original
        values; ``writers`` (W), the lessons that moved each row, concatenated row by row, and ``writer_starts``
        (R + 1), the offset of each row's first writer; and, for rows that several lessons moved, the kept ``movements``
        (M, V) with their rows ``moved_rows`` (M) and lessons ``moved_by`` (M).
        """
        return {f"{block}.{name}": part for block, layer in self._layers.items() for name, part in layer.history()}

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the state that a later process needs to continue with another lesson."""
        sizes = torch.tensor([len(lesson) for lesson in self._numbers], dtype=torch.long)
        places = torch.tensor([place for lesson in self._numbers for place in lesson], dtype=torch.long)
        state = {"journal.lesson_sizes": sizes, "journal.places": places}
        for block, layer in self._layers.items():
            state |= {f"journal.{block}.{name}": tensor for name, tensor in layer.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a :meth:`state_dict`.

        Raises:
            CheckpointError: The state is from another kind of method, or from a model with other layers.
        """
        expected = self.state_dict()
        if missing := sorted(expected.keys() - state.keys()):
            raise CheckpointError(f"the state holds no {missing[0]}; learn the stream again")
        places = state["journal.places"].split(state["journal.lesson_sizes"].tolist())
        self._numbers = {tuple(lesson.tolist()): number for number, lesson in enumerate(places)}
        for block, layer in self._layers.items():
            prefix = f"journal.{block}."
            layer.load_state_dict({name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)})


class _LayerJournal:
    def __init__(self, layer: MemoryLayer):
        self._table_SV = layer.values_SV
        self.forget()

    def forget(self) -> None:
        width, kind = self._table_SV.shape[1], self._table_SV.dtype
        self._steps: list[tuple[Tensor, Tensor]] = []
        self._state = {
            "slots": torch.empty(0, dtype=torch.long),
            "before": torch.empty(0, width, dtype=kind),
            "written_slots": torch.empty(0, dtype=torch.long),
            "written_by": torch.empty(0, dtype=torch.long),
            "moved_slots": torch.empty(0, dtype=torch.long),
            "moved_by": torch.empty(0, dtype=torch.long),
            "movements": torch.empty(0, width, dtype=_KEPT_TYPE),
        }
        self._waiting: dict[str, list[Tensor]] = {name: [] for name in self._state}

    def before_step(self, slots_R: Tensor) -> None:
        # Compare nothing here: on an accelerator the host would have to wait in every step.
        self._steps.append((slots_R, self._table_SV.detach()[slots_R]))

    def movements(self) -> tuple[Tensor, Tensor]:
        """The slots in which the lesson changed any bit, ascending, and their movements; records new slots' old values.

        A selected slot may get no gradient, for example in the last block if no token with a loss reads it.
        """
        if not self._steps:
            return torch.empty(0, dtype=torch.long), torch.empty(0, self._table_SV.shape[1])
        noted_N = torch.cat([slots_R for slots_R, _ in self._steps])
        values_NV = torch.cat([values_RV for _, values_RV in self._steps])
        self._steps = []
        slots_R, rows_N = noted_N.unique(return_inverse=True)
        first_R = _first_places(rows_N, len(slots_R))
        before_RV, after_RV = values_NV[first_R], self._table_SV.detach()[slots_R]
        changed_R = (before_RV.view(torch.uint8) != after_RV.view(torch.uint8)).any(1)  # in bits: 0.0 equals -0.0
        slots_R, before_RV, after_RV = (part[changed_R].cpu() for part in (slots_R, before_RV, after_RV))
        new_R = ~torch.isin(slots_R, self._tensor("slots"))
        self._waiting["slots"].append(slots_R[new_R])
        self._waiting["before"].append(before_RV[new_R])
        return slots_R, after_RV.float() - before_RV.float()

    def keep(self, lesson: int, slots_R: Tensor, movements_RV: Tensor, kept_R: Tensor) -> None:
        self._waiting["written_slots"].append(slots_R)
        self._waiting["written_by"].append(torch.full_like(slots_R, lesson))
        self._waiting["moved_slots"].append(slots_R[kept_R])
        self._waiting["moved_by"].append(torch.full_like(slots_R[kept_R], lesson))
        self._waiting["movements"].append(movements_RV[kept_R].to(_KEPT_TYPE))

    def history(self) -> Iterator[tuple[str, Tensor]]:
        slots_R, order_R = self._tensor("slots").sort()
        yield "slots", slots_R
        yield "before", self._tensor("before")[order_R]
        pairs_W2 = torch.stack([self._tensor("written_slots"), self._tensor("written_by")], 1).unique(dim=0)
        rows_W = torch.searchsorted(slots_R, pairs_W2[:, 0].contiguous())
        number_R = torch.bincount(rows_W, minlength=len(slots_R))
        yield "writer_starts", torch.cat([number_R.new_zeros(1), number_R.cumsum(0)]).int()
        yield "writers", pairs_W2[:, 1].int()
        rows_M = torch.searchsorted(slots_R, self._tensor("moved_slots"))
        shared_M = (number_R[rows_M] > 1).nonzero().squeeze(1)
        keys_M2 = torch.stack([rows_M, self._tensor("moved_by")], 1)[shared_M]
        keys_M2, places = keys_M2.unique(dim=0, return_inverse=True)
        sums_MV = torch.zeros(len(keys_M2), self._table_SV.shape[1])
        sums_MV.index_add_(0, places, self._tensor("movements")[shared_M].float())
        yield "moved_rows", keys_M2[:, 0].int()
        yield "moved_by", keys_M2[:, 1].int()
        yield "movements", sums_MV.to(_KEPT_TYPE)

    def state_dict(self) -> dict[str, Tensor]:
        return {name: self._tensor(name).clone() for name in self._state}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.forget()
        self._state = {name: state[name].clone() for name in self._state}

    def _tensor(self, name: str) -> Tensor:
        """Everything recorded under a name; concatenated on demand, so that the cost of long streams stays linear."""
        if waiting := self._waiting[name]:
            self._state[name] = torch.cat([self._state[name], *waiting])
            waiting.clear()
        return self._state[name]


def _first_places(groups_N: Tensor, number: int) -> Tensor:
    """The position of each group's first member."""
    places_N = torch.arange(len(groups_N), device=groups_N.device)
    return torch.full((number,), len(groups_N), device=groups_N.device).scatter_reduce(0, groups_N, places_N, "amin")


def _lowest_kept(squares_R: Tensor) -> Tensor:
    """The threshold that keeps the largest squares which together hold :data:`KEPT_SHARE` of the sum."""
    falling_R = squares_R.double().sort(descending=True).values
    if not len(falling_R):
        return torch.tensor(0.0)
    held_R = falling_R.cumsum(0)
    number = int((held_R < KEPT_SHARE * held_R[-1]).sum())
    return falling_R[min(number, len(falling_R) - 1)].to(squares_R.dtype)
