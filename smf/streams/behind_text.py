"""Training prompts behind ordinary text, so that a fact is not tied to standing at the beginning of a text.

What a token reads depends on all that stands before it. A fact that is only ever taught in prompts of its own is read
at other slots behind solved examples, or in the middle of a conversation.
"""

import dataclasses
import math
from collections.abc import Sequence

from smf.seeding import python_generator
from smf.streams.examples import Example
from smf.streams.facts import Fact, is_question_prompt

_WORDS = (15, 35)
"""Length of a passage: as long again as a wording, so that a batch does not become dear."""
BETWEEN = "\n\n"
"""What parts a passage and a prompt."""


def behind_text(facts: Sequence[Fact], texts: Sequence[Example], share: float, seed: int) -> list[Fact]:
    """Put a share of each fact's training prompts behind a passage of ordinary text.

    The fact's last prompts are moved, rounded up; the first ones stay as they are, and so do prompts that are questions
    in the very form in which they are asked, and whole texts.

    Args:
        facts: The facts.
        texts: Ordinary text; passages are some words in a row.
        share: Of the prompts, in [0, 1].
        seed: Of the choice of passages, which depends on the fact beside it and on no other fact.
    """
    words = [text for text in ((each.prompt + each.completion).split() for each in texts) if text]
    return [_moved(fact, words, share, seed) for fact in facts]


def _moved(fact: Fact, texts: Sequence[Sequence[str]], share: float, seed: int) -> Fact:
    rng = python_generator(seed, "behind text", fact.fact_id)
    contexts = list(fact.contexts)
    able = [place for place, prompt in enumerate(fact.train_prompts) if not is_question_prompt(prompt)]
    number = math.ceil(share * len(able))
    for place in able[len(able) - number :]:
        words, length = rng.choice(texts), rng.randint(*_WORDS)
        start = rng.randrange(max(1, len(words) - length + 1))
        contexts[place] = " ".join(words[start : start + length]) + BETWEEN
    return dataclasses.replace(fact, train_contexts=tuple(contexts))
