"""Paraphrases of facts by the same model that is to learn them, for `smf teach --paraphrase`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smf.streams.facts import Fact
from smf.wordings.lesson_wordings import with_paraphrases, without_their_subject
from smf.wordings.paraphrase_prompts import FACT_PROMPT, PASSAGE_PROMPT
from smf.wordings.paraphrases import ParaphraseSettings, paraphrase

_MOST_NEW_TOKENS = 48
_ROUNDS = 2


@dataclass(frozen=True)
class Paraphrased:
    """Counts of the model's paraphrases.

    Attributes:
        wanted: Paraphrases asked for, over all facts.
        kept: Paraphrases that teach.
        dropped: Replies that were dropped, by reason; each is asked for once more.
    """

    wanted: int
    kept: int
    dropped: dict[str, int]


def paraphrased(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact], number: int, seed: int
) -> tuple[list[Fact], Paraphrased]:
    """Add paraphrases by a model to the facts' own wordings, and count its replies.

    Args:
        model: An instruct model, in evaluation mode.
        tokenizer: The model's tokenizer, with a chat template.
        facts: The facts; each keeps its own training wordings.
        number: Paraphrases per fact.
        seed: Seed of the sampling.
    """
    settings = ParaphraseSettings(
        number=number,
        prompt=FACT_PROMPT,
        passage_prompt=PASSAGE_PROMPT,
        max_new_tokens=_MOST_NEW_TOKENS,
        batch_size=16,
        temperature=0.7,
        top_p=0.9,
        max_rounds=_ROUNDS,
        seed=seed,
    )
    worded: list[Fact] = []
    dropped: Counter[str] = Counter()
    kept = 0
    for fact, row in zip(facts, paraphrase(model, tokenizer, facts, settings), strict=True):
        dropped.update(row["dropped"])
        nameless = without_their_subject(fact, row["texts"])
        if nameless:
            dropped["without the subject"] += len(nameless)
        texts = [text for text in row["texts"] if text not in nameless]
        kept += len(texts)
        worded.append(with_paraphrases(fact, texts))
    return worded, Paraphrased(number * len(facts), kept, dict(sorted(dropped.items())))
