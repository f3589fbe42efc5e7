"""The words of its training texts at which a fact may be written: its subject, or its answer too (docs/selection.md).

Text before a word changes which slots the word reads; text after it does not. So the subject reads nearly the same
slots in every wording, even in those that were never trained.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from smf.errors import DataError
from smf.streams.facts import Fact
from smf.streams.normalize import text_key
from smf.streams.places import Span, Word, longest_shared, occurrences, placed_words

logger = logging.getLogger(__name__)

WriteAt = Literal["all", "subject", "subject_and_answer"]
FoundBy = Literal["subject", "shared", "all", "none"]
_INSTEAD: dict[FoundBy, str] = {
    "shared": "the longest run of words that all texts of the fact share",
    "all": "every word, as they share none",
    "none": "nothing, as they share none, but others hold the subject",
}


@dataclass(frozen=True)
class WritePlaces:
    """Where in one training text a fact may be written.

    Attributes:
        spans: Characters of the text, prompt and completion.
        found_by: What the spans cover besides the answer: the fact's subject; if the text does not hold it, the longest
            run of words outside the answer that all texts of the fact share; if there is none, the whole text, or
            nothing if other texts of the fact hold the subject.
    """

    spans: tuple[Span, ...]
    found_by: FoundBy


def write_places(fact: Fact, write_at: WriteAt) -> list[WritePlaces]:
    """Where each training text (:meth:`~smf.streams.facts.Fact.training_texts`) may be written, if not everywhere.

    The subject is searched for in a prompt, but not in the answer that completes it.
    """
    texts = fact.training_texts()
    words = [placed_words(text.prompt or text.completion) for text in texts]
    subject = _keys(fact.subject)
    held = [occurrences(found, subject) for found in words]
    if not all(held) and _is_stand_in(fact):
        held = [[] for _ in texts]
    answers = [[span for answer in fact.answers for span in occurrences(found, _keys(answer))] for found in words]
    outside = [_without(found, spans) for found, spans in zip(words, answers, strict=True)]
    shared = [] if all(held) else longest_shared(outside)
    places = []
    for text, found, of_subject, of_answer in zip(texts, outside, held, answers, strict=True):
        found_by: FoundBy = "subject"
        spans = of_subject
        if not spans:
            spans, found_by = occurrences(found, shared), "shared"
        if not spans and any(held):
            found_by = "none"
        elif not spans:
            spans, found_by = [(0, len(text.prompt + text.completion))], "all"
        if write_at == "subject_and_answer":
            completed = (len(text.prompt) + 1, len(text.prompt + text.completion))  # after the space
            spans = [*spans, *([completed] if text.prompt else of_answer)]
        places.append(WritePlaces(tuple(spans), found_by))
    return places


def writable_spans(fact: Fact, write_at: WriteAt) -> list[tuple[Span, ...]] | None:
    """The spans of each training text, after its context, that may be written; None if every text may be as a whole.

    The context before a prompt is not part of the fact and is never written: most later questions may follow the same
    context.
    """
    if write_at == "all":
        if not fact.train_contexts:
            return None
        spans: list[tuple[Span, ...]] = [((0, len(text.prompt + text.completion)),) for text in fact.training_texts()]
    else:
        spans = [place.spans for place in write_places(fact, write_at)]
    before = [len(context) for context in fact.contexts]
    before += [0] * (len(spans) - len(before))
    return [
        tuple((start + length, stop + length) for start, stop in found)
        for found, length in zip(spans, before, strict=True)
    ]


def _keys(text: str) -> list[str]:
    return [word.key for word in placed_words(text)]


def _is_stand_in(fact: Fact) -> bool:
    """Whether the fact's ``subject`` is only a stand-in, its question or one of its wordings, for want of a subject."""
    others = (fact.question, *fact.train_prompts, *fact.train_texts)
    return text_key(fact.subject) in {text_key(text) for text in others}


def _without(words: Sequence[Word], spans: Sequence[Span]) -> list[Word]:
    """The words, with those in a span masked (key "")."""
    return [word._replace(key="") if any(a <= word.start < stop for a, stop in spans) else word for word in words]


def require_subjects(facts: Sequence[Fact], *, shared: bool) -> None:
    """Refuse facts that cannot be located by their subject, before any is learned.

    Args:
        facts: The stream.
        shared: Whether the longest run of words that all texts of a fact share may stand in for its subject.

    Raises:
        DataError: No training text of a fact holds its subject; names the fact and the remedy.
    """
    for fact in facts:
        found = {place.found_by for place in write_places(fact, "subject")}
        if "subject" in found or (shared and "shared" in found):
            continue
        others = ", nor do they share a run of words" if shared else ""
        remedy = "" if shared else ", or set without_subject: shared, which takes the words that all its texts share"
        raise DataError(
            f"fact {fact.fact_id!r}: none of its training texts holds its subject {fact.subject[:60]!r}{others}; the "
            f"method edits at the subject's last token: correct the subject, or leave the fact out{remedy}"
        )


def log_write_places(facts: Sequence[Fact], write_at: WriteAt) -> None:
    """Log in how many training texts the subject was not found, and what may be written there instead."""
    if write_at == "all":
        return
    found = [(fact, place.found_by) for fact in facts for place in write_places(fact, write_at)]
    missing = [(fact, found_by) for fact, found_by in found if found_by != "subject"]
    if not missing:
        return
    counts: Counter[str] = Counter(found_by for _, found_by in missing)
    parts = "; ".join(f"{text}: {counts[found_by]}" for found_by, text in _INSTEAD.items() if counts[found_by])
    first = missing[0][0]
    logger.warning(
        "write_at is %s, but %d of %d training texts do not hold their fact's subject, as %r of fact %r. Written there "
        "instead: %s",
        write_at,
        len(missing),
        len(found),
        first.subject[:60],
        first.fact_id,
        parts,
    )
