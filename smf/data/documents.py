"""Documents to learn passage by passage, each with a question that is asked once the whole document is learned."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from smf.data.questions import SIMPLEQA, are_texts, log_dropped, simple_pair
from smf.data.wikipedia import Wikipedia, is_article
from smf.errors import DataError
from smf.files.artifacts import Columns
from smf.rows.sources import read_rows
from smf.streams.facts import Fact
from smf.streams.normalize import as_written, bare_question, holds_answer, spaced, text_key
from smf.wordings.passages import passages

_DOCUMENTS: Columns = {"document": (str, list), "question": str, "answer": list}


def read_documents(data_root: str | None, source: Mapping, taken: set[str]) -> list[Fact]:
    """The passages of the user's documents.

    A row has ``document``, a text or several; ``question``; and ``answer``, the accepted answers. An empty line
    separates paragraphs.

    Raises:
        DataError: A row is broken, or its document is empty or a repeat; names file and line.
    """
    facts, dropped = [], []
    lines: dict[str, str] = {}
    for row in read_rows(data_root, source, _DOCUMENTS):
        question = bare_question(spaced(row.values["question"]))
        answers = row.values["answer"]
        if not question or not answers or not are_texts(answers) or not all(map(as_written, answers)):
            raise DataError(f"{row.where}: a document needs a question and accepted answers, as non-empty texts")
        parts = row.values["document"]
        texts = _passages([parts] if isinstance(parts, str) else parts, source)
        if not texts:
            raise DataError(f"{row.where}: column 'document' is empty")
        key = text_key("".join(texts))
        if key in lines:
            raise DataError(
                f"{row.where}: the document is the same as in {lines[key]}; a document is learned once and asked once"
            )
        lines[key] = row.place
        if text_key(question) in taken:
            dropped.append("asked by a held-out set")
        else:
            facts += _document_facts(f"document-{row.number:05d}", texts, question, tuple(map(spaced, answers)))
    log_dropped("facts (documents)", len(lines) - len(dropped), dropped)
    return facts


def read_simpleqa_documents(data_root: str | None, source: Mapping, taken: set[str]) -> list[Fact]:
    """The passages of the Wikipedia articles that SimpleQA cites for its questions (Lin et al., 2025, section 5).

    A row has ``question``, ``answer`` and ``urls``. Articles are fetched as plain text, in today's version, and kept in
    ``source["pages_folder"]``. Questions without an English article are dropped, and so are those whose articles cannot
    be fetched or do not contain the answer.

    Raises:
        DataError: A row is broken, or Wikipedia cannot be reached.
    """
    wikipedia = Wikipedia(source["endpoint"], Path(source["pages_folder"]))
    facts, dropped, kept, seen = [], [], 0, set(taken)
    for row in read_rows(data_root, source, {**SIMPLEQA, "urls": list}):
        pair = simple_pair(row)
        urls = [url for url in dict.fromkeys(row.values["urls"]) if isinstance(url, str) and is_article(url)]
        if not pair.key or not pair.answers or pair.key in seen:
            dropped.append("asked before, or without a question or an answer")
            continue
        seen.add(pair.key)
        texts = [text for text in map(wikipedia.text, urls) if text]
        if not urls:
            dropped.append("without an article of Wikipedia")
        elif not texts:
            dropped.append("whose articles could not be fetched")
        elif not holds_answer(" ".join(texts), pair.answers):
            dropped.append("whose articles do not hold the answer")
        else:
            kept += 1
            name = f"simpleqa-{row.number:05d}"
            facts += _document_facts(name, _passages(texts, source), pair.question, pair.answers)
    log_dropped("facts (documents)", kept, dropped)
    return facts


def _passages(texts: Sequence[str], source: Mapping) -> list[str]:
    return [passage for text in texts for passage in passages(text, source["passage_words"])]


def _document_facts(name: str, texts: Sequence[str], question: str, answers: tuple[str, ...]) -> list[Fact]:
    """One fact per passage, all with one subject; ``stream.order: subjects`` keeps them together and in order."""
    last = len(texts)
    return [
        Fact(
            fact_id=f"{name}-passage-{number:04d}",
            subject=name,
            train_prompts=(),
            unseen_prompts=(),
            question=question if number == last else "",
            answers=answers if number == last else (),
            train_texts=(text,),
            is_passage=True,
        )
        for number, text in enumerate(texts, start=1)
    ]
