"""Held-out sets: rows of many data sets, converted to the schema of their kind.

``questions``: ``question`` and ``answer``, the accepted answers. ``choices``: the HellaSwag schema, or ``query``,
``choices`` and ``gold`` where that would not fit. ``completions``: ``prompt`` and ``completion``, which begins with a
space. ``texts``: ``text``.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from smf.data.medmcqa import MEDMCQA, medmcqa_item
from smf.data.questions import (
    NQ_OPEN,
    SIMPLEQA,
    TRIVIAQA,
    Pair,
    are_texts,
    log_dropped,
    nq_pair,
    simple_pair,
    trivia_pair,
)
from smf.errors import DataError
from smf.files.artifacts import Columns
from smf.rows.sources import Row, read_rows
from smf.streams.normalize import text_key

_CONTEXT = {"ind": int, "activity_label": str, "ctx_a": str, "ctx_b": str, "ctx": str}
_LAMBADA: Columns = {"context": str, "target": str, "text": str}
HELLASWAG: Columns = {**_CONTEXT, "endings": list, "label": (str, int)}


class HeldOutRow(NamedTuple):
    """A row in the schema of its kind, and a key to find facts and texts with the same content ("" for no key)."""

    key: str
    values: dict


def read_held_out(name: str, data_root: str | None, source: Mapping) -> list[HeldOutRow]:
    """Read the usable rows of a held-out set; log how many others are dropped, and why.

    Args:
        name: The set's name in the log.
        data_root: Folder of the files, or None for the hub.
        source: Where the rows are, and their ``format``.

    Raises:
        DataError: The source cannot be read, or a row is broken.
    """
    columns, convert = _READERS[source["format"]]
    kept, dropped = [], []
    for row in read_rows(data_root, source, columns, _LAMBADA if source["format"] == "lambada" else None):
        found = convert(row)
        if isinstance(found, str):
            dropped.append(found)
        else:
            kept.append(found)
    log_dropped(name, len(kept), dropped)
    return kept


def hellaswag_row(row: Row) -> dict:
    """A row of HellaSwag, checked.

    Raises:
        DataError: The endings are not texts, or the label names none of them.
    """
    endings, label = row.values["endings"], row.values["label"]
    if not are_texts(endings) or len(endings) < 2:
        raise DataError(f"{row.where}: column 'endings' must be a list of two texts or more, found {endings!r}")
    if str(label) not in map(str, range(len(endings))):
        raise DataError(f"{row.where}: label {label!r} names none of the {len(endings)} endings")
    return row.values


def _questions(pair_of: Callable[[Row], Pair]) -> Callable[[Row], HeldOutRow | str]:
    def convert(row: Row) -> HeldOutRow | str:
        pair = pair_of(row)
        if not pair.key or not pair.answers:
            return "without a question or an answer"
        return HeldOutRow(pair.key, {"question": pair.question, "answer": list(pair.answers)})

    return convert


def _hellaswag(row: Row) -> HeldOutRow:
    return HeldOutRow("", hellaswag_row(row))


def _medmcqa(row: Row) -> HeldOutRow | str:
    item = medmcqa_item(row)
    if isinstance(item, str):
        return item
    return HeldOutRow(item.key, {"query": item.prompt, "choices": list(item.lettered), "gold": item.right})


def _gsm8k(row: Row) -> HeldOutRow:
    """A problem and its worked solution, in the format of lm-eval's solved examples for gsm8k."""
    question, answer = row.values["question"].strip(), row.values["answer"].strip()
    return HeldOutRow(text_key(question), {"prompt": f"Question: {question}\nAnswer:", "completion": f" {answer}"})


def _lambada(row: Row) -> HeldOutRow | str:
    """A passage and its last word (Paperno et al., 2016): in two columns, or in one, as on the hub.

    Raises:
        DataError: The row has neither.
    """
    context, target, text = (row.values[column] for column in _LAMBADA)
    if text is None and (context is None or target is None):
        raise DataError(f"{row.where}: needs the column 'text', or 'context' and 'target'; the row has neither")
    if text is not None:
        context, _, target = text.strip().rpartition(" ")
    context, target = context.rstrip(), target.strip()
    if not context or not target:
        return "without a context or a last word"
    return HeldOutRow(text_key(context), {"prompt": context, "completion": f" {target}"})


def _text(row: Row) -> HeldOutRow | str:
    text = row.values["text"]
    return HeldOutRow(text_key(text), {"text": text}) if text.strip() else "empty"


_READERS: dict[str, tuple[Columns, Callable[[Row], HeldOutRow | str]]] = {
    "nq_open": (NQ_OPEN, _questions(nq_pair)),
    "triviaqa": (TRIVIAQA, _questions(trivia_pair)),
    "simpleqa": (SIMPLEQA, _questions(simple_pair)),
    "hellaswag": (HELLASWAG, _hellaswag),
    "medmcqa": (MEDMCQA, _medmcqa),
    "gsm8k": ({"question": str, "answer": str}, _gsm8k),
    "lambada": ({}, _lambada),
    "text": ({"text": str}, _text),
}
