"""Batches of the training wordings of facts, and the check that these fit."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from smf.errors import DataError
from smf.streams.asking import PLAIN, Asking
from smf.streams.batches import Batch, Encoded, LossOn, collate, encode
from smf.streams.facts import Fact
from smf.streams.write_places import WriteAt, writable_spans


def facts_batch(
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[Fact],
    *,
    loss_on: LossOn,
    max_length: int,
    write_at: WriteAt = "all",
    asking: Asking = PLAIN,
) -> Batch:
    """All training wordings of several facts, in order, as one batch; see :func:`encode_fact`."""
    options: dict[str, Any] = {"loss_on": loss_on, "max_length": max_length, "write_at": write_at, "asking": asking}
    encoded = [encode_fact(tokenizer, fact, **options) for fact in facts]
    batch = collate([row for rows in encoded for row in rows], tokenizer.pad_token_id)
    return replace(batch, fact_B=torch.tensor([place for place, rows in enumerate(encoded) for _ in rows]))


def require_fit(
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[Fact],
    *,
    loss_on: LossOn,
    max_length: int,
    max_wording_length: int | None = None,
    write_at: WriteAt = "all",
    source: str | Path | None = None,
    limit: str | None = None,
) -> None:
    """Check that every fact can be learned and asked, before any is learned.

    Args:
        tokenizer: The model's tokenizer.
        facts: The stream.
        loss_on: See :func:`encode`.
        max_length: Longest text, in tokens.
        max_wording_length: Longest training wording, in tokens; None for ``max_length``.
        write_at: See :func:`encode_fact`.
        source: The file that the facts come from, for error messages.
        limit: The setting that both lengths come from, for error messages; None for the config's.

    Raises:
        DataError: A text is too long or has nothing to learn, or no token of a fact may write; names the file, the fact
            and the setting.
    """
    asking_limit = limit or "base.max_length"
    wording_limit = limit or ("stream.max_length" if max_wording_length else "base.max_length")
    wording_length = max_wording_length or max_length
    for fact in facts:
        try:
            options: dict[str, Any] = {"loss_on": loss_on, "max_length": wording_length, "write_at": write_at}
            encode_fact(tokenizer, fact, **options, limit=wording_limit)
            if asked := fact.asked():  # plainly: what another format adds is not part of the fact
                encode(tokenizer, [asked], loss_on="answer", max_length=max_length, limit=asking_limit)
        except DataError as error:
            where = "" if source is None else f"{source}, "
            raise DataError(f"{where}fact {fact.fact_id!r}: {error}") from error


def encode_fact(
    tokenizer: PreTrainedTokenizerBase,
    fact: Fact,
    *,
    loss_on: LossOn,
    max_length: int,
    write_at: WriteAt = "all",
    limit: str = "base.max_length",
    asking: Asking = PLAIN,
) -> list[Encoded]:
    """Tokenize the training wordings of one fact: its prompts, completed by its first answer, and its whole texts.

    ``asking`` completes the prompts that it wrote. Texts are learned in full whatever ``loss_on`` says; a text that is
    too long is split into several sequences. The context before a prompt is read, not learned. With contexts, or a
    ``write_at`` other than ``all``, each sequence marks the tokens that may write, see
    :mod:`smf.streams.write_places`; with contexts also those that end within the context.

    Raises:
        DataError: A completed prompt is longer than ``max_length`` tokens, or no token may write.
    """
    whole, number = fact.training_texts(), len(fact.train_prompts)
    spans = writable_spans(fact, write_at)
    options: dict[str, Any] = {"max_length": max_length, "limit": limit, "written": asking.written}
    lengths = [*map(len, fact.contexts), *[0] * len(fact.train_texts)] if fact.train_contexts else None
    encoded = []
    completed = [asking.completed(each, fact.answer) for each in whole[:number]]
    if prompts := [each.behind(context) for each, context in zip(completed, fact.contexts, strict=True)]:
        options |= {"marked": spans and spans[:number], "contexts": lengths and lengths[:number]}
        encoded += encode(tokenizer, prompts, loss_on=loss_on, **options)
    if texts := whole[number:]:
        options |= {"marked": spans and spans[number:], "contexts": lengths and lengths[number:]}
        encoded += encode(tokenizer, texts, loss_on="text", long="split", **options)
    if spans and not any(any(row[2]) for row in encoded):
        raise DataError(
            f"write_at is {write_at}, but the tokenizer has no token for the subject {fact.subject[:60]!r} in what is "
            "learned of the fact; correct the subject or use write_at: all"
        )
    return encoded
