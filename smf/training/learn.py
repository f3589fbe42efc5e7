"""Learning a stream: the same batches, the same limit of steps and the same schedule for every method."""

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BeforeValidator, InstanceOf
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from smf.errors import TrainingError
from smf.evaluation.recall import recall
from smf.files.resume import NO_RESUME, Resume
from smf.logs import progress
from smf.methods.method import Method
from smf.settings.check import Arguments
from smf.settings.section import Count, Natural, PositiveNumber, Whole, as_tuple
from smf.streams.asking import PLAIN, Asking, Retrieve
from smf.streams.batches import Batch, LossOn
from smf.streams.examples import Example
from smf.streams.fact_batches import facts_batch, require_fit
from smf.streams.facts import Fact
from smf.streams.passes import Passes
from smf.streams.replaced import require_taught_after
from smf.streams.write_places import WriteAt, log_write_places
from smf.training.schedule import Schedule, ScheduleShape


class StreamSettings(Arguments):
    """How a stream is learned; the defaults are those of ``smf teach``.

    Raises:
        ConfigError: A name is unknown, or a value is out of range.

    Example:
        >>> StreamSettings(steps_per_fact=10, stop_loss=0.1).loss_on
        'answer'
        >>> StreamSettings(steps_per_fcat=10)
        Traceback (most recent call last):
        smf.errors.ConfigError: StreamSettings: unknown key 'steps_per_fcat'; did you mean 'steps_per_fact'? known: ...
    """

    steps_per_fact: Count = 60
    """Optimizer steps on each batch of training wordings, in each epoch."""
    loss_on: LossOn = "answer"
    """``text`` trains on whole statements, ``answer`` on the answers only."""
    snapshots: Annotated[tuple[Count, ...], BeforeValidator(as_tuple)] = ()
    """Positions (numbers of facts learned) at which the delta is kept, see :class:`smf.streams.passes.Passes`;
    :func:`smf.training.stream.learn_stream` treats none as the stream's end alone."""
    max_length: Count = 128
    """Longest text, in tokens."""
    max_wording_length: Count | None = None
    """Longest training wording, in tokens; None for ``max_length``."""
    micro_batch_size: Count | None = None
    """Wordings in one forward pass, see :class:`smf.methods.method.Method`."""
    facts_per_step: Count = 1
    """Facts whose wordings form one batch."""
    epochs: Count = 1
    """Passes over the stream."""
    reshuffle: bool = True
    """Whether later epochs shuffle the facts, from ``seed``, instead of keeping the stream's order."""
    schedule: ScheduleShape = "constant"
    """Shape of the learning rate over all steps of the stream."""
    warmup_steps: Natural = 0
    """Steps in which the rate rises."""
    stop_loss: PositiveNumber | None = None
    """A batch whose loss was below this before a step, in nats per token, gets no further step in this epoch. None: all
    steps."""
    max_gradient_norm: PositiveNumber | None = None
    """See :class:`smf.methods.method.Method`."""
    seed: Whole = 0
    """The run's seed."""
    asking: InstanceOf[Asking] = PLAIN
    """How facts are asked while they are learned."""
    name: str = "stream"
    """What patches call the stream."""


def learn_with(
    method: Method,
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[Fact],
    settings: StreamSettings,
    keep: Callable[[int, dict[str, Tensor]], None],
    resume: Resume = NO_RESUME,
    is_kept: Callable[[int], bool] = lambda _: True,
    stopped: Callable[[], bool] = lambda: False,
) -> list[dict]:
    """Teach facts, ``facts_per_step`` at a time: the loop of :func:`smf.training.stream.learn_stream`.

    Args:
        method: A method at the beginning of its stream.
        tokenizer: The model's tokenizer.
        facts: The stream.
        settings: Steps and snapshots.
        keep: Called with (position, delta) at each snapshot.
        resume: Keeps the state between batches; snapshots kept before the saved state are not kept again.
        is_kept: Whether the snapshot kept earlier for a position is still there and complete; if one is not, the stream
            starts over.
        stopped: Called after each batch; once it returns true, the stream ends there, with a snapshot.

    Returns:
        One row per fact: ``position``, ``fact_id``, ``losses`` (of the fact's batch before each of its steps, over all
        epochs, in nats per token), ``slots`` (number trained in each step, by block), ``acquired`` (whether the model
        answers the unseen question right after the fact's own last step; None for a fact without a question),
        ``tokens`` (read by its steps, see :class:`smf.methods.method.StepReport`) and ``seconds``; the last two are the
        fact's share of its batches. A method that retrieves takes no steps.

    Raises:
        ConfigError: A snapshot's position is not valid for this stream, see :class:`Passes`, or a fact is not taught
            after the one that it replaces.
        DataError: A fact's text is too long, it replaces one that is not there, or the method cannot learn it; nothing
            has been learned yet.
        TrainingError: A loss or a weight is not finite; the message names the step and the fact.
    """
    passes = Passes(len(facts), settings.facts_per_step, settings.epochs, settings.steps_per_fact)
    ends = passes.group_before(settings.snapshots)
    groups = passes.groups(settings.seed if settings.reshuffle else None)
    require_taught_after(facts, groups)
    method.micro_batch_size = settings.micro_batch_size
    method.max_gradient_norm = settings.max_gradient_norm
    schedule = Schedule(passes.num_steps, settings.schedule, settings.warmup_steps)
    method.model.eval()  # no dropout except where a method asks for it, so that methods are comparable
    rows: list[dict] = [
        {
            "position": position,
            "fact_id": fact.fact_id,
            "losses": [],
            "slots": [],
            "acquired": None,
            "tokens": 0.0,
            "seconds": 0.0,
        }
        for position, fact in enumerate(facts, start=1)
    ]
    require_lessons(tokenizer, facts, settings, method.write_at)
    method.require_facts(facts)
    log_write_places(facts, method.write_at)
    num_done = 0
    if (found := resume.load("stream")) and all(
        is_kept(position) for number, position in ends.items() if number < found[1]["num_batches"]
    ):
        method.load_state_dict(_part(found[0], "state."), _part(found[0], "delta."))
        rows, num_done = found[1]["rows"], found[1]["num_batches"]
    bar = progress(groups[num_done:], "facts", total=len(groups), initial=num_done)
    for number, places in enumerate(bar, start=num_done):
        group = [facts[place] for place in places]
        steps = range(number * settings.steps_per_fact, (number + 1) * settings.steps_per_fact)
        method.begin_lesson(tuple(places))
        outcome = _learn(method, tokenizer, group, rows[places[0]], [schedule.share(step) for step in steps], settings)
        method.end_lesson(tuple(places))
        retrieve = method.retriever(method.settings, method.delta(), facts) if method.retrieves else None
        for place, acquired in zip(places, _acquired(method, tokenizer, group, settings, retrieve), strict=True):
            rows[place]["acquired"] = acquired
            for column, more in outcome.items():
                rows[place][column] += more
        ended = stopped()
        if number in ends or ended:
            position = ends.get(number, len({place for group in groups[: number + 1] for place in group}))
            keep(position, _finite_delta(method, rows[places[-1]], settings.steps_per_fact))
        if ended:
            break
        if resume.due():
            state = {f"state.{name}": tensor for name, tensor in method.state_dict().items()}
            delta = {f"delta.{name}": tensor for name, tensor in method.delta().items()}
            resume.save("stream", {**state, **delta}, {"rows": rows, "num_batches": number + 1})
    return rows


