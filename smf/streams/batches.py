"""Batches of tokenized text: pretraining, healing and background corpora, and the wordings of facts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from itertools import takewhile
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from smf.errors import DataError
from smf.seeding import python_generator
from smf.streams.asking import PLAIN, tokens_of
from smf.streams.examples import Example
from smf.streams.places import Span

LossOn = Literal["text", "answer"]
IGNORED = -100  # the label that transformers' language-model loss ignores
_WINDOW = 32  # batches that are drawn together and grouped by length, to keep padding low


@dataclass(frozen=True)
class Batch:
    """Token sequences padded on the right.

    Attributes:
        input_ids_BT: Token ids.
        attention_mask_BT: 1 for tokens, 0 for padding.
        labels_BT: Token ids to learn; ``IGNORED`` elsewhere.
        write_mask_BT: 1 for tokens that may write to the slots they read, see :mod:`smf.streams.write_places`; 0 for
            the others, such as the context before a prompt. None if all tokens may write.
        context_mask_BT: 1 for tokens of the context before a wording, start-of-text tokens included; these never
            write. None if no sequence has a context.
        context_ids_C: Context shared by all sequences, which then hold only the tokens after it, see
            :mod:`smf.streams.shared_contexts`. None if the sequences are whole.
        fact_B: The fact that each sequence teaches, counted from 0 in the batch. None if all sequences belong together.
    """

    input_ids_BT: Tensor
    attention_mask_BT: Tensor
    labels_BT: Tensor
    write_mask_BT: Tensor | None = None
    context_mask_BT: Tensor | None = None
    context_ids_C: Tensor | None = None
    fact_B: Tensor | None = None

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
        """Number of predicted tokens: labels after the first position, which nothing predicts."""
        return int((self.labels_BT[:, 1:] != IGNORED).sum())

    @cached_property
    def num_tokens(self) -> int:
        """Number of tokens in the sequences, without padding and without ``context_ids_C``."""
        return int(self.attention_mask_BT.sum())

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device; derived values are computed before the move, to avoid a device sync."""
        moved = self._each(lambda tensor: tensor.to(device))
        if self.context_ids_C is not None:
            moved = replace(moved, context_ids_C=self.context_ids_C.to(device))
        if self.fact_B is not None:
            moved = replace(moved, fact_B=self.fact_B.to(device))
        known = {name: getattr(self, name) for name in ("num_labels", "num_tokens")}
        known |= {name: getattr(self, name).to(device) for name in ("predicting_positions_P", "predictions_X2")}
        vars(moved).update(known)
        return moved

    def split_by_length(self, size: int) -> Iterator["Batch"]:
        """The same sequences, shortest first, in parts of at most ``size``, each cut to its longest sequence."""
        for rows in self.attention_mask_BT.sum(1).argsort(stable=True).split(size):
            yield self.rows(rows)

    def split(self, size: int) -> Iterator["Batch"]:
        """The same sequences in their order, in parts of at most ``size``, each cut to its longest sequence."""
        for rows in torch.arange(len(self.input_ids_BT), device=self.input_ids_BT.device).split(size):
            yield self.rows(rows)

    def rows(self, rows: Tensor) -> "Batch":
        """The sequences with the given row numbers, cut to the longest of them."""
        width = int(self.attention_mask_BT[rows].sum(1).max())
        cut = self._each(lambda tensor_BT: tensor_BT[rows, :width])
        return cut if self.fact_B is None else replace(cut, fact_B=self.fact_B[rows])

    def behind(self, number: int) -> "Batch":
        """The same sequences without their first ``number`` tokens, which all share: these become the context."""
        cut = self._each(lambda tensor_BT: tensor_BT[:, number:])
        return replace(cut, context_mask_BT=None, context_ids_C=self.input_ids_BT[0, :number])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The same batch with ``change`` applied to each tensor of shape (B, T)."""
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name.endswith("_BT")}
        return replace(self, **{name: change(each) for name, each in columns.items() if each is not None})


Encoded = tuple[list[int], ...]
"""Token ids and labels of one sequence; then, if asked for, its marks and its context mask."""


def encode(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    loss_on: LossOn,
    max_length: int,
    long: Literal["refuse", "split"] = "refuse",
    limit: str = "base.max_length",
    marked: Sequence[Sequence[Span]] | None = None,
    contexts: Sequence[int] | None = None,
    written: Mapping[str, Sequence[int]] = PLAIN.written,
) -> list[Encoded]:
    """Tokenize examples into ids and labels, with the tokens that start a text and the one that ends it.

    Args:
        tokenizer: A fast tokenizer.
        examples: The texts.
        loss_on: ``text`` learns every token after the context, ``answer`` only those after the prompt.
        max_length: Longest sequence, in tokens.
        long: What to do with an example of more than ``max_length`` tokens. ``refuse``: raise, because truncation could
            cut its answer. ``split``: split running text, which has no prompt, into several sequences; truncate an
            example that has a prompt, and leave it out if nothing to learn remains.
        limit: The setting that ``max_length`` comes from, for error messages.
        marked: For each example, spans of its text (prompt and completion). Each sequence then has a third list: 1 for
            tokens that cover a character of these spans, 0 for all others.
        contexts: With ``marked``: for each example, the length in characters of the context that its text begins with.
            Each sequence then has a fourth list: 1 for tokens that end within the context, 0 for all others.
        written: Token ids of the prompts that a chat template rendered, see :class:`smf.streams.asking.Asking`.

    Returns:
        One sequence per example, in order; with ``split`` there may be more, or fewer.

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
        # A token is learned if it ends after the part that is only read: the prompt, or the context alone.
        end = len(example.prompt) if loss_on == "answer" else 0 if contexts is None else contexts[number]
        labels = ids
        if loss_on == "answer" or end:
            labels = [token if stop > end else IGNORED for token, (_, stop) in zip(ids, offsets, strict=True)]
        body = [[*ids, tokenizer.eos_token_id], [*labels, tokenizer.eos_token_id]]
        if marked is not None:
            body.append([int(any(a < end and stop > b for b, end in marked[number])) for a, stop in offsets] + [0])
        if contexts is not None:
            inside = takewhile(partial(_is_within, contexts[number]), offsets)
            before = [1 for _ in inside]
            body.append([*before, *[0] * (len(ids) + 1 - len(before))])
        parts = [body] if length <= max_length else _parts(body, max_length - len(start), goes_on=not example.prompt)
        behind = int(contexts is not None and contexts[number] > 0)
        begin = (start, [IGNORED] * len(start), [0] * len(start), [behind] * len(start))
        encoded += [tuple([*first, *rest] for first, rest in zip(begin, part, strict=False)) for part in parts]
    if examples and not encoded:
        raise DataError(f"none of {len(examples):,} texts has anything to learn in its first {max_length} tokens")
    return encoded


