"""Apply patches to a model in memory, and revert them."""

from collections.abc import Sequence

from transformers import PreTrainedModel

from smf.errors import CheckpointError
from smf.models.memory_model import require_memory
from smf.patches.patch import MemoryPatch
from smf.patches.stack import stack


def apply(model: PreTrainedModel, patches: Sequence[MemoryPatch], names: Sequence[object] | None = None) -> None:
    """Write patches into a model of their base, in place. The caller must make sure that the model is their base.

    Args:
        model: The model.
        patches: The patches.
        names: See :func:`~smf.patches.stack.stack`.

    Raises:
        CheckpointError: The patches do not fit the model's tables, or the model has no memory or does not hold their
            base's values.
        DataError: Two patches hold the same lesson.

    Example:
        >>> revert(model, [patch])
        >>> apply(model, [patch])
    """
    _write(model, stack(patches, names), "before_RV", "after_RV")


def revert(model: PreTrainedModel, patches: Sequence[MemoryPatch]) -> None:
    """Undo :func:`apply`, bit for bit.

    Raises:
        CheckpointError: The patches do not fit the model's tables, or the model has no memory or does not hold the
            patches.

    Example:
        >>> before = {block: layer.values_SV.clone() for block, layer in model.memory_layers().items()}
        >>> revert(model, [patch])
        >>> apply(model, [patch])
        >>> all((layer.values_SV == before[block]).all() for block, layer in model.memory_layers().items())
        True
    """
    _write(model, stack(patches), "after_RV", "before_RV")


def _write(model: PreTrainedModel, patch: MemoryPatch, found: str, wanted: str) -> None:
    tables = {block: layer.values_SV.data for block, layer in require_memory(model).memory_layers().items()}
    for block, layer in patch.layers.items():
        table_SV = tables.get(block)
        if table_SV is None or table_SV.shape[1] != layer.after_RV.shape[1] or table_SV.dtype != layer.after_RV.dtype:
            raise CheckpointError(f"the model has no memory in block {block} that the patch's rows fit")
        if len(layer.slots_R) and int(layer.slots_R[-1]) >= len(table_SV):
            raise CheckpointError(f"the patch writes slots beyond the {len(table_SV):,} of block {block}")
        if not (table_SV[layer.slots_R.to(table_SV.device)].cpu() == getattr(layer, found)).all():
            raise CheckpointError(f"block {block} does not hold what the patch expects there; load the model again")
    for block, layer in patch.layers.items():
        tables[block][layer.slots_R.to(tables[block].device)] = getattr(layer, wanted).to(tables[block].device)
