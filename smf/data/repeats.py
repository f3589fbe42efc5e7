"""Find repeated facts, and facts that contradict each other, in a user's file."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from smf.data.questions import log_dropped
from smf.errors import DataError
from smf.streams.facts import Fact
from smf.streams.normalize import text_key

logger = logging.getLogger(__name__)

_MOST_NAMED = 5


def without_repeats(
    placed: Iterable[tuple[str, Fact]], *, allow_updates: bool, dropped: Sequence[str] = ()
) -> list[Fact]:
    """The facts, each once.

    A fact that repeats an earlier one word for word is left out, whatever its id. Two facts contradict each other if
    they ask the same question or complete the same prompt, apart from case, punctuation and spaces, and have no answer
    in common. Paraphrases of the same question are not recognised. A fact does not contradict those that it says it
    ``replaces``; they are all kept.

    Args:
        placed: The location of each fact, for error messages, and the fact.
        allow_updates: Whether the later of two contradicting facts replaces the earlier one, which is then not taught.
        dropped: Reasons why earlier steps dropped rows, for the log.

    Raises:
        DataError: Two facts contradict each other and ``allow_updates`` is false, or two facts share an id.
    """
    kept: dict[str, Fact] = {}
    ids: dict[str, str] = {}
    asking: dict[tuple[str, str], list[str]] = {}  # locations of each question and each prompt
    said: dict[Fact, str] = {}
    outdated: dict[str, set[str]] = {}  # for each fact_id, those that it replaces, directly or through others
    repeated, replaced = [], []
    for where, fact in placed:
        outdated[fact.fact_id] = {fact.replaces, *outdated.get(fact.replaces, ())} - {""}
        for key, text in _asked(fact):
            disagreeing = [place for place in asking.get(key, ()) if _disagree(kept[place], fact)]
            for earlier in [place for place in disagreeing if kept[place].fact_id not in outdated[fact.fact_id]]:
                if not allow_updates:
                    _refuse(where, fact, earlier, kept[earlier], text)
                replaced.append(f"{_place(earlier)} (by {_place(where)})")
                gone = kept.pop(earlier)
                ids.pop(gone.fact_id)
                said.pop(_content(gone))
                for other, _ in _asked(gone):
                    asking[other].remove(earlier)
        if (content := _content(fact)) in said:
            repeated.append(f"{_place(where)} (as {_place(said[content])})")
            continue
        if fact.fact_id in ids:
            earlier = _place(ids[fact.fact_id])
            raise DataError(f"{where}: fact_id {fact.fact_id!r} was used before, in {earlier}; rename one of them")
        kept[where], said[content], ids[fact.fact_id] = fact, where, where
        for key, _ in _asked(fact):
            asking.setdefault(key, []).append(where)
    for many, what in ((repeated, "that say what an earlier one says"), (replaced, "that a later one replaces")):
        if many:
            named = "; ".join([*many[:_MOST_NAMED], *(["…"] if len(many) > _MOST_NAMED else [])])
            logger.warning("facts left out %s: %d: %s", what, len(many), named)
    reasons = [*dropped, *("said before" for _ in repeated), *("replaced by a later one" for _ in replaced)]
    log_dropped("facts", len(kept), reasons)
    return list(kept.values())


def _place(where: str) -> str:
    """The line or row of "file, line 3"; all facts come from one file."""
    return where.rsplit(", ", 1)[-1]


def _asked(fact: Fact) -> list[tuple[tuple[str, str], str]]:
    """The question and prompts that ask for the answer: for each a key, equal for equal ones, and the text."""
    prompts = fact.train_prompts
    if not fact.question and not prompts:  # prompts that only test may be so short that they fit many facts
        prompts = fact.unseen_prompts
    texts = [("question", fact.question), *(("prompt", prompt) for prompt in prompts)]
    found = {(kind, key): text for kind, text in texts if (key := text_key(text))}
    return list(found.items())


def _disagree(one: Fact, other: Fact) -> bool:
    keys = [{text_key(answer) or answer.strip() for answer in fact.answers} for fact in (one, other)]
    return not keys[0] & keys[1]


def _content(fact: Fact) -> Fact:
    """A fact without its id and subject, to compare what facts say."""
    return replace(fact, fact_id="", subject="")


def _refuse(where: str, fact: Fact, earlier: str, other: Fact, text: str) -> None:
    raise DataError(
        f"{where}: {text!r} has the answer {fact.answers[0]!r}, in {_place(earlier)} it has {other.answers[0]!r}; "
        "leave one of the facts out, list both answers where both are right, or let the later fact replace the earlier "
        "one (smf teach --allow-updates; in a config allow_updates: true; or 'replaces' in the later fact, so that a "
        "stream teaches both)"
    )
