"""Forgetting: remove one lesson's part from a patch.

A row that only this lesson wrote gets the base's value back, bit for bit. A row that others wrote too is moved back by
the lesson's own movement, so that theirs remain; if that movement was too small to be kept, the row does not change.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smf.errors import DataError
from smf.patches.patch import LayerPatch, MemoryPatch


@dataclass(frozen=True)
class Forgotten:
    """The report of :func:`forget`.

    Attributes:
        num_restored: Rows restored to the base's value.
        num_moved_back: Rows that others wrote too, moved back by the forgotten movements.
        num_left: Rows that others wrote too, and that the forgotten facts hardly moved: left unchanged.
        shared_with: Number of rows that each other fact shares with the forgotten ones, by fact_id, most first.
    """

    num_restored: int
    num_moved_back: int
    num_left: int
    shared_with: dict[str, int]


def forget(patch: MemoryPatch, fact_ids: Sequence[str]) -> tuple[MemoryPatch, Forgotten]:
    """Remove some facts from a patch.

    Args:
        patch: The patch; it is not changed.
        fact_ids: The facts to forget. Facts learned in one batch can only be forgotten together, because their
            movements were recorded as one.

    Raises:
        DataError: The patch does not hold a fact, or a fact from the same batch is not named too.

    Returns:
        The smaller patch, and how many rows were restored, moved back and left.

    Example:
        >>> smaller, report = forget(patch, ["joel-quint"])
        >>> len(patch.facts), len(smaller.facts)
        (3, 2)
    """
    gone_facts = {place for fact_id in fact_ids for place in patch.places(fact_id)}
    gone_lessons = [number for number, lesson in enumerate(patch.lessons) if gone_facts & set(lesson)]
    together = {place for number in gone_lessons for place in patch.lessons[number]} - gone_facts
    if together:
        names = ", ".join(repr(patch.facts[place]["fact_id"]) for place in sorted(together))
        raise DataError(f"{', '.join(map(repr, fact_ids))} was learned in one batch with {names}; forget these too")
    kept_facts = [place for place in range(len(patch.facts)) if place not in gone_facts]
    kept_lessons = [number for number in range(len(patch.lessons)) if number not in gone_lessons]
    counts: Counter[str] = Counter()
    shared: Counter[int] = Counter()
    layers = {}
    for block, layer in patch.layers.items():
        layers[block] = _without(layer, gone_lessons, kept_lessons, len(patch.lessons), counts)
        shared.update(_companions(layer, gone_lessons))
    new_places = {place: number for number, place in enumerate(kept_facts)}
    left = replace(
        patch,
        layers=layers,
        facts=tuple(patch.facts[place] for place in kept_facts),
        lessons=tuple(tuple(new_places[place] for place in patch.lessons[number]) for number in kept_lessons),
    )
    by_fact: Counter[str] = Counter()
    for lesson, rows in shared.items():
        for place in patch.lessons[lesson]:
            by_fact[patch.facts[place]["fact_id"]] += rows
    report = Forgotten(counts["restored"], counts["moved back"], counts["left"], dict(by_fact.most_common()))
    return left, report


def _without(
    layer: LayerPatch, gone: Sequence[int], kept: Sequence[int], num_lessons: int, counts: Counter
) -> LayerPatch:
    number_of_lesson = torch.full((num_lessons,), -1, dtype=torch.int32)
    number_of_lesson[torch.tensor(kept, dtype=torch.long)] = torch.arange(len(kept), dtype=torch.int32)
    rows_W, num_rows = layer.writer_rows_W, len(layer.slots_R)
    stays_W = number_of_lesson[layer.writers_W.long()] >= 0
    num_left_R = torch.bincount(rows_W[stays_W], minlength=num_rows)
    touched_R = num_left_R < layer.num_writers_R
    row_stays_R = num_left_R > 0
    goes_M = torch.isin(layer.moved_by_M, torch.tensor(gone, dtype=layer.moved_by_M.dtype))
    rows_M = layer.moved_rows_M.long()
    after_RV = layer.after_RV.float().index_add(0, rows_M[goes_M], -layer.movements_MV[goes_M].float())
    moved_R = torch.zeros(num_rows, dtype=torch.bool).index_fill_(0, rows_M[goes_M], True)
    # A row that was not moved back keeps its bits. A round trip through float32 would keep them too, but less
    # obviously.
    after_RV = torch.where(moved_R.unsqueeze(1), after_RV.to(layer.after_RV.dtype), layer.after_RV)
    counts["restored"] += int((~row_stays_R).sum())
    counts["moved back"] += int((row_stays_R & moved_R).sum())
    counts["left"] += int((row_stays_R & touched_R & ~moved_R).sum())
    # A row with one writer left no longer needs that writer's movement: forgetting it will restore the row.
    stays_M = ~goes_M & row_stays_R[rows_M] & (num_left_R[rows_M] > 1)
    new_row_R = row_stays_R.cumsum(0) - 1
    stays_W &= row_stays_R[rows_W]
    return LayerPatch(
        slots_R=layer.slots_R[row_stays_R],
        before_RV=layer.before_RV[row_stays_R],
        after_RV=after_RV[row_stays_R],
        writer_starts_R1=_starts(num_left_R[row_stays_R]),
        writers_W=number_of_lesson[layer.writers_W.long()][stays_W],
        moved_rows_M=new_row_R[rows_M[stays_M]].int(),
        moved_by_M=number_of_lesson[layer.moved_by_M.long()][stays_M],
        movements_MV=layer.movements_MV[stays_M],
    )


def _starts(number_R: Tensor) -> Tensor:
    return torch.cat([number_R.new_zeros(1), number_R.cumsum(0)]).int()


def _companions(layer: LayerPatch, gone: Sequence[int]) -> Counter:
    """For each other lesson, the number of rows that it shares with the lessons in ``gone``."""
    going_W = torch.isin(layer.writers_W, torch.tensor(gone, dtype=layer.writers_W.dtype))
    rows_W = layer.writer_rows_W
    theirs_W = torch.isin(rows_W, rows_W[going_W]) & ~going_W
    lessons, numbers = layer.writers_W[theirs_W].unique(return_counts=True)
    return Counter(dict(zip(lessons.tolist(), numbers.tolist(), strict=True)))
