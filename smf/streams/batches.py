"""Text that is read in batches: pretraining, healing and background corpora, and the wordings of one fact."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from smf.errors import DataError
from smf.seeding import python_generator
from smf.streams.asking import PLAIN, Asking, tokens_of
from smf.streams.examples import Example
from smf.streams.facts import Fact, taught_texts
from smf.streams.places import Span
from smf.streams.write_places import WriteAt, writable_spans

LossOn = Literal["text", "answer"]
IGNORED = -100  # the label that transformers' language-model loss leaves out
_WINDOW = 32  # batches that are drawn together and grouped by length, so that little is padded


@dataclass(frozen=True)
class Batch:
    """Token sequences padded on the right.

    Attributes:
        input_ids_BT: Token ids.
        attention_mask_BT: 1 for tokens, 0 for padding.
        labels_BT: Token ids to learn; ``IGNORED`` elsewhere.
        write_mask_BT: 1 for tokens whose reads may be written to: not for what stands before a prompt, and as
            :mod:`smf.streams.write_places` says. None if all tokens may.
    """

    input_ids_BT: Tensor
    attention_mask_BT: Tensor
    labels_BT: Tensor
    write_mask_BT: Tensor | None = None

    @cached_property
    def predicting_positions_P(self) -> Tensor:
        """Positions whose next token is a label in some row, in ascending order."""
        return (self.labels_BT[:, 1:] != IGNORED).any(dim=0).nonzero().squeeze(1)

    @cached_property
    def predictions_X2(self) -> Tensor:
        """Row and position of each token whose next token is a label."""
        return (self.labels_BT[:, 1:] != IGNORED).nonzero()

    @cached_property
    def num_labels(self) -> int:
        """How many tokens are predicted: labels behind the first position, which nothing predicts."""
        return int((self.labels_BT[:, 1:] != IGNORED).sum())

    @cached_property
    def num_tokens(self) -> int:
        """How many tokens the sequences have, without padding."""
        return int(self.attention_mask_BT.sum())

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device; what follows from it is counted here, where the host need not wait."""
        moved = Batch(*(part if part is None else part.to(device) for part in self._parts))
        known = {name: getattr(self, name) for name in ("num_labels", "num_tokens")}
        known |= {name: getattr(self, name).to(device) for name in ("predicting_positions_P", "predictions_X2")}
        vars(moved).update(known)
        return moved

    def split_by_length(self, size: int) -> Iterator["Batch"]:
        """The same sequences, shortest first, in parts of at most ``size``, each cut to its longest sequence."""
        for rows in self.attention_mask_BT.sum(1).argsort(stable=True).split(size):
            yield self._rows(rows)

    def split(self, size: int) -> Iterator["Batch"]:
        """The same sequences in their order, in parts of at most ``size``, each cut to its longest sequence."""
        for rows in torch.arange(len(self.input_ids_BT), device=self.input_ids_BT.device).split(size):
            yield self._rows(rows)

    @property
    def _parts(self) -> tuple[Tensor | None, ...]:
        return self.input_ids_BT, self.attention_mask_BT, self.labels_BT, self.write_mask_BT

    def _rows(self, rows: Tensor) -> "Batch":
        width = int(self.attention_mask_BT[rows].sum(1).max())
        return Batch(*(part if part is None else part[rows, :width] for part in self._parts))


Encoded = tuple[list[int], ...]  # token ids and labels of one example, and which tokens are marked, if any can be


