"""Paraphrases of facts and study texts of passages, sampled from an instruct model: checked, seeded, resumable."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from smf.errors import ConfigError
from smf.files.resume import Tape
from smf.logs import progress
from smf.seeding import derive_seed, python_generator
from smf.streams.facts import Fact
from smf.streams.normalize import text_key
from smf.streams.tokens import chat_ids
from smf.wordings.paraphrase_prompts import FACT_STYLES, PASSAGE_STYLES, cleaned, paraphrase_prompt, reason_against


@dataclass(frozen=True)
class ParaphraseSettings:
    """How to sample paraphrases.

    Attributes:
        number: Paraphrases wanted per fact.
        prompt: The prompt template for a fact.
        passage_prompt: The prompt template for a passage.
        max_new_tokens: Longest reply, in tokens.
        batch_size: Replies sampled together.
        temperature: Sampling temperature.
        top_p: Nucleus sampling: share of the probability mass from which tokens are drawn.
        max_rounds: Most rounds of asking, the first included; each asks for the paraphrases that are still missing.
        seed: Seed of the sampling and of the styles.
    """

    number: int
    prompt: str
    passage_prompt: str
    max_new_tokens: int
    batch_size: int
    temperature: float
    top_p: float
    max_rounds: int
    seed: int


def paraphrase(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[Fact],
    settings: ParaphraseSettings,
    tape: Tape | None = None,
) -> list[dict]:
    """Sample paraphrases of all facts; an interrupted call resumes where it stopped, with the same result.

    Args:
        model: An instruct model in evaluation mode.
        tokenizer: Its tokenizer, with a chat template.
        facts: The facts.
        settings: How to sample.
        tape: Stores the samples for resuming; None stores nothing.

    Returns:
        One row per fact: ``fact_id``, ``texts``, ``dropped`` (how many replies, by reason) and ``missing`` (how many
        paraphrases were not found).

    Raises:
        ConfigError: The tokenizer has no chat template.
    """
    if tokenizer.chat_template is None:
        raise ConfigError("stream.paraphrases.model has no chat template; choose an instruct model")
    size = max(1, settings.batch_size // settings.number)  # facts whose replies fill a batch
    groups = [facts[start : start + size] for start in range(0, len(facts), size)]
    tape = tape or Tape()
    rows: list[dict] = []
    for group in progress(groups, "groups of facts"):
        rows += tape.next(partial(_paraphrase_group, model, tokenizer, group, settings))
    return rows


def _paraphrase_group(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, group: Sequence[Fact], settings: ParaphraseSettings
) -> list[dict]:
    texts: dict[str, list[str]] = {fact.fact_id: [] for fact in group}
    dropped: dict[str, Counter] = {fact.fact_id: Counter() for fact in group}
    known = {fact.fact_id: {text_key(text) for text in _own_wordings(fact)} for fact in group}
    for round_number in range(settings.max_rounds):
        asked = [fact for fact in group for _ in range(settings.number - len(texts[fact.fact_id]))]
        if not asked:
            break
        purpose = ("paraphrases", group[0].fact_id, round_number)
        prompts = list(_prompts(asked, settings, purpose))
        replies = _sample(model, tokenizer, prompts, settings, derive_seed(settings.seed, *purpose))
        for fact, reply in zip(asked, replies, strict=True):
            text = cleaned(reply, fact)
            if reason := reason_against(text, fact, known[fact.fact_id]):
                dropped[fact.fact_id][reason] += 1
            else:
                known[fact.fact_id].add(text_key(text))
                texts[fact.fact_id].append(text)
    return [
        {
            "fact_id": fact.fact_id,
            "texts": texts[fact.fact_id],
            "dropped": dict(sorted(dropped[fact.fact_id].items())),
            "missing": settings.number - len(texts[fact.fact_id]),
        }
        for fact in group
    ]


def _own_wordings(fact: Fact) -> Iterator[str]:
    yield from fact.train_texts
    yield from (f"{prompt} {fact.answers[0]}." for prompt in fact.train_prompts)


def _prompts(asked: Sequence[Fact], settings: ParaphraseSettings, purpose: tuple) -> Iterator[str]:
    """One prompt per paraphrase; each fact cycles through the styles in random order."""
    rng = python_generator(settings.seed, *purpose, "styles")
    turns: dict[str, list[str]] = {}
    for fact in asked:
        waiting = turns.setdefault(fact.fact_id, [])
        if not waiting:
            styles = PASSAGE_STYLES if fact.is_passage else FACT_STYLES
            waiting += rng.sample(styles, len(styles))
        yield paraphrase_prompt(fact, waiting.pop(), (settings.prompt, settings.passage_prompt))


@torch.no_grad()
def _sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    settings: ParaphraseSettings,
    seed: int,
) -> list[str]:
    """Sample one reply per prompt, in the prompts' order; prompts of similar length share a batch."""
    sampling = GenerationConfig(
        do_sample=True,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=0,
        repetition_penalty=1.0,
        max_new_tokens=settings.max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
    )
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    replies: dict[int, str] = {}
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for start in range(0, len(order), settings.batch_size):
            rows = order[start : start + settings.batch_size]
            inputs = chat_ids(tokenizer, [prompts[row] for row in rows]).to(model.device)
            # transformers declares generate for a protocol of its own that its models, as declared, do not meet.
            said_BT = cast("Any", model).generate(**inputs, generation_config=sampling)
            ids_BT = said_BT[:, inputs["input_ids"].shape[1] :]
            replies.update(zip(rows, tokenizer.batch_decode(ids_BT, skip_special_tokens=True), strict=True))
    return [replies[row] for row in range(len(prompts))]
