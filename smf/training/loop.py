"""The training loop over corpus batches, for pretraining of the base model and healing of the memory."""

import itertools
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from smf.errors import TrainingError
from smf.files.resume import NO_RESUME, Resume, optimizer_state, random_state, set_optimizer_state, set_random_state
from smf.logs import progress
from smf.methods.loss import language_model_loss
from smf.streams.batches import Batch, LossOn

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSettings:
    """How to train on a corpus.

    Attributes:
        num_steps: Optimizer steps.
        batch_size: Sequences per step.
        learning_rate: Peak rate of AdamW; rises linearly over the first 5 % of the steps, falls linearly to zero over
            the last ``decay_share`` of them.
        weight_decay: AdamW's, on matrices only.
        decay_share: Share of the steps over which the rate falls.
        max_gradient_norm: Gradients are clipped to this norm.
        loss_on: ``text`` trains on every token, ``answer`` only on those after the prompt.
        seed: Seed of the new weights and of the order of the text.
        micro_batch_size: Sequences in one forward pass; None for a whole batch. The gradients of the parts add up,
            weighted by their shares of the labels: for the language-model loss the sum is the batch's own gradient.
    """

    num_steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    decay_share: float = 0.4
    max_gradient_norm: float = 1.0
    loss_on: LossOn = "text"
    seed: int = 1
    micro_batch_size: int | None = None


def train(
    model: PreTrainedModel,
    parameters: Sequence[nn.Parameter],
    batches: Iterable[Batch],
    settings: TrainingSettings,
    description: str,
    loss_of: Callable[[PreTrainedModel, Batch], Tensor] = language_model_loss,
    resume: Resume = NO_RESUME,
) -> float:
    """Train ``parameters`` on batches with AdamW (betas 0.9 and 0.98).

    Args:
        model: The model; put into evaluation mode afterwards.
        parameters: The parameters to train. All others should not require gradient.
        batches: ``settings.num_steps`` of them.
        settings: Rates and sizes.
        description: Names the work in the progress bar and in errors.
        loss_of: The loss to minimize.
        resume: Keeps the state, under the work's name; a process that was killed continues from it.

    Returns:
        The mean loss of the last tenth of the steps; in nats per token, if it is the language model's.

    Raises:
        TrainingError: The loss is not finite; the message names the step.
    """
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        fused=True,  # ten times faster on a CPU than the default, for value tables with millions of entries
    )
    losses: list[float] = []
    if found := resume.load(description):
        losses = found[1]["losses"]
        _go_on(found[0], model, parameters, optimizer)
    model.train()
    left = itertools.islice(batches, len(losses), None)
    bar = progress(left, description, total=settings.num_steps, initial=len(losses))
    for step, batch in enumerate(bar, start=len(losses) + 1):
        losses.append(_backward(model, batch.to(model.device), settings.micro_batch_size, loss_of))
        if not math.isfinite(losses[-1]):
            raise TrainingError(
                f"{description}: the loss is {losses[-1]} at step {step} of {settings.num_steps}; lower the learning "
                f"rate ({settings.learning_rate})"
            )
        nn.utils.clip_grad_norm_(parameters, settings.max_gradient_norm)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _rate(step - 1, settings)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            bar.set_postfix_str(f"loss {sum(losses[-50:]) / 50:.3f}", refresh=False)
        if resume.due() or step == settings.num_steps:
            resume.save(description, _state(model, parameters, optimizer), {"losses": losses})
    model.eval()
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)


def _state(
    model: PreTrainedModel, parameters: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    weights = {f"weights.{place}": parameter.detach() for place, parameter in enumerate(parameters)}
    return {**weights, **optimizer_state(optimizer), **random_state(model.device)}


def _go_on(
    state: Mapping[str, Tensor],
    model: PreTrainedModel,
    parameters: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> None:
    for place, parameter in enumerate(parameters):
        parameter.data.copy_(state[f"weights.{place}"])
    set_optimizer_state(optimizer, state)
    set_random_state(state, model.device)


def _backward(
    model: PreTrainedModel,
    batch: Batch,
    micro_batch_size: int | None,
    loss_of: Callable[[PreTrainedModel, Batch], Tensor],
) -> float:
    """Add the gradients of one batch; returns its loss."""
    total = 0.0
    for part in [batch] if micro_batch_size is None else batch.split(micro_batch_size):
        if not part.num_labels:
            continue  # the mean over no labels is not a number
        loss = loss_of(model, part) * (part.num_labels / batch.num_labels)
        loss.backward()
        total += loss.item()
    return total


def _rate(step: int, settings: TrainingSettings) -> float:
    """The share of the peak rate at a step, counted from 0."""
    rise = (step + 1) / max(1, round(0.05 * settings.num_steps))
    fall = (settings.num_steps - step) / max(1, round(settings.decay_share * settings.num_steps))
    return min(1.0, rise, fall)
