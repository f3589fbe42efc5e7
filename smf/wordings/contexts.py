"""Contexts before some of a fact's training prompts, so that the fact is not tied to the beginning of a text.

The slots that a token reads depend on all text before it. A fact that is only taught in bare prompts reads other slots
after solved examples, or in the middle of a conversation.
"""

import dataclasses
import math
from collections.abc import Sequence

from smf.seeding import python_generator
from smf.streams.asking import BETWEEN, solved_examples
from smf.streams.examples import Example
from smf.streams.facts import Fact, is_question_prompt

_WORDS = (15, 35)
"""Shortest and longest passage, in words: about as long as a wording, to keep batches cheap."""


def behind_text(facts: Sequence[Fact], texts: Sequence[Example], share: float, seed: int) -> list[Fact]:
    """Put a passage of ordinary text before a share of each fact's training prompts.

    The share, rounded up, is taken from the fact's last prompts. The other prompts stay as they are, and so do whole
    texts and prompts that are questions exactly as they are asked.

    Args:
        facts: The facts.
        texts: Ordinary text; a passage is a run of consecutive words.
        share: Share of the prompts, in [0, 1].
        seed: Seed of the choice of passages, which also depends on the fact itself, but on no other fact.
    """
    words = [text for text in ((each.prompt + each.completion).split() for each in texts) if text]
    return [_behind_passages(fact, words, share, seed) for fact in facts]


def behind_examples(facts: Sequence[Fact], share: float) -> list[Fact]:
    """Put the solved examples of ``few_shot`` before a share of each fact's training prompts.

    The share, rounded up, is spread evenly over the prompts that have no context yet. Whole texts and prompts that are
    questions exactly as they are asked stay as they are.

    Args:
        facts: The facts.
        share: Share of the prompts, in [0, 1].
    """
    return [_with_contexts(fact, _spread(_free(fact), _number(fact, share)), solved_examples()) for fact in facts]


def contrast_behind_examples(texts: Sequence[Example], share: float, seed: int) -> list[Example]:
    """Put the same solved examples before a random share of contrast texts, so that slots read there count as busy.

    Args:
        texts: Contrast texts, each a wording about another subject.
        share: Share of the texts, in [0, 1], rounded up.
        seed: Seed of the choice.
    """
    moved = set(python_generator(seed, "contrast contexts").sample(range(len(texts)), math.ceil(share * len(texts))))
    return [text.behind(solved_examples()) if place in moved else text for place, text in enumerate(texts)]


def _behind_passages(fact: Fact, texts: Sequence[Sequence[str]], share: float, seed: int) -> Fact:
    rng = python_generator(seed, "behind text", fact.fact_id)
    free, number = _free(fact), _number(fact, share)
    for place in free[len(free) - number :]:
        words, length = rng.choice(texts), rng.randint(*_WORDS)
        start = rng.randrange(max(1, len(words) - length + 1))
        fact = _with_contexts(fact, [place], " ".join(words[start : start + length]) + BETWEEN)
    return fact


def _free(fact: Fact) -> list[int]:
    """Indices of the prompts that may get a context."""
    prompts = zip(fact.train_prompts, fact.contexts, strict=True)
    return [place for place, (prompt, context) in enumerate(prompts) if not context and not is_question_prompt(prompt)]


def _spread(places: Sequence[int], number: int) -> list[int]:
    number = min(number, len(places))
    return [places[(turn + 1) * len(places) // number - 1] for turn in range(number)]


def _number(fact: Fact, share: float) -> int:
    return math.ceil(share * sum(not is_question_prompt(prompt) for prompt in fact.train_prompts))


def _with_contexts(fact: Fact, places: Sequence[int], context: str) -> Fact:
    if not places:
        return fact
    contexts = [context if place in places else before for place, before in enumerate(fact.contexts)]
    return dataclasses.replace(fact, train_contexts=tuple(contexts))
