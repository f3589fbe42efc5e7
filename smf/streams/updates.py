"""Updates: facts of a stream that are taught again later in it, with another answer."""

import dataclasses
import random
from collections.abc import Mapping, Sequence

from smf.errors import ConfigError
from smf.seeding import python_generator
from smf.streams.facts import Fact
from smf.streams.replaced import agree


def most_updates(num_facts: int, facts_per_step: int = 1) -> int:
    """The most updates that a stream can hold: none shares a step with what it replaces, nor replaces another.

    Args:
        num_facts: Facts of the stream, the updates among them.
        facts_per_step: Facts that are learned together.
    """
    return max(0, (num_facts + 1 - facts_per_step) // 2)


def updates_of(stream: Mapping, num_facts: int) -> dict[str, int]:
    """How many facts of a seed's stream are updates, as parts of :class:`smf.stages.prepare.StreamPlan`.

    Args:
        stream: The config's ``stream``.
        num_facts: Facts of this seed's stream; a shorter one holds updates in proportion.

    Returns:
        ``updates`` and ``facts_per_step``; nothing if there are no updates.
    """
    if not stream["updates"]:
        return {}
    in_proportion = stream["updates"] * num_facts // stream["num_facts"]
    most = most_updates(num_facts, stream["facts_per_step"])
    return {"updates": min(in_proportion, most), "facts_per_step": stream["facts_per_step"]}


def with_updates(
    facts: Sequence[Fact], pool: Sequence[Fact], number: int, *, seed: int, facts_per_step: int = 1
) -> list[Fact]:
    """Put updates into a stream: each is a fact of it once more, in the same words, with another fact's answers.

    The facts that get one are drawn at random among those whose answer completes all of their training wordings: in
    whole texts the old answer would stay. So are the answers, among those of facts that ask the same of another
    subject and have no answer in common with the old ones, or of all facts if there are none; and so is the place,
    anywhere after the first ``facts_per_step`` places behind the fact that is replaced.

    Args:
        facts: The stream without updates.
        pool: The facts whose answers may be taken.
        number: How many updates.
        seed: The run's seed.
        facts_per_step: Facts that are learned together.

    Raises:
        ConfigError: Fewer facts can be replaced, or none of the pool has another answer.

    Example:
        >>> [(fact.fact_id, fact.answer, fact.replaces) for fact in with_updates(facts[:1], facts, 1, seed=0)]
        [('joel-quint', 'Tarnow', ''), ('joel-quint-update', 'Melvik', 'joel-quint')]
    """
    rng = python_generator(seed, "updates")
    linked = {fact.replaces for fact in facts}
    able = [
        fact
        for fact in facts[: len(facts) - facts_per_step + 1]
        if fact.train_prompts and not fact.train_texts and not fact.replaces and fact.fact_id not in linked
    ]
    if number > len(able):
        raise ConfigError(
            f"stream.updates is {number}, but of the {len(facts)} other facts of seed {seed}'s stream only {len(able)} "
            "can be replaced: the answer must complete all training wordings, and some steps must follow; lower "
            "stream.updates",
            ("stream", "updates"),
        )
    by_frame: dict[str, list[Fact]] = {}
    for fact in pool:
        if fact.answers:
            by_frame.setdefault(_frame(fact), []).append(fact)
    taken = {fact.fact_id for fact in (*facts, *pool)}
    stream = list(facts)
    for fact in rng.sample(able, number):
        given = _other(fact, by_frame.get(_frame(fact), ()), rng) or _other(fact, pool, rng)
        if given is None:
            raise ConfigError(
                f"stream.updates is {number}, but no fact of the data has another answer than {fact.fact_id!r}, which "
                f"has {fact.answer!r}; set stream.updates 0, or enlarge the data",
                ("stream", "updates"),
            )
        fact_id = f"{fact.fact_id}-update"
        while fact_id in taken:
            fact_id += "-update"
        taken.add(fact_id)
        update = dataclasses.replace(fact, fact_id=fact_id, answers=given.answers, replaces=fact.fact_id)
        update = _two_hop_of(update, given)
        first = next(place for place, other in enumerate(stream) if other.fact_id == fact.fact_id) + facts_per_step
        stream.insert(rng.randint(first, len(stream)), update)
    return stream


def _frame(fact: Fact) -> str:
    """What a fact asks, without its subject: equal for facts that ask the same of different subjects."""
    return (fact.question or (*fact.train_prompts, *fact.train_texts)[0]).replace(fact.subject, "")


def _two_hop_of(update: Fact, given: Fact) -> Fact:
    """The update with the two-hop answers that go with its new answer; without the question if nothing tells them."""
    asked = [each.two_hop_question.replace(each.subject, "") for each in (update, given)]
    if asked[0] == asked[1]:
        return dataclasses.replace(update, two_hop_answers=given.two_hop_answers)
    return dataclasses.replace(update, two_hop_question="", two_hop_answers=())


def _other(fact: Fact, candidates: Sequence[Fact], rng: random.Random) -> Fact | None:
    """A random candidate with other answers."""
    others = [other for other in candidates if other.answers and not agree(other.answers, fact.answers)]
    return rng.choice(others) if others else None
