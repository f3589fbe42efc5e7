"""Learn a stream in memory: model and facts in, what was learned out. It neither reads from disk nor writes to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smf.files.resume import NO_RESUME, Resume
from smf.methods.method import Method
from smf.methods.registry import start_method
from smf.patches.patch import MemoryPatch, patch_of
from smf.selection.background import BackgroundCounts
from smf.streams.background_texts import BackgroundTexts
from smf.streams.facts import Fact
from smf.training.learn import StreamSettings, learn_with

UNSAVED = "not saved"
"""Stands in for the hash of a model that is not in a folder."""


@dataclass(frozen=True)
class Snapshot:
    """What was learned up to a position.

    Attributes:
        position: Number of facts of the stream that were taught.
        delta: The :meth:`smf.methods.method.Method.delta`: tensors by name, on the model's device or the CPU.
        patch: The same as a patch, for methods that know which fact wrote which slots (sparse memory finetuning); else
            None.
        about: Its metadata: ``method``, ``seed``, ``position`` and ``start_hash``, the hash of the base.
    """

    position: int
    delta: dict[str, Tensor]
    patch: MemoryPatch | None
    about: Mapping[str, object]


@dataclass(frozen=True)
class Learned:
    """The result of :func:`learn_stream`.

    Attributes:
        model: The taught model, in evaluation mode; with LoRA and OSF it is peft's wrapper of the start model.
        rows: One per fact, see :func:`smf.training.learn.learn_with`.
        snapshots: In the order of their positions, the stream's end last; none if :attr:`StreamHooks.keep` took them.

    Example:
        >>> learned.snapshots[-1].position, sorted(learned.delta)
        (3, ['0.slots', '0.values', '2.slots', '2.values'])
    """

    model: PreTrainedModel
    rows: list[dict]
    snapshots: tuple[Snapshot, ...]

    @property
    def delta(self) -> dict[str, Tensor]:
        """The delta of the last snapshot."""
        return self.snapshots[-1].delta

    @property
    def patch(self) -> MemoryPatch | Any:  # Any, not None, because kind smf always has one
        """The patch of the last snapshot; None for methods that leave no patches."""
        return self.snapshots[-1].patch


@dataclass(frozen=True)
class StreamHooks:
    """Callbacks while a stream is learned.

    Attributes:
        started: Called before any step with the start model, including the parameters that the method adds to it.
        keep: Called with each snapshot, and takes it over: several snapshots of a large model do not fit into memory.
        is_kept: With ``keep``: whether the snapshot that an earlier process kept for a position is still there.
        stopped: Called after each batch; once it returns true, the stream ends there, with a snapshot.
        resume: Keeps the state between batches.
    """

    started: Callable[[PreTrainedModel], None] = lambda _: None
    keep: Callable[[Snapshot], None] | None = None
    is_kept: Callable[[int], bool] = lambda _: False
    stopped: Callable[[], bool] = lambda: False
    resume: Resume = NO_RESUME


def learn_stream(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[Fact],
    method: Mapping,
    stream: StreamSettings = StreamSettings(),  # noqa: B008 (it is frozen)
    *,
    background: BackgroundCounts | None = None,
    texts: BackgroundTexts | None = None,
    base_hash: str = UNSAVED,
    hooks: StreamHooks = StreamHooks(),  # noqa: B008
) -> Learned:
    """Teach a model a stream of facts, one batch of wordings after the other.

    Args:
        model: The start model, on the device to train on; it is changed.
        tokenizer: Its tokenizer.
        facts: The stream, in the order in which it is taught.
        method: How to learn: a kind and its settings, see :class:`smf.methods.settings.MethodSettings`.
        stream: Steps, lengths (in tokens), snapshots and seed.
        background: Which slots ordinary text reads, for methods that need it (those of kind ``smf``).
        texts: Ordinary text, for methods that read it while they learn.
        base_hash: :func:`smf.models.checkpoint.model_hash` of the folder that the model was loaded from. A patch needs
            it to be applied to a model folder later, but not to the model in memory.
        hooks: Callbacks while the stream is learned.

    Returns:
        The model, one row per fact, and the snapshots.

    Raises:
        ConfigError: The method lacks something that it needs, or a snapshot's position is not valid for this stream.
        DataError: A fact's text is too long; nothing has been learned yet.
        TrainingError: A loss or a weight is not finite; the message names the step and the fact.

    Example:
        >>> learned = learn_stream(
        ...     model, tokenizer, facts, MethodSettings("smf", top_t=8), StreamSettings(steps_per_fact=2),
        ...     background=background,
        ... )
        >>> [row["fact_id"] for row in learned.rows]
        ['joel-quint', 'rosa-varga', 'emil-hollis']
        >>> len(learned.rows[0]["losses"]), learned.patch.num_rows > 0
        (2, True)
    """
    end = len(facts)
    stream = stream.model_copy(update={"snapshots": stream.snapshots or (end,)})
    learner = start_method(method, model, background, texts, seed=stream.seed)
    hooks.started(learner.model)
    snapshots: list[Snapshot] = []

    def keep(position: int, delta: dict[str, Tensor]) -> None:
        about = {"method": dict(method), "seed": stream.seed, "position": position, "start_hash": base_hash}
        snapshot = Snapshot(position, delta, _patch(learner, delta, facts, stream.name, about), about)
        (hooks.keep or snapshots.append)(snapshot)

    # A state saved after the last batch is the stream's end itself; earlier snapshots without ``keep`` are lost.
    is_kept = hooks.is_kept if hooks.keep else lambda position: position == end
    rows = learn_with(learner, tokenizer, facts, stream, keep, hooks.resume, is_kept, hooks.stopped)
    if hooks.keep is None and not snapshots:
        keep(end, learner.delta())
    return Learned(learner.model, rows, tuple(snapshots))


def _patch(
    learner: Method, delta: Mapping[str, Tensor], facts: Sequence[Fact], stream: str, about: Mapping[str, Any]
) -> MemoryPatch | None:
    """The patch of the facts taught so far; None if the method does not know which fact wrote which slots."""
    history = learner.history()
    if history is None:
        return None
    tensors, lessons = history
    taught = sorted({place for lesson in lessons for place in lesson})
    numbers = {place: number for number, place in enumerate(taught)}
    known = [
        {
            "fact_id": facts[place].fact_id,
            "subject": facts[place].subject,
            "question": facts[place].question,
            "answer": facts[place].answer,
            "stream": stream,
            "position": place + 1,
        }
        for place in taught
    ]
    provenance = {name: value for name, value in about.items() if name != "start_hash"}
    renumbered = [tuple(numbers[place] for place in lesson) for lesson in lessons]
    return patch_of(delta, tensors, about["start_hash"], known, renumbered, provenance)
