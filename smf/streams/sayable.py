"""Whether a model can give an answer at all: generation stops after ``evaluation.max_new_tokens`` tokens."""

import logging
from collections.abc import Iterable, Sequence

from transformers import PreTrainedTokenizerBase

from smf.errors import ConfigError, DataError
from smf.streams.facts import Fact, less
from smf.streams.tokens import body_ids

logger = logging.getLogger(__name__)

_PROMPT = "A:"
_NAMED = 3  # facts that an error names


def answer_tokens(tokenizer: PreTrainedTokenizerBase, answers: Sequence[str]) -> list[int]:
    """Number of tokens that a model must generate to give each answer after a prompt.

    The space before an answer counts, the end-of-text token does not: an answer of exactly ``max_new_tokens`` tokens is
    given in full.
    """
    if not answers:
        return []
    texts = [_PROMPT, *(f"{_PROMPT} {answer}" for answer in answers)]
    prompt, *whole = body_ids(tokenizer, texts)
    return [len(ids) - len(prompt) for ids in whole]


def sayable(
    facts: Sequence[Fact], tokenizer: PreTrainedTokenizerBase, max_new_tokens: int, own_file: str | None = None
) -> list[Fact]:
    """Keep the facts whose taught answer can be given; the others could be learned, but never scored as known.

    The others are dropped, and the log counts them. A document is dropped with all its passages.

    Args:
        facts: All facts.
        tokenizer: The model's tokenizer.
        max_new_tokens: Longest generated answer, in tokens.
        own_file: The user's file that the facts come from; an answer that is too long is then an error. None for a set
            that the user cannot change.

    Raises:
        DataError: The facts are the user's own, and an answer is too long; names the file and the facts.
    """
    asked = [fact for fact in facts if fact.answers]
    numbers = answer_tokens(tokenizer, [fact.answers[0] for fact in asked])
    too_long = [(fact, number) for fact, number in zip(asked, numbers, strict=True) if number > max_new_tokens]
    if too_long and own_file is not None:
        named = "; ".join(
            f"{fact.fact_id!r} with {fact.answers[0]!r}, {number} tokens" for fact, number in too_long[:_NAMED]
        )
        raise DataError(
            f"{own_file}: {len(too_long)} of {len(facts)} facts have an answer that could never be given in "
            f"evaluation.max_new_tokens ({max_new_tokens}): {named}; raise it to {max(n for _, n in too_long)} or "
            "shorten the answers"
        )
    documents = {fact.subject for fact, _ in too_long if fact.is_passage}
    dropped = {fact.fact_id for fact, _ in too_long}
    kept = [
        fact for fact in facts if fact.fact_id not in dropped and not (fact.is_passage and fact.subject in documents)
    ]
    if too_long:
        logger.info(
            "%d of %d facts are dropped: their answer has more than evaluation.max_new_tokens (%d) tokens",
            len(facts) - len(kept),
            len(facts),
            max_new_tokens,
        )
    return kept


def require_enough(
    kept: Sequence[Fact], facts: Sequence[Fact], num_facts: int, max_new_tokens: int, *, updates: int = 0
) -> None:
    """Check that enough facts remain after those whose answer cannot be given were dropped.

    Raises:
        ConfigError: Too few remain.
    """
    if len(kept) < num_facts - updates <= len(facts):
        raise ConfigError(
            f"stream.num_facts is {num_facts}{less(updates)}, but of {len(facts)} new facts only {len(kept)} have an "
            f"answer of at most evaluation.max_new_tokens ({max_new_tokens}) tokens; raise it or lower stream.num_facts"
        )


def warn_of_long_answers(
    name: str, accepted: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_new_tokens: int
) -> None:
    """Warn how many questions of a held-out set no model could answer within ``max_new_tokens``."""
    if number := never_right(tokenizer, accepted, max_new_tokens):
        logger.warning(
            "%s: %d of %d questions have no accepted answer of at most evaluation.max_new_tokens (%d) tokens and "
            "cannot score 1; raise it, or leave them out",
            *(name, number, len(accepted), max_new_tokens),
        )


def never_right(tokenizer: PreTrainedTokenizerBase, accepted: Iterable[Sequence[str]], max_new_tokens: int) -> int:
    """Number of questions none of whose accepted answers fits into ``max_new_tokens``."""
    questions = [list(answers) for answers in accepted]
    numbers = iter(answer_tokens(tokenizer, [answer for answers in questions for answer in answers]))
    return sum(min(next(numbers) for _ in answers) > max_new_tokens for answers in questions)