def lesson_batch(
    tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact], settings: StreamSettings, write_at: WriteAt
) -> Batch:
    """The batch that teaches these facts together."""
    return facts_batch(
        tokenizer,
        facts,
        loss_on=settings.loss_on,
        max_length=settings.max_wording_length or settings.max_length,
        write_at=write_at,
        asking=settings.asking,
    )


def require_lessons(
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[Fact],
    settings: StreamSettings,
    write_at: WriteAt,
    source: str | Path | None = None,
) -> None:
    """Check that every fact fits into such a batch, see :func:`smf.streams.fact_batches.require_fit`."""
    require_fit(
        tokenizer,
        facts,
        loss_on=settings.loss_on,
        max_length=settings.max_length,
        max_wording_length=settings.max_wording_length,
        write_at=write_at,
        source=source,
    )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _learn(
    method: Method,
    tokenizer: PreTrainedTokenizerBase,
    group: Sequence[Fact],
    first_row: dict,
    shares: Sequence[float],
    settings: StreamSettings,
) -> dict:
    """Take the steps on one batch; returns its part of the facts' rows."""
    started = time.perf_counter()
    batch = lesson_batch(tokenizer, group, settings, method.write_at)
    batch = batch.to(method.model.device)
    reports = []
    for share in () if method.retrieves else shares:
        method.rate_share = share
        reports.append(method.step(batch))
        if settings.stop_loss is not None and float(reports[-1].loss) < settings.stop_loss:
            break
    seconds = time.perf_counter() - started
    losses = torch.stack([report.loss for report in reports]).tolist() if reports else []
    for step, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            raise TrainingError(f"the loss is {loss} at step {step} of {_lower_the_rate(method, first_row)}")
    slots = [{str(block): int(number) for block, number in report.num_slots.items()} for report in reports]
    tokens = sum(report.num_tokens for report in reports)
    return {"losses": losses, "slots": slots, "tokens": tokens / len(group), "seconds": seconds / len(group)}


def _acquired(
    method: Method,
    tokenizer: PreTrainedTokenizerBase,
    group: Sequence[Fact],
    settings: StreamSettings,
    retrieve: Retrieve | None,
) -> list[bool | None]:
    """Whether the model now answers each fact's question; None for a fact without one."""
    questions = [asked for fact in group if (asked := fact.asked(settings.asking))]
    if not questions:
        return [None] * len(group)
    longest = settings.max_length
    if retrieve is not None:
        questions = [Example(settings.asking.behind(each.prompt, retrieve), each.completion) for each in questions]
        longest = sys.maxsize  # the limit is that of a question alone
    known = iter(recall(method.model, tokenizer, questions, longest, settings.asking))
    return [next(known) if fact.question else None for fact in group]


def _finite_delta(method: Method, row: dict, step: int) -> dict[str, Tensor]:
    """The delta, checked to be finite: losses are measured before each step, so only the weights show the last one."""
    delta = method.delta()
    if not all(bool(tensor.isfinite().all()) for tensor in delta.values()):
        raise TrainingError(f"weights are not finite after step {step} of {_lower_the_rate(method, row)}")
    return delta


def _lower_the_rate(method: Method, row: dict) -> str:
    """The part of a message that names the fact and how to shorten its steps."""
    fact, rate = f"fact {row['position']} ({row['fact_id']!r})", getattr(method.settings, "learning_rate", None)
    if rate is None and (polyak := getattr(method.settings, "polyak", None)):
        return f"{fact}; lower the method's polyak ({polyak}), or give a learning_rate as a bound"
    return f"{fact}; lower the method's learning_rate ({rate})"