def encode(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    loss_on: LossOn,
    max_length: int,
    long: Literal["refuse", "split"] = "refuse",
    limit: str = "base.max_length",
    marked: Sequence[Sequence[Span]] | None = None,
    written: Mapping[str, Sequence[int]] = PLAIN.written,
) -> list[Encoded]:
    """Token ids (with the tokens that begin a text and the one that ends it) and labels of each example.

    Args:
        tokenizer: A fast tokenizer.
        examples: The texts.
        loss_on: ``text`` learns every token, ``answer`` only what follows the prompt.
        max_length: Longest sequence, in tokens.
        long: What happens to an example of more than ``max_length`` tokens. ``refuse``: it is an error, because cutting
            could cut its answer. ``split``: running text, which has no prompt, goes on in further sequences; an example
            with a prompt loses what is too much, and is left out if nothing of it is left to learn.
        limit: The setting that ``max_length`` comes from, for messages.
        marked: Of each example, parts of its text (prompt and completion). Each sequence then has a third list: 1 for
            tokens that stand for a character of these parts, 0 for all others.
        written: Token ids of prompts that a chat template wrote, see :class:`smf.streams.asking.Asking`.

    Returns:
        One sequence an example, in their order; with ``split`` there may be more, or fewer.

    Raises:
        DataError: An example is too long and ``long`` is ``refuse``, or no example is left.
    """
    encoded: list[Encoded] = []
    tokens = tokens_of(tokenizer, examples, written)
    for number, (example, (start, ids, offsets)) in enumerate(zip(examples, tokens, strict=True)):
        length = len(start) + len(ids) + 1
        if length > max_length and long == "refuse":
            shown = (example.prompt + example.completion)[:60]
            raise DataError(
                f"the text {shown!r}… has {length} tokens, but {limit} is {max_length}; raise it or shorten the text"
            )
        labels = ids
        if loss_on == "answer":  # a token belongs to the completion if it ends after the prompt does
            end = len(example.prompt)
            labels = [token if stop > end else IGNORED for token, (_, stop) in zip(ids, offsets, strict=True)]
        body = [[*ids, tokenizer.eos_token_id], [*labels, tokenizer.eos_token_id]]
        if marked is not None:
            body.append([int(any(a < end and stop > b for b, end in marked[number])) for a, stop in offsets] + [0])
        parts = [body] if length <= max_length else _parts(body, max_length - len(start), goes_on=not example.prompt)
        before = (start, [IGNORED] * len(start), [0] * len(start))
        encoded += [tuple([*first, *rest] for first, rest in zip(before, part, strict=False)) for part in parts]
    if examples and not encoded:
        raise DataError(f"none of {len(examples)} texts has anything to learn in its first {max_length} tokens")
    return encoded


def _parts(whole: Sequence[list[int]], max_length: int, *, goes_on: bool) -> list[Sequence[list[int]]]:
    """A long sequence in parts of at most ``max_length``, or its beginning; parts that predict nothing are left out."""
    starts = range(0, len(whole[0]), max_length) if goes_on else (0,)
    parts = [[column[start : start + max_length] for column in whole] for start in starts]
    return [part for part in parts if any(label != IGNORED for label in part[1][1:])]


def collate(encoded: Sequence[Encoded], pad_token_id: int) -> Batch:
    """Pad sequences on the right to the longest of them; their marks, if they have any, say which tokens may write."""
    ids, labels, *marks = zip(*encoded, strict=True)
    width = max(map(len, ids))

    def padded(rows: Iterable[list[int]], fill: int) -> Tensor:
        return torch.tensor([row + [fill] * (width - len(row)) for row in rows])

    return Batch(
        padded(ids, pad_token_id),
        padded(([1] * len(row) for row in ids), 0),
        padded(labels, IGNORED),
        *(padded(rows, 0) for rows in marks),
    )


