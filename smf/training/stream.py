"""A stream learned in memory: model and facts in, what was learned out. Nothing is read from disk or written to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
"""Stands for the hash of a model that lies in no folder."""


@dataclass(frozen=True)
class Snapshot:
    """What was learned up to a position.

    Attributes:
        position: How many facts of the stream were taught.
        delta: What :meth:`smf.methods.method.Method.delta` gives: tensors by name, on the model's device or the CPU.
        patch: The same as a patch, from methods that know which fact wrote what (sparse memory finetuning); else None.
        about: What is written down with it: ``method``, ``seed``, ``position`` and ``start_hash``, the base's.
    """

    position: int
    delta: dict[str, Tensor]
    patch: MemoryPatch | None
    about: Mapping[str, object]


@dataclass(frozen=True)
class Learned:
    """What :func:`learn_stream` gives back.

    Attributes:
        model: The taught model, in evaluation mode; with LoRA and OSF the one that peft has put around the start model.
        rows: One a fact, see :func:`smf.training.learn.learn_with`.
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
        """That of the last snapshot."""
        return self.snapshots[-1].delta

    @property
    def patch(self) -> MemoryPatch | Any:  # Any, not None: with kind smf there is one
        """That of the last snapshot; None for methods that leave no patches."""
        return self.snapshots[-1].patch


@dataclass(frozen=True)
class StreamHooks:
    """What else happens while a stream is learned.

    Attributes:
        started: Called with the model that the method starts from, and what the method adds to it, before any step.
        keep: Called with each snapshot, and takes it: of a large model several do not fit into memory.
        is_kept: With ``keep``: whether the snapshot of a position that an earlier process kept is still there.
        stopped: Asked after each batch; once it says yes, the stream ends there, with a snapshot.
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
        model: The start model, on the device where it is to learn; it is changed.
        tokenizer: Its tokenizer.
        facts: The stream, in the order in which it is taught.
        method: How to learn: a kind and its settings, see :class:`smf.methods.settings.MethodSettings`.
        stream: Steps, lengths (in tokens), snapshots and seed.
        background: Which slots ordinary text reads, for methods that need it (those of kind ``smf``).
        texts: Ordinary text, for methods that read it while they learn.
        base_hash: :func:`smf.models.checkpoint.model_hash` of the folder that the model was loaded from. Only a patch
            that knows it can be put on a model folder later; in memory it can be put on the model without.
        hooks: What else happens meanwhile.

    Returns:
        The model, a row a fact, and the snapshots.

    Raises:
        ConfigError: The method lacks what it needs, or a snapshot is not on the stream's way.
        DataError: A text of some fact is too long; nothing was learned yet.
        TrainingError: A loss or a weight is not finite; names the step and the fact.

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
    stream = replace(stream, snapshots=stream.snapshots or (end,))
    learner = start_method(method, model, background, texts, seed=stream.seed)
    hooks.started(learner.model)
    snapshots: list[Snapshot] = []

    def keep(position: int, delta: dict[str, Tensor]) -> None:
        about = {"method": dict(method), "seed": stream.seed, "position": position, "start_hash": base_hash}
        snapshot = Snapshot(position, delta, _patch(learner, delta, facts, stream.name, about), about)
        (hooks.keep or snapshots.append)(snapshot)

    # A state behind the last batch is the stream's end itself; an earlier snapshot that nobody took is lost.
    is_kept = hooks.is_kept if hooks.keep else lambda position: position == end
    rows = learn_with(learner, tokenizer, facts, stream, keep, hooks.resume, is_kept, hooks.stopped)
    if hooks.keep is None and not snapshots:
        keep(end, learner.delta())
    return Learned(learner.model, rows, tuple(snapshots))


def _patch(
    learner: Method, delta: Mapping[str, Tensor], facts: Sequence[Fact], stream: str, about: Mapping[str, Any]
) -> MemoryPatch | None:
    """What was learned as a patch of the facts taught so far; None if the method does not know which wrote what."""
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
