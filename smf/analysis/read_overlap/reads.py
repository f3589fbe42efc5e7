"""What the texts of a stream's facts read before anything is learned: taught wordings, and texts that only test.

The wordings go through the model as they do when the stream is learned, micro-batches and shared contexts included, so
that the slots selected for them are those of the first step (:mod:`smf.analysis.read_overlap.choice`).

Shapes: F fact, S slot.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from transformers import PreTrainedTokenizerBase

from smf.errors import DataError
from smf.memory import record_slot_reads
from smf.methods.memory_passes import MemoryPasses
from smf.methods.method import micro_batches
from smf.models.memory_model import MemoryForCausalLM
from smf.selection.select import Pass, count_reads, writing_tokens
from smf.streams.asking import Asking, solved_examples
from smf.streams.batches import collate, encode
from smf.streams.examples import Example, answered
from smf.streams.facts import Fact
from smf.streams.passes import Passes
from smf.streams.write_places import WriteAt
from smf.training.learn import StreamSettings, lesson_batch

Weights = dict[int, tuple[np.ndarray, np.ndarray]]
"""By block, the slots that a text reads, ascending, and the sum over its tokens and heads of the softmax weights with
which it reads them; of several texts the mean."""

_PART_SIZE = 32
"""Sequences in one forward pass."""


class Taught(NamedTuple):
    """What the wordings of facts that are taught together read.

    Attributes:
        passes: The reads of each part of their batch, with the tokens that may write.
        facts: For each of these facts, the mean over its sequences; of tokens that may write alone.
    """

    passes: tuple[Pass, ...]
    facts: list[Weights]


@torch.no_grad()
def read_taught(
    model: MemoryForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[Fact],
    settings: StreamSettings,
    write_at: WriteAt,
) -> Iterator[Taught]:
    """Read the training wordings of a stream, the facts of a step together, in the order of the first epoch.

    Args:
        model: The memory model, in evaluation mode.
        tokenizer: Its tokenizer.
        facts: The stream.
        settings: How it is learned.
        write_at: Which tokens may write.

    Raises:
        DataError: A wording is too long, or no token of it may write.
    """
    for places in Passes(len(facts), settings.facts_per_step).groups(None):
        group = [facts[place] for place in places]
        batch = lesson_batch(tokenizer, group, settings, write_at).to(model.device)
        passes = MemoryPasses(model, micro_batches(model, batch, settings.micro_batch_size))
        passes.begin_step()
        seen = [(passes.reads(part), writing_tokens(part.batch, write_at)) for part in passes.parts]
        rows = [part.batch.fact_B for part in passes.parts]
        yield Taught(tuple(seen), [_of_fact(seen, rows, number) for number in range(len(group))])


def _of_fact(seen: Sequence[Pass], facts: Sequence[torch.Tensor | None], number: int) -> Weights:
    """What one fact of a batch reads."""
    own, num_sequences = [], 0
    for (reads, mask_BT), fact_B in zip(seen, facts, strict=True):
        assert fact_B is not None  # batches of facts say which fact a sequence teaches
        own_B = fact_B == number
        own.append((reads, mask_BT * own_B.unsqueeze(1)))
        num_sequences += int(own_B.sum())
    return _weights(own, num_sequences)


def read_asked(
    model: MemoryForCausalLM, tokenizer: PreTrainedTokenizerBase, fact: Fact, settings: StreamSettings
) -> dict[str, Weights]:
    """What the texts read that test a fact, each with its answer, in the form in which they are asked.

    The solved examples before a question are read with it, but what their own tokens read is left out: all questions
    share them.

    Args:
        model: The memory model, in evaluation mode.
        tokenizer: Its tokenizer.
        fact: The fact.
        settings: How its stream is learned.

    Returns:
        The weights of ``unseen`` (wordings that only test), ``question`` and ``neighbours`` (prompts that teaching must
        not change, with their true continuations), the mean over sequences; empty where the fact has no such text.

    Raises:
        DataError: A text is longer than ``base.max_length``, in the plain format; names the fact.
    """
    asking = settings.asking
    question = fact.asked(asking)
    texts = {
        "unseen": [_completed(prompt, fact.answer, asking) for prompt in fact.unseen_prompts],
        "question": [] if question is None else [question],
        "neighbours": [
            _completed(prompt, answer, asking)
            for prompt, answer in zip(fact.locality_prompts, fact.locality_answers, strict=True)
        ],
    }
    try:
        return {
            name: _read(model, tokenizer, examples, settings) if examples else {} for name, examples in texts.items()
        }
    except DataError as error:
        raise DataError(f"fact {fact.fact_id!r}: {error}") from error


def _completed(prompt: str, answer: str, asking: Asking) -> Example:
    """A prompt as it is asked, with its answer."""
    return asking.completed(answered(asking.reworded(prompt), answer), answer)


@torch.no_grad()
def _read(
    model: MemoryForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    settings: StreamSettings,
) -> Weights:
    asking, before = settings.asking, solved_examples()
    few_shot = asking.prompt_format == "few_shot"
    encoded = encode(
        tokenizer,
        examples,
        loss_on="answer",
        # Other formats add to a question, which as such has been checked; nothing limits what they add.
        max_length=settings.max_length if asking.prompt_format == "plain" else sys.maxsize,
        marked=[[(0, len(each.prompt + each.completion))] for each in examples],
        contexts=[len(before) * (few_shot and each.prompt.startswith(before)) for each in examples],
        written=asking.written,
    )
    seen: list[Pass] = []
    for part in collate(encoded, tokenizer.pad_token_id).to(model.device).split(_PART_SIZE):
        with record_slot_reads(model.memory_layers()) as reads:
            model.read_memories(part.input_ids_BT, part.attention_mask_BT)
        assert part.context_mask_BT is not None
        seen.append((reads, part.attention_mask_BT - part.context_mask_BT))
    return _weights(seen, len(encoded))


def _weights(seen: Sequence[Pass], num_sequences: int) -> Weights:
    found = {}
    for block, counts in count_reads(seen, "weights").items():
        assert counts.weights_U is not None
        real_U = counts.counts_U > 0  # an accelerator pads what it counts
        weights_U = counts.weights_U[real_U].double() / num_sequences
        found[block] = counts.slots_U[real_U].cpu().numpy(), weights_U.cpu().numpy()
    return found


def as_rows(texts: Sequence[Mapping[int, tuple[np.ndarray, np.ndarray]]], block: int, num_slots: int) -> csr_array:
    """Values of the slots of one layer, (F, S): a row for each fact, empty where it has no such text."""
    nothing = (np.zeros(0, np.int64), np.zeros(0))
    parts = [text.get(block, nothing) for text in texts]
    ends = np.cumsum([0, *(len(slots) for slots, _ in parts)])
    slots, values = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    return csr_array((values, slots, ends), shape=(len(texts), num_slots))
