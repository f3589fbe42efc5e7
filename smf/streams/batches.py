"""Text that is read in batches: pretraining, healing and background corpora, and the wordings of facts."""

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
        context_mask_BT: 1 for tokens of what stands before a wording, with those that begin its text; these are never
            written. None where nothing stands before any.
        context_ids_C: Tokens that stand before each of the sequences, which then hold only what comes behind, see
            :mod:`smf.streams.shared_contexts`. None where each sequence is whole.
    """

    input_ids_BT: Tensor
    attention_mask_BT: Tensor
    labels_BT: Tensor
    write_mask_BT: Tensor | None = None
    context_mask_BT: Tensor | None = None
    context_ids_C: Tensor | None = None

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
        """How many tokens the sequences have, without padding and without ``context_ids_C``."""
        return int(self.attention_mask_BT.sum())

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device; what follows from it is counted here, where the host need not wait."""
        moved = self._each(lambda tensor: tensor.to(device))
        if self.context_ids_C is not None:
            moved = replace(moved, context_ids_C=self.context_ids_C.to(device))
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
        """Some of the sequences, cut to the longest of them."""
        width = int(self.attention_mask_BT[rows].sum(1).max())
        return self._each(lambda tensor_BT: tensor_BT[rows, :width])

    def behind(self, number: int) -> "Batch":
        """The same sequences behind their first ``number`` tokens, in which all are alike."""
        cut = self._each(lambda tensor_BT: tensor_BT[:, number:])
        return replace(cut, context_mask_BT=None, context_ids_C=self.input_ids_BT[0, :number])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The same with each tensor of the shape (B, T) changed."""
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name.endswith("_BT")}
        return replace(self, **{name: change(each) for name, each in columns.items() if each is not None})


Encoded = tuple[list[int], ...]
"""Token ids and labels of one example; which tokens are marked, if any can be; which stand before it, if any can."""


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
    """Token ids (with the tokens that begin a text and the one that ends it) and labels of each example.

    Args:
        tokenizer: A fast tokenizer.
        examples: The texts.
        loss_on: ``text`` learns every token behind the context, ``answer`` only what follows the prompt.
        max_length: Longest sequence, in tokens.
        long: What happens to an example of more than ``max_length`` tokens. ``refuse``: it is an error, because cutting
            could cut its answer. ``split``: running text, which has no prompt, goes on in further sequences; an example
            with a prompt loses what is too much, and is left out if nothing of it is left to learn.
        limit: The setting that ``max_length`` comes from, for messages.
        marked: Of each example, parts of its text (prompt and completion). Each sequence then has a third list: 1 for
            tokens that stand for a character of these parts, 0 for all others.
        contexts: With ``marked``: how many characters at the beginning of each example's text stand before what it is
            about. Each sequence then has a fourth list: 1 for tokens that end within these, 0 for all others.
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
        # A token is learned if it ends behind what stands before: the prompt, or the context alone.
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
        raise DataError(f"none of {len(examples)} texts has anything to learn in its first {max_length} tokens")
    return encoded


def _is_within(end: int, place: tuple[int, int]) -> bool:
    return 0 < end >= place[1]


def _parts(whole: Sequence[list[int]], max_length: int, *, goes_on: bool) -> list[Sequence[list[int]]]:
    """A long sequence in parts of at most ``max_length``, or its beginning; parts that predict nothing are left out."""
    starts = range(0, len(whole[0]), max_length) if goes_on else (0,)
    parts = [[column[start : start + max_length] for column in whole] for start in starts]
    return [part for part in parts if any(label != IGNORED for label in part[1][1:])]


def collate(encoded: Sequence[Encoded], pad_token_id: int) -> Batch:
    """Pad sequences on the right to the longest of them; their marks, if they have any, say which tokens may write.

    Beside marked sequences all tokens of others may write, and stand behind nothing.
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
