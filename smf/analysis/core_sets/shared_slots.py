"""The slots that the texts of one fact read, and those that all of them read: its core set (Lin et al., 2025).

A text is read as it is taught or asked, with its answer. Reads are counted as in selection: those of every real token,
never those of padding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from smf.errors import DataError
from smf.memory import record_slot_reads
from smf.models.memory_model import MemoryForCausalLM
from smf.streams.batches import Encoded, collate, encode
from smf.streams.fact_batches import encode_fact
from smf.streams.facts import Fact

Slots = Mapping[int, Tensor]
"""Distinct slots by block, ascending, on the CPU."""

_PART_SIZE = 32
"""Sequences in one forward pass."""


@dataclass(frozen=True)
class FactReads:
    """The slots that the texts of one fact read.

    Attributes:
        training: The slots of each wording that teaches the fact.
        unseen: The slots of each wording that only tests it.
        question: The slots of its question; None for a fact that is not asked.
    """

    training: Sequence[Slots]
    unseen: Sequence[Slots]
    question: Slots | None

    @property
    def texts(self) -> list[Slots]:
        """The slots of every text: training wordings, unseen wordings, the question."""
        return [*self.training, *self.unseen, *([] if self.question is None else [self.question])]

    @property
    def core(self) -> dict[int, Tensor]:
        """The slots that every text reads."""
        return shared_slots(self.texts)

    @property
    def training_core(self) -> dict[int, Tensor]:
        """The slots that every training wording reads."""
        return shared_slots(self.training)

    @property
    def training_union(self) -> dict[int, Tensor]:
        """The slots that at least one training wording reads: only these can train."""
        return {block: torch.cat([text[block] for text in self.training]).unique() for block in self.training[0]}


def shared_slots(texts: Sequence[Slots]) -> dict[int, Tensor]:
    """The slots that all texts read, by block."""
    shared = {}
    for block in texts[0]:
        slots, number = torch.cat([text[block] for text in texts]).unique(return_counts=True)
        shared[block] = slots[number == len(texts)]  # a text names each of its slots once
    return shared


def common(first: Slots, second: Slots) -> int:
    """How many slots are in both, over all blocks."""
    return sum(int(torch.isin(slots, second[block]).sum()) for block, slots in first.items())


def size(slots: Slots) -> int:
    """The number of slots, over all blocks."""
    return sum(len(part) for part in slots.values())


def read_fact(
    model: MemoryForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    fact: Fact,
    *,
    max_length: int,
    max_wording_length: int | None = None,
) -> FactReads:
    """Find the slots that the texts of a fact read.

    Args:
        model: The memory model, in evaluation mode.
        tokenizer: Its tokenizer.
        fact: The fact.
        max_length: Longest text, in tokens.
        max_wording_length: Longest training wording, in tokens; None for ``max_length``. A longer training text is read
            in several sequences, as it is taught, but counts as one text.

    Raises:
        DataError: A wording or the question is too long.
    """
    try:
        fact = replace(fact, train_contexts=())
        alone = [replace(fact, train_prompts=(prompt,), train_texts=()) for prompt in fact.train_prompts]
        alone += [replace(fact, train_prompts=(), train_texts=(text,)) for text in fact.train_texts]
        longest = max_wording_length or max_length
        training = [encode_fact(tokenizer, one, loss_on="text", max_length=longest) for one in alone]
        alone = [replace(fact, train_prompts=(prompt,), train_texts=()) for prompt in fact.unseen_prompts]
        unseen = [encode_fact(tokenizer, one, loss_on="text", max_length=max_length) for one in alone]
        question = []
        if asked := fact.asked():
            question = [encode(tokenizer, [asked], loss_on="text", max_length=max_length)]
    except DataError as error:
        raise DataError(f"fact {fact.fact_id!r}: {error}") from error
    slots = _slots_of_texts(model, [*training, *unseen, *question], tokenizer.pad_token_id)
    first, last = len(training), len(training) + len(unseen)
    return FactReads(slots[:first], slots[first:last], slots[last] if question else None)


@torch.no_grad()
def _slots_of_texts(
    model: MemoryForCausalLM, texts: Sequence[Sequence[Encoded]], pad_token_id: int
) -> list[dict[int, Tensor]]:
    """The slots that each text reads; a text is one sequence or several."""
    layers = model.memory_layers()
    rows = [(number, row) for number, text in enumerate(texts) for row in text]
    found: list[dict[int, list[Tensor]]] = [{block: [] for block in layers} for _ in texts]
    for start in range(0, len(rows), _PART_SIZE):
        part = rows[start : start + _PART_SIZE]
        batch = collate([row for _, row in part], pad_token_id).to(model.device)
        with record_slot_reads(layers) as reads:
            model.read_memories(batch.input_ids_BT, batch.attention_mask_BT)
        lengths = batch.attention_mask_BT.sum(1).tolist()
        for block, read in reads.items():
            by_row = read.slots_of_tokens(batch.attention_mask_BT).cpu().split(lengths)
            for (number, _), slots in zip(part, by_row, strict=True):
                found[number][block].append(slots.flatten())
    return [{block: torch.cat(parts).unique() for block, parts in text.items()} for text in found]
