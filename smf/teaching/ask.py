"""Ask a model, in one way for `smf ask` and for the answers that `smf teach` reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteriaList

from smf.errors import DataError, refuse
from smf.evaluation.answers import extract_answer
from smf.evaluation.documents import score_generation
from smf.evaluation.language_model import StopStrings
from smf.logs import progress
from smf.models.checkpoint import load_model, load_tokenizer
from smf.patches.apply import apply, revert
from smf.patches.contradictions import warn_of_contradictions
from smf.patches.held import held_by
from smf.patches.patch import read_patch, require_base
from smf.streams.asking import PLAIN, Asking
from smf.streams.facts import Fact
from smf.streams.normalize import bare_question
from smf.streams.sayable import answer_tokens
from smf.streams.tokens import token_ids
from smf.teaching.model_asking import ChosenFormat, model_asking

MOST_NEW_TOKENS = 32
"""Longest answer, in tokens; longer ones are cut off."""


@dataclass(frozen=True)
class Reply:
    """A model's answer.

    Attributes:
        asked: The question, or the prompt to complete.
        is_question: Whether ``asked`` is a question.
        said: The answer.
        right: Whether it is an accepted answer, scored like held-out questions (exact match).
    """

    asked: str
    is_question: bool
    said: str
    right: bool


def ask(
    folder: str | Path,
    patch_paths: Sequence[str | Path],
    question: str,
    *,
    max_new_tokens: int = MOST_NEW_TOKENS,
    device: str = "cpu",
    prompt_format: ChosenFormat = "auto",
) -> str:
    """A model's answer to a question, with or without patches applied.

    Raises:
        CheckpointError: The model is damaged, or a patch belongs to another base.
        DataError: There is no question, or a patch is already on the model.
        ConfigError: ``max_new_tokens`` or the device is invalid, or the format is ``chat`` and there is no chat
            template.
    """
    if not bare_question(question):
        raise DataError("the question is empty; write it after the model and its patches, in quotes")
    if question.endswith(".safetensors"):
        raise DataError(f"the question is {question!r}, a file; patches come before the question")
    require_new_tokens(max_new_tokens)
    held = held_by(folder) if patch_paths else None
    new = [read_patch(path) for path in patch_paths]
    if held is not None:
        for path, patch in zip(patch_paths, new, strict=True):
            require_base(patch, held.base_hash, path, folder)
    model, tokenizer = load_model(folder, device), load_tokenizer(folder)
    asking = model_asking(folder, tokenizer, prompt_format)
    if held is not None:
        old = [read_patch(path) for path in held.paths]
        names = [*held.paths, *patch_paths]
        warn_of_contradictions([*old, *new], names)
        if old:
            revert(model, old)
        apply(model, [*old, *new], names)
    return answer(model, tokenizer, question, asking, max_new_tokens)


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    asking: Asking = PLAIN,
    max_new_tokens: int = MOST_NEW_TOKENS,
) -> str:
    """A model's answer to a question, decoded greedily and cut at the first line break.

    Args:
        model: In evaluation mode, on any device.
        tokenizer: Its tokenizer.
        question: With or without a question mark.
        asking: How to ask; plainly by default. A model that was trained elsewhere may need
            ``Asking("few_shot")`` or ``Asking("chat", tokenizer)``.
        max_new_tokens: Longest answer, in tokens.

    Example:
        >>> isinstance(answer(model, tokenizer, "in which city was Joel Quint born", max_new_tokens=4), str)
        True
    """
    return extract_answer(continuation(model, tokenizer, asking.prompt(question), max_new_tokens, asking))


@torch.no_grad()
def continuation(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    max_new_tokens: int = MOST_NEW_TOKENS,
    asking: Asking = PLAIN,
) -> str:
    """A model's greedy continuation of a prompt, up to the end of the text, or of the answer in the prompt's format."""
    # One by one: batching changes the last digits of the logits, so a close decision could differ from `smf ask`.
    written = asking.written.get(prompt)
    ids = torch.tensor([written] if written else token_ids(tokenizer, [prompt]), device=model.device)
    stops = [] if asking.stop is None else [StopStrings(tokenizer, [asking.stop], ids.shape[1])]
    said = cast("Any", model).generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=[tokenizer.eos_token_id, *asking.end_ids],
        stopping_criteria=StoppingCriteriaList(stops),
    )
    return str(tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True))


def quiz(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[Fact],
    max_new_tokens: int,
    asking: Asking = PLAIN,
) -> list[tuple[Reply, ...]]:
    """A model's replies to each fact's question or, if it has none, to its unseen prompts.

    Args:
        model: In evaluation mode.
        tokenizer: The model's tokenizer.
        facts: The facts.
        max_new_tokens: Longest answer, in tokens.
        asking: How questions are asked; prompts are completed as they are.

    Returns:
        The replies for each fact; none for a fact without a question or unseen prompts.
    """
    found = []
    for fact in progress(facts, "asking"):
        replies = []
        for asked in (fact.question,) if fact.question else fact.unseen_prompts:
            prompt, how = (asking.prompt(asked), asking) if fact.question else (asked, PLAIN)
            text = continuation(model, tokenizer, prompt, max_new_tokens, how)
            right = bool(score_generation({"answer": list(fact.answers)}, [text])["em"])
            replies.append(Reply(asked, bool(fact.question), extract_answer(text), right))
        found.append(tuple(replies))
    return found


def require_new_tokens(number: int) -> None:
    """Check that an answer may have at least one token.

    Raises:
        ConfigError: ``number`` is below 1.
    """
    if number < 1:
        refuse("max_new_tokens", number, "at least 1 token")


def require_short_answers(tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact], max_new_tokens: int) -> None:
    """Check that no fact has an answer of more than ``max_new_tokens`` tokens, which could never be generated.

    Raises:
        DataError: A fact has one; names it and the remedy.
    """
    for fact in facts:
        if fact.question or fact.unseen_prompts:
            [length] = answer_tokens(tokenizer, fact.answers[:1])
            if length > max_new_tokens:
                raise DataError(
                    f"fact {fact.fact_id!r}: its answer {fact.answers[0][:60]!r} has {length} tokens, but answers are "
                    f"cut after {max_new_tokens}; shorten it, or raise --max-new-tokens"
                )
