"""Ordinary text: running text, instructions with responses, and the conversations of OASST1."""

from collections.abc import Callable, Iterable, Mapping, Set

from smf.data.questions import log_dropped
from smf.files.artifacts import Columns
from smf.rows.sources import Row, read_rows
from smf.streams.examples import Example
from smf.streams.normalize import text_key

MIN_RESPONSE_CHARACTERS = 50  # for OASST1 messages, as in the code of Gupta et al. (2026)
MAX_RANK = 1  # the two best-ranked responses, as in that code


def read_text(name: str, data_root: str | None, source: Mapping, taken: Set[str] = frozenset()) -> list[Example]:
    """Read the texts of a source, without empty ones; log how many are dropped, and why.

    Args:
        name: The source's name in the log.
        data_root: Folder of the files, or None for the hub.
        source: Where the rows are, and their ``format``: ``text`` (column ``text``), ``instructions``
            (``instruction``, ``response`` and, if there is one, ``context``: dolly) or ``oasst1``.
        taken: Keys (:func:`smf.streams.normalize.text_key`) of held-out texts; these texts are left out.

    Raises:
        DataError: The source cannot be read, or a row is broken.
    """
    columns, optional, convert = _READERS[source["format"]]
    kept, dropped = [], []
    for found in convert(read_rows(data_root, source, columns, optional)):
        if isinstance(found, str):
            dropped.append(found)
        elif taken and text_key(found.prompt + found.completion) in taken:
            dropped.append("held out")
        else:
            kept.append(found)
    log_dropped(name, len(kept), dropped)
    return kept


def _running_text(rows: Iterable[Row]) -> Iterable[Example | str]:
    for row in rows:
        text = row.values["text"].strip()
        yield Example("", text) if text else "empty"


def _instructions(rows: Iterable[Row]) -> Iterable[Example | str]:
    for row in rows:
        instruction, response = row.values["instruction"].strip(), row.values["response"].strip()
        context = (row.values["context"] or "").strip()
        if instruction and response:
            yield _answered("\n\n".join(filter(None, (instruction, context))), response)
        else:
            yield "without an instruction or a response"


def _oasst1(rows: Iterable[Row]) -> Iterable[Example | str]:
    """English assistant messages that people ranked first or second, each after the message that it answers.

    Every condition applies to every message; in one public pipeline, second-ranked messages pass in any language.
    """
    rows = list(rows)
    messages = {row.values["message_id"]: row.values["text"] for row in rows}
    for row in rows:
        values = row.values
        if values["role"] != "assistant":
            yield "that are prompts"
        elif values["lang"] != "en":
            yield "in other languages"
        elif values["rank"] is None or values["rank"] > MAX_RANK:
            yield "ranked lower or not at all"
        elif len(values["text"].strip()) < MIN_RESPONSE_CHARACTERS:
            yield f"of less than {MIN_RESPONSE_CHARACTERS} characters"
        elif values["parent_id"] not in messages:
            yield "without the message that they answer"
        else:
            yield _answered(messages[values["parent_id"]].strip(), values["text"].strip())


def _answered(instruction: str, response: str) -> Example:
    return Example(f"Instruction: {instruction}\n\nResponse:", f" {response}")


_READERS: dict[str, tuple[Columns, Columns, Callable[[Iterable[Row]], Iterable[Example | str]]]] = {
    "text": ({"text": str}, {}, _running_text),
    "instructions": ({"instruction": str, "response": str}, {"context": str}, _instructions),
    "oasst1": (
        {"message_id": str, "text": str, "role": str, "lang": str},
        {"parent_id": str, "rank": (int, float)},
        _oasst1,
    ),
}
