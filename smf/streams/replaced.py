"""Facts that replace earlier ones: which of the facts taught so far count, and what took the others' place."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from smf.errors import ConfigError, DataError
from smf.streams.normalize import as_written, text_key, words_of

if TYPE_CHECKING:
    from smf.streams.facts import Fact


def agree(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists of accepted answers share one, apart from case, punctuation, articles and spaces."""
    return not _keys(one).isdisjoint(_keys(other))


def require_replaceable(fact: "Fact", earlier: Mapping[str, "Fact"], where: str) -> None:
    """Check what a fact says that it replaces; a fact that replaces nothing passes.

    Args:
        fact: The fact.
        earlier: The facts before it in its file, by ``fact_id``.
        where: The file and the line; messages begin with it.

    Raises:
        DataError: There is no such fact before it, another fact replaces that one already, or it has the same answer or
            none.
    """
    if not fact.replaces:
        return
    says = f"{where}: fact {fact.fact_id!r} replaces {fact.replaces!r}"
    if fact.replaces not in earlier:
        raise DataError(
            f"{says}, but no fact before it has this fact_id; put that fact in before it, correct the name, or drop "
            "'replaces'"
        )
    if others := [other for other, found in earlier.items() if found.replaces == fact.replaces]:
        raise DataError(f"{says}, which {others[0]!r} replaces already; let it replace {others[0]!r}")
    if not fact.answers or not earlier[fact.replaces].answers:
        raise DataError(f"{says}, but one of the two has no answer; only answers can change: drop 'replaces'")
    if agree(fact.answers, earlier[fact.replaces].answers):
        raise DataError(
            f"{says}, but has the same answer {fact.answer!r}; give the answer that is true now, or drop 'replaces'"
        )


def relinked(facts: Sequence["Fact"], pool: Sequence["Fact"]) -> list["Fact"]:
    """The facts, each of which replaces one that is there too.

    A fact whose predecessor was left out replaces that one's predecessor; one without any, or that went back to its
    answer, replaces nothing: nothing outdated is then taught.

    Args:
        facts: Some facts of ``pool``.
        pool: All facts, of which each replaces one of the others or none.
    """
    if not any(fact.replaces for fact in facts):
        return list(facts)
    kept, all_facts = {fact.fact_id: fact for fact in facts}, {fact.fact_id: fact for fact in pool}
    found = []
    for fact in facts:
        before = fact.replaces
        while before and before not in kept:
            before = all_facts[before].replaces
        if before and agree(fact.answers, kept[before].answers):
            before = ""
        found.append(dataclasses.replace(fact, replaces=before))
    return found


def replaced_first(facts: Sequence["Fact"]) -> list["Fact"]:
    """The facts in an order in which each comes after the one that it replaces.

    A fact and those that replace it change places among themselves; all others stay where they are.
    """
    after = {fact.replaces: fact for fact in facts if fact.replaces}
    places = {fact.fact_id: place for place, fact in enumerate(facts)}
    ordered = list(facts)
    for first in facts:
        if first.replaces or first.fact_id not in after:
            continue
        chain = [first]
        while chain[-1].fact_id in after:
            chain.append(after[chain[-1].fact_id])
        for place, fact in zip(sorted(places[fact.fact_id] for fact in chain), chain, strict=True):
            ordered[place] = fact
    return ordered


def newest(taught: Sequence["Fact"]) -> dict[str, "Fact"]:
    """For the ``fact_id`` of each fact that was replaced, the last one that took its place.

    Args:
        taught: The beginning of a stream, or all of it.
    """
    found: dict[str, Fact] = {}
    for fact in reversed(taught):
        if fact.replaces:
            found[fact.replaces] = found.get(fact.fact_id, fact)
    return found


def replaced_places(facts: Sequence["Fact"]) -> dict[int, int]:
    """For the place in a stream of each fact that replaces an earlier one of it, that one's place."""
    places = {fact.fact_id: place for place, fact in enumerate(facts)}
    return {place: places[fact.replaces] for place, fact in enumerate(facts) if fact.replaces}


def current(taught: Sequence["Fact"]) -> Sequence["Fact"]:
    """The facts that no later one replaces, in order."""
    replaced = newest(taught)
    return [fact for fact in taught if fact.fact_id not in replaced] if replaced else taught


def require_taught_after(facts: Sequence["Fact"], groups: Sequence[Sequence[int]]) -> None:
    """Check that each fact is taught after the one that it replaces.

    Args:
        facts: The stream.
        groups: Places of the facts that are learned together, group after group
            (:meth:`smf.streams.passes.Passes.groups`).

    Raises:
        DataError: The stream does not hold what a fact replaces.
        ConfigError: The two are taught together, or the outdated one is taught last.
    """
    if not any(fact.replaces for fact in facts):
        return
    places = {fact.fact_id: place for place, fact in enumerate(facts)}
    taught: dict[int, list[int]] = {}
    for number, group in enumerate(groups):
        for place in group:
            taught.setdefault(place, []).append(number)
    for place, fact in enumerate(facts):
        if not fact.replaces:
            continue
        if fact.replaces not in places:
            raise DataError(
                f"fact {fact.fact_id!r} replaces {fact.replaces!r}, which the stream does not teach; put that fact in "
                "before it, or drop 'replaces'"
            )
        old, new = taught[places[fact.replaces]], taught[place]
        if old[-1] >= new[-1] or set(old) & set(new):
            raise ConfigError(
                f"fact {fact.fact_id!r} replaces {fact.replaces!r}, but is not taught after it; teach fewer facts "
                "together (stream.facts_per_step), or each once (stream.epochs)"
            )


def _keys(answers: Sequence[str]) -> set[str]:
    words = {" ".join(words_of(answer)) for answer in answers} - {""}
    return words | {text_key(answer) or as_written(answer) for answer in answers}