def batches(
    encoded: Sequence[Encoded],
    *,
    batch_size: int,
    num_batches: int,
    pad_token_id: int,
    seed: int,
    group_by_length: bool = True,
) -> Iterator[Batch]:
    """Random batches, each example once an epoch.

    Args:
        encoded: The corpus.
        batch_size: Sequences a batch.
        num_batches: How many batches to yield, over as many epochs as that takes.
        pad_token_id: Fills the batch's right side.
        seed: Of the order.
        group_by_length: Sequences of similar length share a batch, so that little is padded. Batches are then not
            random samples: where each stands for ordinary text as a whole, as in background counts, switch it off.
    """
    rng = python_generator(seed, "batches")
    waiting: list[int] = []
    yielded = 0
    while yielded < num_batches:
        while len(waiting) < _WINDOW * batch_size:
            waiting += rng.sample(range(len(encoded)), len(encoded))
        window, waiting = waiting[: _WINDOW * batch_size], waiting[_WINDOW * batch_size :]
        if group_by_length:
            window.sort(key=lambda index: len(encoded[index][0]))
        groups = [window[start : start + batch_size] for start in range(0, len(window), batch_size)]
        rng.shuffle(groups)
        for group in groups[: num_batches - yielded]:
            yielded += 1
            yield collate([encoded[index] for index in group], pad_token_id)


def facts_batch(
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[Fact],
    *,
    loss_on: LossOn,
    max_length: int,
    write_at: WriteAt = "all",
    asking: Asking = PLAIN,
) -> Batch:
    """All training wordings of several facts, in their order, as one batch; see :func:`encode_fact`."""
    options = {"loss_on": loss_on, "max_length": max_length, "write_at": write_at, "asking": asking}
    encoded = [row for fact in facts for row in encode_fact(tokenizer, fact, **options)]
    return collate(encoded, tokenizer.pad_token_id)


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
    """Check that every fact can be learned and asked, before the first one is.

    Args:
        tokenizer: The model's.
        facts: The stream.
        loss_on: See :func:`encode`.
        max_length: Longest text, in tokens.
        max_wording_length: Longest training wording, in tokens; None for ``max_length``.
        write_at: See :func:`encode_fact`.
        source: The file that the facts come from, for messages.
        limit: The setting that both lengths come from, for messages; None for the config's.

    Raises:
        DataError: A text is too long, leaves nothing to learn, or may be written nowhere; names the file, the fact and
            the setting.
    """
    asking_limit = limit or "base.max_length"
    wording_limit = limit or ("stream.max_length" if max_wording_length else "base.max_length")
    wording_length = max_wording_length or max_length
    for fact in facts:
        try:
            options = {"loss_on": loss_on, "max_length": wording_length, "write_at": write_at}
            encode_fact(tokenizer, fact, **options, limit=wording_limit)
            if fact.question:
                asked = PLAIN.answered(
                    fact.question, fact.answers[0]
                )  # what another format adds is no text of the fact
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
    """The training wordings of one fact: its prompts, completed by its first answer, and its whole texts.

    Prompts that ``asking`` wrote are completed as it does. Texts are learned in full whatever ``loss_on`` says; a text
    that is too long goes on in further sequences. What stands before a prompt is read, not learned. With such contexts,
    or a ``write_at`` other than ``all``, tokens that may write are marked, see :mod:`smf.streams.write_places`.

    Raises:
        DataError: A completed prompt is longer than ``max_length`` tokens, or no token may write.
    """
    whole, number = taught_texts(fact), len(fact.train_prompts)
    spans = writable_spans(fact, write_at)
    options = {"max_length": max_length, "limit": limit, "written": asking.written}
    encoded = []
    completed = [asking.completed(each, fact.answers[0]) for each in whole[:number]]
    if prompts := [each.behind(context) for each, context in zip(completed, fact.contexts, strict=True)]:
        encoded += encode(tokenizer, prompts, loss_on=loss_on, **options, marked=spans and spans[:number])
    if texts := whole[number:]:
        encoded += encode(tokenizer, texts, loss_on="text", long="split", **options, marked=spans and spans[number:])
    if spans and not any(any(marks) for _, _, marks in encoded):
        raise DataError(
            f"write_at is {write_at}, but the tokenizer has no token for the subject {fact.subject[:60]!r} in what is "
            "learned of the fact; correct the subject or use write_at: all"
        )
    return encoded