def _is_within(end: int, place: tuple[int, int]) -> bool:
    return 0 < end >= place[1]


def _parts(whole: Sequence[list[int]], max_length: int, *, goes_on: bool) -> list[Sequence[list[int]]]:
    """Split a long sequence into parts of at most ``max_length``, or truncate it; drop parts that predict nothing."""
    starts = range(0, len(whole[0]), max_length) if goes_on else (0,)
    parts = [[column[start : start + max_length] for column in whole] for start in starts]
    return [part for part in parts if any(label != IGNORED for label in part[1][1:])]


def collate(encoded: Sequence[Encoded], pad_token_id: int) -> Batch:
    """Pad sequences on the right to the longest of them; their marks, if any, become the write mask.

    If only some sequences are marked, all tokens of the others may write. A sequence without a context mask has no
    context.
    """
    number = max(map(len, encoded))
    complete = (
        (*row, [1] * len(row[0]), [0] * len(row[0])) if len(row) == 2 else (*row, [0] * len(row[0])) for row in encoded
    )
    ids, labels, *marks = zip(*(row[:number] for row in complete), strict=True)
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
    """Yield random batches that hold each example once per epoch.

    Args:
        encoded: The corpus.
        batch_size: Sequences per batch.
        num_batches: How many batches to yield, over as many epochs as that takes.
        pad_token_id: Pads batches on the right.
        seed: Seed of the order.
        group_by_length: Put sequences of similar length into one batch, to keep padding low. Batches are then not
            random samples: switch it off where each must represent ordinary text as a whole, as in background counts.
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
