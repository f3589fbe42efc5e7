"""A memory patch: what a stream wrote into the slots of a healed model, and which fact wrote which slots.

On disk it is one safetensors file (docs/patches.md). With a patch, a value table holds ``after`` where the patch has a
row, and the base's own values everywhere else.

Shapes: R row (a slot that the patch holds), V value, L lesson, W entry of a list of writers, M kept movement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smf.errors import CheckpointError, DataError, did_you_mean
from smf.files.tensors import read_tensors, write_tensors

_FILE_NAMES = {"slots_R": "slots", "before_RV": "before", "after_RV": "values", "writer_starts_R1": "writer_starts"}
_FILE_NAMES |= {"writers_W": "writers", "moved_rows_M": "moved_rows", "moved_by_M": "moved_by"}
_FILE_NAMES |= {"movements_MV": "movements"}
_FACT_TEXTS = ("fact_id", "subject", "question", "answer", "stream")
_REMEDY = "learn the stream again, or get a new copy of the patch"
KIND = "memory patch"


@dataclass(frozen=True)
class LayerPatch:
    """The rows of one memory layer.

    Attributes:
        slots_R: Their slots, ascending, each once.
        before_RV: Their values in the base, in the table's dtype.
        after_RV: Their values with the patch.
        writer_starts_R1: Where each row's writers begin in ``writers_W``; the last entry is W.
        writers_W: Lessons that moved each row, ascending within a row.
        moved_rows_M: Rows of the kept movements, ascending; within a row by ascending lesson.
        moved_by_M: Their lessons.
        movements_MV: How each of these lessons moved each of these rows, in bfloat16. Kept for rows with more than one
            writer; of each lesson only its largest movements, which hold 99.9 % of its squared movement.
    """

    slots_R: Tensor
    before_RV: Tensor
    after_RV: Tensor
    writer_starts_R1: Tensor
    writers_W: Tensor
    moved_rows_M: Tensor
    moved_by_M: Tensor
    movements_MV: Tensor

    @property
    def writer_rows_W(self) -> Tensor:
        """The row of each entry of ``writers_W``."""
        return torch.arange(len(self.slots_R)).repeat_interleave(self.num_writers_R)

    @property
    def num_writers_R(self) -> Tensor:
        """How many lessons wrote each row."""
        return self.writer_starts_R1.long().diff()

    def require_whole(self, num_lessons: int, where: str) -> None:
        """Check that the parts are consistent.

        Raises:
            CheckpointError: They are not; the message begins with ``where``.
        """
        dims = [getattr(self, part.name).ndim for part in fields(self)]
        if dims != [1, 2, 2, 1, 1, 1, 1, 2]:
            raise CheckpointError(f"{where} contradicts itself; {_REMEDY}")
        rows, width = len(self.slots_R), self.before_RV.shape[-1]
        starts = self.writer_starts_R1
        right = (
            self.before_RV.shape == self.after_RV.shape == (rows, width)
            and self.before_RV.dtype == self.after_RV.dtype
            and self.movements_MV.shape == (len(self.moved_rows_M), width)
            and self.moved_by_M.shape == self.moved_rows_M.shape
            and starts.shape == (rows + 1,)
            and int(starts[0]) == 0
            and int(starts[-1]) == len(self.writers_W)
            and bool((starts.diff() >= 0).all())
            and bool((self.slots_R.diff() > 0).all())
            and _within(self.slots_R, None)
            and _within(self.writers_W, num_lessons)
            and _within(self.moved_by_M, num_lessons)
            and _within(self.moved_rows_M, rows)
        )
        if not right:
            raise CheckpointError(f"{where} contradicts itself; {_REMEDY}")


@dataclass(frozen=True)
class MemoryPatch:
    """What one stream, or several on top of each other, learned.

    Attributes:
        base_hash: :func:`smf.models.checkpoint.model_hash` of the model that the stream started from.
        layers: The rows of each memory layer, by block.
        facts: The facts in the order in which they were taught; each has ``fact_id``, ``subject``, ``question``,
            ``answer`` and ``stream``, a name for the run that taught it.
        lessons: Facts (by their index in ``facts``) that were learned together, in one batch.
        provenance: Other metadata of the training, such as ``seed`` and ``method``; JSON values.

    Example:
        >>> sum(len(layer.slots_R) for layer in patch.layers.values()) == patch.num_rows
        True
    """

    base_hash: str
    layers: Mapping[int, LayerPatch]
    facts: tuple[Mapping, ...]
    lessons: tuple[tuple[int, ...], ...]
    provenance: Mapping[str, object] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """Slots that the patch holds, over all layers."""
        return sum(len(layer.slots_R) for layer in self.layers.values())

    def places(self, name: str) -> list[int]:
        """The indices of a fact in ``facts``; several if several streams taught it.

        Args:
            name: Its ``fact_id``, or ``stream:fact_id`` if streams use the same id for different facts.

        Raises:
            DataError: The patch does not hold the fact, or the name stands for different facts.
        """
        names = [fact_names(fact) for fact in self.facts]
        found = [place for place, known in enumerate(names) if name in known]
        if not found:
            known = [each for pair in names for each in pair]
            raise DataError(
                f"the patch holds no fact {name!r}; {did_you_mean(name, known)}`smf patch info PATCH --facts` "
                f"lists its {len(names)} facts"
            )
        if len({fact_content(self.facts[place]) for place in found}) > 1:
            ways = ", ".join(repr(names[place][1]) for place in found)
            raise DataError(f"{name!r} stands for several facts of this patch; name one of {ways}")
        return found

    def delta(self) -> dict[str, Tensor]:
        """The patched rows, as :meth:`smf.methods.method.Method.load_delta` takes them."""
        parts: dict[str, Tensor] = {}
        for block, layer in self.layers.items():
            parts |= {f"{block}.slots": layer.slots_R, f"{block}.values": layer.after_RV}
        return parts


def fact_content(fact: Mapping) -> tuple[str, ...]:
    """The content of a fact, independent of the stream that taught it."""
    return fact["fact_id"], fact["subject"], fact["question"], fact["answer"]


def fact_names(fact: Mapping) -> tuple[str, str]:
    """The two names of a fact in a patch: its id, and its stream and id."""
    return fact["fact_id"], f"{fact['stream']}:{fact['fact_id']}"


def patch_of(
    delta: Mapping[str, Tensor],
    history: Mapping[str, Tensor],
    base_hash: str,
    facts: Sequence[Mapping],
    lessons: Sequence[Sequence[int]],
    provenance: Mapping[str, object] | None = None,
) -> MemoryPatch:
    """Make a patch from a method's delta and its :meth:`~smf.memory.journal.Journal.history`.

    Args:
        delta: Slots and values of each block. Slots that are not in the journal still hold the base's values.
        history: The journal's history of each block.
        base_hash: See :class:`MemoryPatch`.
        facts: See :class:`MemoryPatch`.
        lessons: See :class:`MemoryPatch`.
        provenance: See :class:`MemoryPatch`.
    """
    parts = dict(history)
    for block in {name.split(".")[0] for name in history}:
        noted = delta[f"{block}.slots"]
        rows_R = torch.searchsorted(noted, history[f"{block}.slots"])
        parts[f"{block}.values"] = delta[f"{block}.values"][rows_R]
    return _assembled(parts, base_hash, facts, lessons, provenance or {}, "what was learned")


def write_patch(path: str | Path, patch: MemoryPatch) -> None:
    """Write a patch; equal patches give equal bytes.

    Example:
        >>> write_patch("facts.safetensors", patch)
        >>> read_patch("facts.safetensors").num_rows == patch.num_rows
        True
    """
    parts = {
        f"{block}.{_FILE_NAMES[part.name]}": getattr(layer, part.name)
        for block, layer in patch.layers.items()
        for part in fields(LayerPatch)
    }
    header = {
        **patch.provenance,
        "kind": KIND,
        "start_hash": patch.base_hash,
        "facts": [dict(fact) for fact in patch.facts],
        "lessons": [list(lesson) for lesson in patch.lessons],
    }
    write_tensors(path, parts, header)


def read_patch(path: str | Path) -> MemoryPatch:
    """Read a patch.

    Raises:
        CheckpointError: The file is missing, damaged, of another format version, or no patch.

    Example:
        >>> write_patch("facts.safetensors", patch)
        >>> [fact["answer"] for fact in read_patch("facts.safetensors").facts]
        ['Tarnow', 'Ostry', 'Melvik']
    """
    return patch_from(*read_tensors(path), str(path))


def patch_from(parts: Mapping[str, Tensor], metadata: Mapping[str, object], where: str) -> MemoryPatch:
    """Make a patch from the contents of a file.

    Args:
        parts: Its tensors.
        metadata: Its metadata.
        where: The file's name, for error messages.

    Raises:
        CheckpointError: The file is not a patch.
    """
    provenance: dict[str, Any] = dict(metadata)
    kind, base_hash, facts, lessons = (
        provenance.pop(name, None) for name in ("kind", "start_hash", "facts", "lessons")
    )
    if kind != KIND:
        raise CheckpointError(
            f"{where} is not a memory patch; runs of sparse methods leave them in runs/<method>/seed-<seed>/learn/"
        )
    if not (isinstance(base_hash, str) and _are_facts(facts) and _are_lessons(lessons)):
        raise CheckpointError(f"{where} does not say what it was learned from; {_REMEDY}")
    return _assembled(parts, base_hash, facts, lessons, provenance, where)


def require_base(patch: MemoryPatch, base_hash: str, patch_name: object, base_name: object) -> None:
    """Refuse to combine a patch with a model that it was not learned from.

    Raises:
        CheckpointError: The hashes differ.
    """
    if patch.base_hash != base_hash:
        raise CheckpointError(
            f"{patch_name} was learned from another model than {base_name} (its base is {patch.base_hash[:12]}, this "
            f"is {base_hash[:12]}); use the model that it was learned from, or teach this one again"
        )


def _are_facts(facts: object) -> bool:
    return isinstance(facts, list) and all(
        isinstance(fact, dict) and all(isinstance(fact.get(name), str) for name in _FACT_TEXTS) for fact in facts
    )


def _are_lessons(lessons: object) -> bool:
    return isinstance(lessons, list) and all(
        isinstance(lesson, list) and all(type(place) is int for place in lesson) for lesson in lessons
    )


def _assembled(
    parts: Mapping[str, Tensor],
    base_hash: str,
    facts: Sequence[Mapping],
    lessons: Sequence[Sequence[int]],
    provenance: Mapping[str, object],
    where: str,
) -> MemoryPatch:
    blocks = sorted({int(block) for block in (name.split(".")[0] for name in parts) if block.isdecimal()})
    expected = {f"{block}.{name}" for block in blocks for name in _FILE_NAMES.values()}
    if parts.keys() != expected:
        raise CheckpointError(f"{where} holds {sorted(parts)}; a patch holds {sorted(expected)}; {_REMEDY}")
    layers = {
        block: LayerPatch(**{part: parts[f"{block}.{name}"] for part, name in _FILE_NAMES.items()}) for block in blocks
    }
    for layer in layers.values():
        layer.require_whole(len(lessons), where)
    if any(not 0 <= place < len(facts) for lesson in lessons for place in lesson):
        raise CheckpointError(f"{where} contradicts itself; {_REMEDY}")
    return MemoryPatch(base_hash, layers, tuple(facts), tuple(tuple(lesson) for lesson in lessons), provenance)


def _within(numbers: Tensor, end: int | None) -> bool:
    """Whether all numbers are at least 0 and below ``end``."""
    return not len(numbers) or (int(numbers.min()) >= 0 and (end is None or int(numbers.max()) < end))
