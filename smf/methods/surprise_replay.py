"""SuRe (Hazard et al., 2025): LoRA that replays the stream's most surprising sequences, and a slow copy of it.

The surprise of a sequence z of T labels is its mean negative log-likelihood under the model as it is when z arrives,

    S(z) = -1/T sum over t of log p(z_t | z_<t),

before the first step on it. A buffer holds the ``buffer_size`` most surprising sequences of the facts taught so far. A
step on B sequences of facts also reads n = max(1, round(B s / (1 - s))) others from it, drawn at random without
repetition, with the share s = ``replay_share``, and minimizes L_facts + s / (1 - s) L_replayed. With ``slow_decay`` β
the fast adapter's weights are averaged after each step,

    slow <- β slow + (1 - β) fast,

and what the method has learned is the slow adapter; the fast one goes on learning.

Differences from the paper: its stream is of tasks that share the buffer in equal parts; here it is of facts, which
compete for all of it. Sequences keep the surprise with which they arrived. A fact that a later one replaces leaves the
buffer when that one is taught. Background text is not replayed; ``lora_replay`` does that. While it learns, the model
has the fast adapter: ``acquired`` in facts.jsonl is asked of that one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from smf.methods.kind_settings import GivenSettings
from smf.methods.lora import LoRA, LoRASettings
from smf.methods.loss import language_model_loss
from smf.methods.method import Footprint, StepReport
from smf.methods.ordinary_text import number_beside, odds
from smf.methods.surprise_buffer import Surprise, SurpriseBuffer, batch_of, sequences_of
from smf.settings.section import Count, Number
from smf.streams.replaced import replaced_places

if TYPE_CHECKING:
    from torch import Tensor

    from smf.files.model_shape import BaseShape, MemoryShape
    from smf.streams.batches import Batch
    from smf.streams.facts import Fact


class SurpriseReplaySettings(LoRASettings):
    """Settings of LoRA, of replay and of the slow adapter."""

    buffer_size: Count = 100
    """Sequences of earlier facts that are kept: those with the highest negative log-likelihood per token."""
    replay_share: Annotated[Number, Field(gt=0, lt=1)] = 0.5
    """Share of a step's sequences that are replayed, as far as the buffer holds so many; at least one is. Their loss
    weighs share / (1 - share)."""
    slow_decay: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """Decay of the slow adapter's average over steps; 0: there is none, and the adapter that trains is what is learned.
    A slow adapter has seen the last 1 / (1 - slow_decay) steps, so the end of a stream needs more steps than that."""


class SurpriseReplay(LoRA):
    """Trains low-rank adapters on facts and on earlier ones that were surprising (SuRe, Hazard et al., 2025)."""

    settings_class = SurpriseReplaySettings
    settings: SurpriseReplaySettings

    def begin(self) -> None:
        """Start with an empty buffer, and a slow adapter equal to the fast one."""
        super().begin()
        self._buffer = SurpriseBuffer(self.settings.buffer_size)
        self._batch: Batch | None = None
        self._arrived: list[Surprise] = []
        self._places: tuple[int, ...] = ()
        self._replaced: Mapping[int, int] = {}
        self._num_replays = 0
        self._slow: list[Tensor] = []
        if self.settings.slow_decay:
            self._slow = [weight.detach().clone() for weight in self._trained]

    @classmethod
    def footprint(cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, **stream: int) -> Footprint:
        """Adds the slow adapter. Replayed sequences pass in parts no larger than the batch of facts."""
        own = super().footprint(settings, base, memory, **stream)
        slow = own.gradients if cls.settings_class.read(settings).slow_decay else 0
        return replace(own, state=own.state + slow)

    def require_facts(self, facts: Sequence[Fact]) -> None:
        """Learn which facts are going to be replaced."""
        super().require_facts(facts)
        self._replaced = replaced_places(facts)

    def begin_lesson(self, places: tuple[int, ...]) -> None:
        """Remember which facts the next batch teaches."""
        self._places = places

    def step(self, batch: Batch) -> StepReport:
        """Take one step; before the first on a batch, measure how surprising its sequences are."""
        num_tokens = 0
        if batch is not self._batch:
            self._batch, num_tokens = batch, self._arrive(batch)
        report = super().step(batch)
        if self._slow:
            for slow, fast in zip(self._slow, self._trained, strict=True):
                slow.lerp_(fast.detach(), 1 - self.settings.slow_decay)
        return replace(report, num_tokens=report.num_tokens + num_tokens)

    def add_gradients(self, batch: Batch) -> int:
        """Add the weighted gradient of the loss on sequences of the buffer."""
        from smf.seeding import python_generator

        num_tokens, rows, share = super().add_gradients(batch), len(batch.input_ids_BT), self.settings.replay_share
        if not self._buffer.held:
            return num_tokens
        rng = python_generator(self.seed, "surprise replay", self._num_replays)
        self._num_replays += 1
        chosen = rng.sample(self._buffer.held, min(number_beside(rows, share), len(self._buffer.held)))
        text = batch_of(chosen)
        for part in text.split(min(self.micro_batch_size or rows, rows)):
            loss = language_model_loss(self.model, part.to(self.model.device))
            (loss * (odds(share) * part.num_labels / text.num_labels)).backward()
        return num_tokens + text.num_tokens

    def _arrive(self, batch: Batch) -> int:
        """Let the last batch's sequences compete for the buffer, and measure those of the next; returns tokens read."""
        import torch

        self._buffer.add(self._arrived)
        self._buffer.drop([self._replaced[place] for place in self._places if place in self._replaced])
        with torch.no_grad():
            rows = [batch.rows(torch.tensor([row], device=self.model.device)) for row in range(len(batch.input_ids_BT))]
            nats = [float(language_model_loss(self.model, row)) for row in rows]
        self._arrived, self._places = sequences_of(batch, nats, self._places), ()
        return batch.num_tokens

    def delta(self) -> dict[str, Tensor]:
        """The slow adapter, or the only one."""
        if not self._slow:
            return super().delta()
        fast = [weight.detach().clone() for weight in self._trained]
        self._write(self._slow)
        learned = super().delta()
        self._write(fast)
        return learned

    def _write(self, weights: Sequence[Tensor]) -> None:
        for weight, other in zip(self._trained, weights, strict=True):
            weight.data.copy_(other)

    def state_dict(self) -> dict[str, Tensor]:
        """Adds the buffer, the number of draws from it, and the fast adapter if what was learned is the slow one."""
        import torch

        buffer = SurpriseBuffer(self.settings.buffer_size)
        buffer.held = self._buffer.held
        buffer.add(self._arrived)
        fast = {f"fast.{place}": weight.detach().clone() for place, weight in enumerate(self._trained) if self._slow}
        replays = {"replays": torch.tensor(self._num_replays)}
        return {**super().state_dict(), **buffer.state_dict(), **fast, **replays}

    def load_state_dict(self, state: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> None:
        """Restore them too."""
        super().load_state_dict(state, delta)
        self._buffer.load_state_dict(state)
        self._num_replays = int(state["replays"])
        if self._slow:
            self._slow = [weight.detach().clone() for weight in self._trained]
            self._write([state[f"fast.{place}"] for place in range(len(self._trained))])
