"""Data sets as new facts, each fact in the wordings that its set provides."""

from collections.abc import Callable, Mapping, Sequence

from smf.data.counterfact import EASYEDIT, ROME, Layout
from smf.data.documents import read_documents, read_simpleqa_documents
from smf.data.medmcqa import EXPLAINED, MEDMCQA, medmcqa_item
from smf.data.own_facts import read_own_facts
from smf.data.questions import (
    NQ_OPEN,
    SIMPLEQA,
    TRIVIAQA,
    Pair,
    log_dropped,
    nq_pair,
    question_fact,
    simple_pair,
    teachable,
    trivia_pair,
)
from smf.errors import DataError
from smf.files.artifacts import Columns
from smf.rows.sources import Row, read_rows
from smf.streams.facts import Fact
from smf.streams.normalize import text_key

MAX_QUESTION_CHARACTERS = 300  # fits a window of 128 tokens, with a wording and an answer
MAX_ANSWER_CHARACTERS = 60  # evaluation generates about 16 tokens; a longer answer could never be given


def read_fact_set(data_root: str | None, source: Mapping, taken: set[str]) -> list[Fact]:
    """Read the usable facts of a source; log how many others are dropped, and why.

    Args:
        data_root: Folder of the files, or None for the hub.
        source: Where the rows are, and their ``format``.
        taken: Keys of the held-out sets' questions (see :func:`smf.streams.normalize.text_key`); facts that answer
            them are dropped.

    Raises:
        DataError: The source cannot be read, a row is broken, or no usable fact is left.
    """
    facts = _READERS[source["format"]](data_root, source, taken)
    if not facts:
        raise DataError(
            f"data.collection.facts: no row of {source['file'] or source['hub']} can be taught; see the log"
        )
    return facts


def _question_set(prefix: str, columns: Columns, pair_of: Callable[[Row], Pair]) -> Callable[..., list[Fact]]:
    def read(data_root: str | None, source: Mapping, taken: set[str]) -> list[Fact]:
        pairs = [pair_of(row) for row in read_rows(data_root, source, columns)]
        limits = {"max_question": MAX_QUESTION_CHARACTERS, "max_answer": MAX_ANSWER_CHARACTERS}
        return [question_fact(pair, prefix) for pair in teachable("facts", pairs, taken, **limits)]

    return read


def _counterfact(layout: Layout) -> Callable[..., list[Fact]]:
    def read(data_root: str | None, source: Mapping, taken: set[str]) -> list[Fact]:
        facts = [layout.fact_of(row) for row in read_rows(data_root, source, layout.columns)]
        return _without_repeats([(text_key(fact.train_prompts[0]), fact) for fact in facts], taken)

    return read


def _medmcqa(data_root: str | None, source: Mapping, taken: set[str]) -> list[Fact]:
    """MedMCQA items, learned as whole texts and asked without their options."""
    found, dropped = [], []
    for row in read_rows(data_root, source, MEDMCQA, EXPLAINED):
        item = medmcqa_item(row)
        if isinstance(item, str):
            dropped.append(item)
            continue
        answer = item.options[item.right]
        fact = Fact(
            fact_id=f"medmcqa-{row.number:06d}",
            subject=item.question,
            train_prompts=(),
            unseen_prompts=(),
            question=item.question.rstrip("?:. "),
            answers=(answer, item.lettered[item.right]),
            train_texts=(item.text((row.values["exp"] or "").strip()),),
        )
        found.append((item.key, fact))
    return _without_repeats(found, taken, dropped)


def _without_repeats(found: Sequence[tuple[str, Fact]], taken: set[str], dropped: Sequence[str] = ()) -> list[Fact]:
    """The facts whose key has not occurred before."""
    kept, seen, dropped = [], set(taken), list(dropped)
    for key, fact in found:
        if key in seen:
            dropped.append("asked before")
        else:
            seen.add(key)
            kept.append(fact)
    log_dropped("facts", len(kept), dropped)
    return kept


_READERS: dict[str, Callable[[str | None, Mapping, set[str]], list[Fact]]] = {
    "triviaqa": _question_set("trivia", TRIVIAQA, trivia_pair),
    "nq_open": _question_set("nq", NQ_OPEN, nq_pair),
    "simpleqa": _question_set("simpleqa", SIMPLEQA, simple_pair),
    "counterfact": _counterfact(EASYEDIT),
    "counterfact_rome": _counterfact(ROME),
    "medmcqa": _medmcqa,
    "facts": read_own_facts,
    "documents": read_documents,
    "simpleqa_documents": read_simpleqa_documents,
}
