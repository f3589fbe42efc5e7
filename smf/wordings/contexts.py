"""What stands before some of a fact's training prompts, so that it is not tied to the beginning of a text.

What a token reads depends on all that stands before it. A fact that is only ever taught in prompts of its own is read
at other slots behind solved examples, or in the middle of a conversation.
"""

import dataclasses
import math
from collections.abc import Sequence

from smf.seeding import python_generator
from smf.streams.asking import BETWEEN, solved_examples
from smf.streams.examples import Example
from smf.streams.facts import Fact, is_question_prompt

_WORDS = (15, 35)
"""Length of a passage: as long again as a wording, so that a batch does not become dear."""


def behind_text(facts: Sequence[Fact], texts: Sequence[Example], share: float, seed: int) -> list[Fact]:
    """Put a share of each fact's training prompts behind a passage of ordinary text.

    The fact's last prompts, rounded up; the first ones stay as they are, and so do prompts that are questions in the
    very form in which they are asked, and whole texts.

    Args:
        facts: The facts.
        texts: Ordinary text; passages are some words in a row.
        share: Of the prompts, in [0, 1].
        seed: Of the choice of passages, which depends on the fact beside it and on no other fact.
    """
    words = [text for text in ((each.prompt + each.completion).split() for each in texts) if text]
    return [_behind_passages(fact, words, share, seed) for fact in facts]


def behind_examples(facts: Sequence[Fact], share: float) -> list[Fact]:
    """Put a share of each fact's training prompts behind the solved examples that ``few_shot`` asks behind.

    As many prompts, rounded up, evenly spread over those that stand behind nothing yet; questions in the very form in
    which they are asked stay as they are, and so do whole texts.

    Args:
        facts: The facts.
        share: Of the prompts, in [0, 1].
    """
    return [_with_contexts(fact, _spread(_free(fact), _number(fact, share)), solved_examples()) for fact in facts]


def contrast_behind_examples(texts: Sequence[Example], share: float, seed: int) -> list[Example]:
    """Contrast texts of which a random share, rounded up, stands behind the same: what is read there is then busy.

    Args:
        texts: Contrast texts, each a wording of another subject.
        share: Of them, in [0, 1].
        seed: Of the choice.
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
    """The places of the prompts that may be put behind something."""
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
