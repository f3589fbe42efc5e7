"""Learn one fact alone from the start model, in repeated trials: which slots train, and how few are enough."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from smf.evaluation.recall import recall
from smf.memory.tables import copy_of_table
from smf.methods.smf import SparseMemoryFinetuning
from smf.models.memory_model import MemoryForCausalLM
from smf.selection.background import BackgroundCounts
from smf.selection.joined import joined
from smf.streams.batches import Batch, LossOn
from smf.streams.examples import Example
from smf.streams.fact_batches import facts_batch
from smf.streams.facts import Fact
from smf.streams.write_places import WriteAt


@dataclass(frozen=True)
class AloneSettings:
    """The settings for learning a fact alone: as in the stream, at a constant rate.

    Attributes:
        num_steps: Optimizer steps.
        loss_on: ``text`` learns whole statements, ``answer`` the answers only.
        max_length: Longest text, in tokens.
        max_wording_length: Longest training wording, in tokens; None for ``max_length``.
        micro_batch_size: See :class:`smf.methods.method.Method`.
        max_gradient_norm: See :class:`smf.methods.method.Method`.
        seed: Seeds random selection.
    """

    num_steps: int
    loss_on: LossOn
    max_length: int
    max_wording_length: int | None = None
    micro_batch_size: int | None = None
    max_gradient_norm: float | None = None
    seed: int = 0


class Enough(NamedTuple):
    """The trial that was enough for an answer.

    Attributes:
        top_t: Slots that could train in each step, in each memory layer; 0 if the start model knew the answer.
        learning_rate: The rate; None if the start model knew the answer, or if steps needed no rate.
        num_slots: Distinct slots trained, over all steps and layers.
    """

    top_t: int
    learning_rate: float | None
    num_slots: int


def questions(fact: Fact) -> dict[str, list[Example]]:
    """The prompts that ask for a fact: its training wordings, as taught, and its question; empty where there is none.

    Texts that are taught whole are not asked, because they do not mark where an answer begins.
    """
    asked = fact.asked()
    return {"wordings": fact.completed_prompts(), "question": [] if asked is None else [asked]}


class Alone:
    """Learns facts one at a time, each from the model as given, which every trial restores bit for bit.

    Args:
        model: The healed model.
        tokenizer: Its tokenizer.
        background: Background counts of ordinary text.
        settings: How to learn.
        contrast: Background counts of contrast texts, for methods that weigh them.
    """

    def __init__(
        self,
        model: MemoryForCausalLM,
        tokenizer: PreTrainedTokenizerBase,
        background: BackgroundCounts,
        settings: AloneSettings,
        contrast: BackgroundCounts | None = None,
    ):
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._background, self._contrast = background, contrast
        self._settings = settings
        # Whole tables, because later steps may select slots that the first did not; on the CPU, because device memory
        # is scarce. A method's load_delta cannot undo its steps: it restores only what an earlier delta overwrote.
        layers = model.memory_layers()
        self._originals = {block: copy_of_table(layer.values_SV) for block, layer in layers.items()}

    def selected(self, method: Mapping, fact: Fact) -> dict[int, Tensor]:
        """The slots that the first step on a fact trains, by block.

        Args:
            method: Settings of a method of kind smf.
            fact: The fact.
        """
        with self._trial(method) as learner:
            learner.step(self._batch(fact, learner.write_at))
            return _slots(learner.delta())

    def fewest_slots(
        self, method: Mapping, fact: Fact, numbers: Sequence[int], rates: Sequence[float | None]
    ) -> dict[str, Enough | None]:
        """Find how few trained slots are enough to answer a fact.

        Args:
            method: Settings of a method of kind smf; ``top_t`` and ``learning_rate`` are replaced.
            fact: The fact.
            numbers: Values of ``top_t`` to try, from the smallest on, until everything is answered.
            rates: Learning rates to try with each number, in this order.

        Returns:
            For ``wordings`` (all training wordings at once) and ``question``: the smallest number that was enough, at
            the first rate at which it was; None if none was, or if there is nothing to ask.
        """
        waiting = {name: asked for name, asked in questions(fact).items() if asked}
        enough: dict[str, Enough | None] = {"wordings": None, "question": None}
        self._ask(waiting, enough, Enough(0, None, 0))
        batch = self._batch(fact, method["write_at"])
        trials = ((number, rate) for number in sorted(numbers) for rate in rates)
        for number, rate in trials:
            if not waiting:
                break
            with self._trial({**method, "top_t": number, "learning_rate": rate}) as learner:
                for _ in range(self._settings.num_steps):
                    learner.step(batch)
                trained = sum(len(slots) for slots in _slots(learner.delta()).values())
                self._ask(waiting, enough, Enough(number, rate, trained))
        return enough

    def _ask(self, waiting: dict[str, list[Example]], enough: dict[str, Enough | None], what: Enough) -> None:
        """Move what is answered now from ``waiting`` to ``enough``."""
        for name, asked in list(waiting.items()):
            if all(recall(self._model, self._tokenizer, asked, self._settings.max_length)):
                enough[name] = what
                del waiting[name]

    def _batch(self, fact: Fact, write_at: WriteAt) -> Batch:
        length = self._settings.max_wording_length or self._settings.max_length
        options: dict[str, Any] = {"loss_on": self._settings.loss_on, "max_length": length, "write_at": write_at}
        batch = facts_batch(self._tokenizer, [fact], **options)
        return batch.to(self._model.device)

    @contextmanager
    def _trial(self, method: Mapping) -> Iterator[SparseMemoryFinetuning]:
        """A method at the start of its stream; the model is restored on exit."""
        background, weight = self._background, method["contrast"]
        if weight and self._contrast is not None:
            background = joined(background, self._contrast, weight)
        learner = SparseMemoryFinetuning(self._model, method, background, self._settings.seed)
        learner.micro_batch_size = self._settings.micro_batch_size
        learner.max_gradient_norm = self._settings.max_gradient_norm
        try:
            yield learner
        finally:
            originals = {}
            for block, slots in _slots(learner.delta()).items():
                originals[f"{block}.slots"] = slots
                originals[f"{block}.values"] = self._originals[block][slots]
            learner.load_delta(originals)


def _slots(delta: Mapping[str, Tensor]) -> dict[int, Tensor]:
    return {int(name.removesuffix(".slots")): slots for name, slots in delta.items() if name.endswith(".slots")}
