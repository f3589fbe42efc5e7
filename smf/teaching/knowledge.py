"""Measure in which wordings a model knows each fact, and what it says to neighbours before and after teaching."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smf.evaluation.answers import agreement, extract_answer
from smf.logs import progress
from smf.streams.asking import PLAIN, Asking
from smf.streams.batches import IGNORED, collate, encode
from smf.streams.examples import Example, answered
from smf.streams.facts import Fact, is_question_prompt
from smf.teaching.ask import continuation

NEIGHBOUR_TOKENS = 12
"""How many tokens of the reply to a neighbour are compared."""


@dataclass(frozen=True)
class Wordings:
    """Which wordings of one fact a model completes with an accepted answer, whatever follows the answer.

    Attributes:
        taught: For each prompt that teaches the fact.
        unseen: For each prompt that never does.
    """

    taught: tuple[bool, ...]
    unseen: tuple[bool, ...]


@dataclass(frozen=True)
class Neighbour:
    """A model's replies to a prompt that no fact is about.

    Attributes:
        prompt: The prompt.
        before: The reply before the facts were taught.
        after: The reply afterwards.
    """

    prompt: str
    before: str
    after: str

    @property
    def unchanged(self) -> bool:
        """Whether both replies have the same words, after the normalisation of answers."""
        return agreement(self.after, self.before) == 1.0


def known_wordings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, fact: Fact, asking: Asking = PLAIN
) -> Wordings:
    """In which wordings a fact is known: the model's greedy continuation begins with an accepted answer.

    Args:
        model: In evaluation mode.
        tokenizer: The model's tokenizer.
        fact: The fact, as it was taught.
        asking: How questions are asked.
    """
    prompts = (*fact.train_prompts, *fact.unseen_prompts)
    contexts = (*fact.contexts, *("" for _ in fact.unseen_prompts))
    known = [False] * len(prompts)
    for answer in fact.answers:
        completed = [
            asking.completed(answered(prompt, answer), answer).behind(context)
            for prompt, context in zip(prompts, contexts, strict=True)
        ]
        found = _completed(model, tokenizer, completed, asking)
        known = [old or new for old, new in zip(known, found, strict=True)]
    number = len(fact.train_prompts)
    return Wordings(tuple(known[:number]), tuple(known[number:]))


@torch.no_grad()
def _completed(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], asking: Asking
) -> list[bool]:
    """Whether greedy decoding gives each completion, token by token; the text need not end there."""
    if not examples:
        return []
    encoded = encode(tokenizer, examples, loss_on="answer", max_length=sys.maxsize, written=asking.written)
    batch = collate([(ids, [*labels[:-1], IGNORED]) for ids, labels in encoded], tokenizer.pad_token_id)
    batch = batch.to(model.device)
    positions_P = batch.predicting_positions_P  # logits of all tokens of a large vocabulary would take gigabytes
    logits_BPV = model(
        input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT, logits_to_keep=positions_P
    ).logits
    labels_BP = batch.labels_BT[:, positions_P + 1]
    return ((logits_BPV.argmax(-1) == labels_BP) | (labels_BP == IGNORED)).all(dim=1).tolist()


def sayings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], asking: Asking = PLAIN
) -> list[str]:
    """A model's short reply to each prompt; question prompts are asked in the format of ``asking``."""
    said = []
    for prompt in progress(prompts, "asking neighbours"):
        how = asking if is_question_prompt(prompt) else PLAIN
        said.append(extract_answer(continuation(model, tokenizer, how.reworded(prompt), NEIGHBOUR_TOKENS, how)))
    return said
