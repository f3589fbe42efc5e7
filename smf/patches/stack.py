"""Stack patches of one base, and find their conflicts.

A row that only one patch holds keeps that patch's value. A row that several hold is the base's value plus the sum of
their movements. Such rows are conflicts: each patch learned its value without the others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smf.errors import CheckpointError, DataError
from smf.patches.patch import LayerPatch, MemoryPatch, fact_content, require_base


@dataclass(frozen=True)
class Conflicts:
    """Where two patches write the same slots.

    Attributes:
        num_rows: Number of slots that both write, by block.
        cosine: Cosine between their movements, over all these slots: 1 if they agree, -1 if one undoes the other; 0 if
            there are no such slots.
        shares: The share of each patch's squared movement in these slots.
        facts: Pairs of facts, by fact_id, with the number of slots that both wrote; most first.
    """

    num_rows: dict[int, int]
    cosine: float
    shares: tuple[float, float]
    facts: list[tuple[str, str, int]]


def stack(patches: Sequence[MemoryPatch], names: Sequence[object] | None = None) -> MemoryPatch:
    """Combine several patches into one, the first at the bottom; the order matters only for rounding.

    Args:
        patches: The patches.
        names: Their names in error messages; None for their numbers.

    Raises:
        DataError: There is no patch, or two hold the same lesson: one patch twice, or a patch and a stack that contains
            it.
        CheckpointError: They have different bases or shapes, or disagree on the base's values.

    Example:
        >>> stack([patch]).num_rows == patch.num_rows
        True
    """
    if not patches:
        raise DataError("there is no patch to stack; name at least one")
    first, names = patches[0], names or [f"patch {number}" for number in range(1, len(patches) + 1)]
    for name, patch in zip(names, patches, strict=True):
        require_base(patch, first.base_hash, name, names[0])
        if patch.layers.keys() != first.layers.keys():
            raise CheckpointError(f"{name} has blocks {sorted(patch.layers)}, {names[0]} {sorted(first.layers)}")
    _require_distinct(patches, names)
    facts: list[Mapping] = []
    lessons: list[tuple[int, ...]] = []
    for patch in patches:
        lessons += [tuple(place + len(facts) for place in lesson) for lesson in patch.lessons]
        facts += patch.facts
    layers = {block: _stacked([patch.layers[block] for patch in patches], patches) for block in first.layers}
    return MemoryPatch(first.base_hash, layers, tuple(facts), tuple(lessons))


def _require_distinct(patches: Sequence[MemoryPatch], names: Sequence[object]) -> None:
    holders: dict[tuple, int] = {}
    for number, (patch, name) in enumerate(zip(patches, names, strict=True)):
        for fact in patch.facts:
            taught = (*fact_content(fact), fact["stream"], fact.get("position"))
            if holders.setdefault(taught, number) != number:
                raise DataError(
                    f"{names[holders[taught]]} and {name} both hold {fact['fact_id']!r}, as {fact['stream']!r} taught "
                    "it, which would count twice; leave one of them out"
                )


def conflicts(first: MemoryPatch, second: MemoryPatch) -> Conflicts:
    """Find where two patches write the same slots.

    Raises:
        CheckpointError: They have different bases.
    """
    require_base(second, first.base_hash, "the second patch", "the first")
    num_rows: dict[int, int] = {}
    dot, inside, total = 0.0, [0.0, 0.0], [0.0, 0.0]
    pairs: Counter[tuple[int, int]] = Counter()
    for block in first.layers.keys() & second.layers.keys():
        one, other = first.layers[block], second.layers[block]
        rows = [torch.isin(a.slots_R, b.slots_R) for a, b in ((one, other), (other, one))]
        moved = [layer.after_RV.double() - layer.before_RV.double() for layer in (one, other)]
        num_rows[block] = int(rows[0].sum())
        dot += float((moved[0][rows[0]] * moved[1][rows[1]]).sum())
        for side in (0, 1):
            inside[side] += float(moved[side][rows[side]].square().sum())
            total[side] += float(moved[side].square().sum())
        pairs.update(_pairs(one, other))
    by_fact: Counter[tuple[str, str]] = Counter()
    for (mine, yours), number in pairs.items():
        for place in first.lessons[mine]:
            for other_place in second.lessons[yours]:
                by_fact[first.facts[place]["fact_id"], second.facts[other_place]["fact_id"]] += number
    norms = (inside[0] * inside[1]) ** 0.5
    return Conflicts(
        dict(sorted(num_rows.items())),
        dot / norms if norms else 0.0,
        (_share(inside[0], total[0]), _share(inside[1], total[1])),
        [(*names, number) for names, number in by_fact.most_common()],
    )


def _stacked(layers: Sequence[LayerPatch], patches: Sequence[MemoryPatch]) -> LayerPatch:
    kinds = {(layer.before_RV.shape[1], layer.before_RV.dtype) for layer in layers}
    if len(kinds) > 1:
        raise CheckpointError(f"the patches have slots of different widths or types ({kinds}); get new copies")
    slots_R = torch.cat([layer.slots_R for layer in layers]).unique()
    rows = [torch.searchsorted(slots_R, layer.slots_R) for layer in layers]
    num_holders_R = torch.bincount(torch.cat(rows), minlength=len(slots_R))
    width, kind = layers[0].before_RV.shape[1], layers[0].before_RV.dtype
    before_RV, alone_RV = torch.empty(len(slots_R), width, dtype=kind), torch.empty(len(slots_R), width, dtype=kind)
    for layer, rows_P in zip(reversed(layers), reversed(rows), strict=True):
        before_RV[rows_P], alone_RV[rows_P] = layer.before_RV, layer.after_RV
    sum_RV = before_RV.to(torch.float32, copy=True)
    for number, (layer, rows_P) in enumerate(zip(layers, rows, strict=True), start=1):
        if not torch.equal(before_RV[rows_P], layer.before_RV):
            raise CheckpointError(f"patch {number} disagrees with the others on what the base holds; get a new copy")
        sum_RV.index_add_(0, rows_P, layer.after_RV.float() - layer.before_RV.float())
    after_RV = torch.where((num_holders_R > 1).unsqueeze(1), sum_RV.to(kind), alone_RV)
    offset, writers, moved = 0, [], []
    for layer, rows_P, patch in zip(layers, rows, patches, strict=True):
        writers.append(torch.stack([rows_P[layer.writer_rows_W], layer.writers_W.long() + offset], 1))
        moved += _movements(layer, rows_P, num_holders_R[rows_P] > 1, offset)
        offset += len(patch.lessons)
    pairs_W2 = torch.cat(writers).unique(dim=0)
    number_R = torch.bincount(pairs_W2[:, 0], minlength=len(slots_R))
    moved_rows_M, moved_by_M, movements_MV = (torch.cat(parts) for parts in zip(*moved, strict=True))
    order_M = (moved_rows_M * max(offset, 1) + moved_by_M).argsort()
    return LayerPatch(
        slots_R=slots_R,
        before_RV=before_RV,
        after_RV=after_RV,
        writer_starts_R1=torch.cat([number_R.new_zeros(1), number_R.cumsum(0)]).int(),
        writers_W=pairs_W2[:, 1].int(),
        moved_rows_M=moved_rows_M[order_M].int(),
        moved_by_M=moved_by_M[order_M].int(),
        movements_MV=movements_MV[order_M],
    )


def _movements(
    layer: LayerPatch, rows_P: Tensor, now_shared_P: Tensor, offset: int
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """A layer's kept movements, and those of its one-writer rows that it now shares with another patch."""
    kept = (rows_P[layer.moved_rows_M.long()], layer.moved_by_M.long() + offset, layer.movements_MV)
    alone_P = (now_shared_P & (layer.num_writers_R == 1)).nonzero().squeeze(1)
    writers_A = layer.writers_W[layer.writer_starts_R1[alone_P].long()].long() + offset
    movements_AV = layer.after_RV[alone_P].float() - layer.before_RV[alone_P].float()
    return [kept, (rows_P[alone_P], writers_A, movements_AV.to(layer.movements_MV.dtype))]


def _pairs(one: LayerPatch, other: LayerPatch) -> Counter:
    """For each pair of lessons, one from each layer patch, the number of rows that both wrote."""
    mine, yours = (_writers_by_slot(layer) for layer in (one, other))
    return Counter((a, b) for slot in mine.keys() & yours.keys() for a in mine[slot] for b in yours[slot])


def _writers_by_slot(layer: LayerPatch) -> dict[int, list[int]]:
    starts, writers = layer.writer_starts_R1.tolist(), layer.writers_W.tolist()
    return {slot: writers[starts[row] : starts[row + 1]] for row, slot in enumerate(layer.slots_R.tolist())}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
