"""Healing: the new memory layers train on ordinary text, everything else is frozen."""

from collections.abc import Sequence
from dataclasses import asdict

import torch

from smf.memory import record_slot_reads
from smf.methods.method import language_model_loss
from smf.models.memory_model import MemoryForCausalLM
from smf.seeding import derive_seed
from smf.streams.batches import IGNORED, Batch, Encoded, batches
from smf.training.calibrate import calibrate_queries
from smf.training.loop import TrainingSettings, train

_BUSIEST_SHARE = 0.01


def heal(
    model: MemoryForCausalLM,
    encoded: Sequence[Encoded],
    settings: TrainingSettings,
    *,
    pad_token_id: int,
    calibrate: bool,
) -> dict:
    """Train the memory parameters in place.

    Args:
        model: A retrofitted model.
        encoded: The background text.
        settings: Steps, batch size, rates.
        pad_token_id: Fills batches.
        calibrate: Spread the reads over the table first (see :mod:`smf.training.calibrate`).

    Returns:
        A report: loss before and after in nats a token, and the use of the slots of each layer (``slot_use``).

    Raises:
        TrainingError: The loss is not finite.
    """
    probe = list(
        batches(
            encoded,
            batch_size=settings.batch_size,
            num_batches=20,
            pad_token_id=pad_token_id,
            seed=derive_seed(settings.seed, "healing probe"),
        )
    )
    before, _ = probe_memory(model, probe)
    if calibrate:
        calibrate_queries(model, probe)
    model.requires_grad_(False)
    parameters = [parameter for layer in model.memory_layers().values() for parameter in layer.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    stream = batches(
        encoded,
        batch_size=settings.batch_size,
        num_batches=settings.num_steps,
        pad_token_id=pad_token_id,
        seed=derive_seed(settings.seed, "healing"),
    )
    train(model, parameters, stream, settings, "healing")
    after, slot_use = probe_memory(model, probe)
    return {"loss_before": before, "loss_after": after, "slot_use": slot_use, "settings": asdict(settings)}


@torch.no_grad()
def probe_memory(model: MemoryForCausalLM, probe: Sequence[Batch]) -> tuple[float, dict[str, dict]]:
    """Loss and slot use on a few batches.

    Returns:
        The loss in nats a token, and for each memory layer: ``num_slots``, ``slots_used`` (read at least once),
        ``share_of_busiest_1_percent`` (share of all reads that go to the busiest 1 % of all slots) and
        ``reads`` (number of reads).
    """
    model.eval()
    layers = model.memory_layers()
    counts = {block: torch.zeros(layer.num_slots, dtype=torch.long) for block, layer in layers.items()}
    total, num_tokens = 0.0, 0
    with record_slot_reads(layers) as reads:
        for batch in (batch.to(model.device) for batch in probe):
            learned = int((batch.labels_BT[:, 1:] != IGNORED).sum())
            total += float(language_model_loss(model, batch)) * learned
            num_tokens += learned
            for block, read in reads.items():
                slots = read.slots_of_tokens(batch.attention_mask_BT).flatten()
                counts[block] += torch.bincount(slots, minlength=len(counts[block])).cpu()
    slot_use = {}
    for block, count in counts.items():
        busiest = count.sort(descending=True).values[: max(1, round(_BUSIEST_SHARE * len(count)))]
        slot_use[str(block)] = {
            "num_slots": len(count),
            "slots_used": int((count > 0).sum()),
            "share_of_busiest_1_percent": float(busiest.sum() / count.sum()),
            "reads": int(count.sum()),
        }
    return total / num_tokens, slot_use
