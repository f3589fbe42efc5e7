"""Learning a stream: one fact at a time, the same batches and the same number of steps for every method."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from smf.errors import ConfigError, TrainingError
from smf.evaluation.recall import recall
from smf.logs import progress
from smf.methods.method import Method
from smf.streams.batches import LossOn, fact_batch
from smf.streams.examples import Example
from smf.streams.facts import Fact, question_prompt


@dataclass(frozen=True)
class StreamSettings:
    """How a stream is learned.

    Attributes:
        steps_per_fact: Optimizer steps on each fact's batch of training wordings.
        loss_on: ``text`` learns whole statements, ``answer`` the answers only.
        snapshots: Positions (numbers of facts learned) at which the delta is kept.
        max_length: Longest text, in tokens.
        micro_batch_size: Wordings in one forward pass, see :class:`smf.methods.method.Method`.
    """

    steps_per_fact: int
    loss_on: LossOn
    snapshots: tuple[int, ...]
    max_length: int
    micro_batch_size: int | None = None


def learn_stream(
    method: Method,
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[Fact],
    settings: StreamSettings,
    keep: Callable[[int, dict[str, Tensor]], None],
) -> list[dict]:
    """Teach facts one after the other.

    Args:
        method: How to learn.
        tokenizer: The model's tokenizer.
        facts: The stream.
        settings: Steps and snapshots.
        keep: Called with (position, delta) at each snapshot.

    Returns:
        One row a fact: ``position``, ``fact_id``, ``losses`` (before each step, nats a token), ``slots`` (trained in
        each step, by block), ``acquired`` (whether the unseen question is answered right after the fact's own steps)
        and ``seconds``.

    Raises:
        ConfigError: A snapshot lies beyond the stream's end.
        TrainingError: A loss or a weight is not finite; names the step and the fact.
    """
    if max(settings.snapshots) > len(facts):
        raise ConfigError(
            f"stream.snapshots names position {max(settings.snapshots)}, the stream has {len(facts)} facts"
        )
    model = method.model
    method.micro_batch_size = settings.micro_batch_size
    model.eval()  # no dropout; all methods see the same numbers
    rows = []
    for position, fact in enumerate(progress(facts, "facts"), start=1):
        started = time.perf_counter()
        batch = fact_batch(tokenizer, fact, loss_on=settings.loss_on, max_length=settings.max_length).to(model.device)
        reports = [method.step(batch) for _ in range(settings.steps_per_fact)]
        seconds = time.perf_counter() - started
        losses = torch.stack([report.loss for report in reports]).tolist()
        for step, loss in enumerate(losses, start=1):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} at step {step} of fact {position} ({fact.fact_id!r}); lower the method's "
                    f"learning_rate ({method.settings['learning_rate']})"
                )
        question = Example(question_prompt(fact.question), f" {fact.answers[0]}")
        rows.append(
            {
                "position": position,
                "fact_id": fact.fact_id,
                "losses": losses,
                "slots": [
                    {str(block): int(number) for block, number in report.num_slots.items()} for report in reports
                ],
                "acquired": recall(model, tokenizer, [question], settings.max_length)[0],
                "seconds": seconds,
            }
        )
        if position in settings.snapshots:
            delta = method.delta()
            # A loss is measured before its step: only the weights show what the last step did.
            if not all(bool(tensor.isfinite().all()) for tensor in delta.values()):
                raise TrainingError(
                    f"weights are not finite after step {settings.steps_per_fact} of fact {position} "
                    f"({fact.fact_id!r}); lower the method's learning_rate ({method.settings['learning_rate']})"
                )
            keep(position, delta)
    return rows
