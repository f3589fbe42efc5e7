"""A closed world of invented people and scripted activities, in which knowledge can be measured exactly.

One seed determines everything. The base model knows the old people; facts about new people arrive in streams.
"""

import random
from dataclasses import dataclass, field
from typing import Any

from smf.errors import ConfigError
from smf.seeding import python_generator
from smf.streams.facts import Fact
from smf.wordings import sentences

_ONSETS = "b br c ch d dr f g gr h j k kl l m n p pr qu r s sh sk st t th tr v w z".split()
_VOWELS = "a e i o u ai ea io ou".split()
_CODAS = "l m n r s th x nd rt sk lm ".split(" ")
_ENDINGS = {
    "first_name": ("a", "o", "in", "el", "is"),
    "last_name": ("er", "ard", "ow", "man", "ley"),
    "birth_city": ("burg", "ton", "ford", "stad", "mouth"),
    "employer": ("tec", "corp", "soft", "dyne", "works"),
    "school": ("dale", "crest", "gate", "minster", "bridge"),
    "field": ("ology", "ics", "onomy", "istry", "graphy"),
}


@dataclass(frozen=True)
class Person:
    """An invented person: a unique name and one value for each relation."""

    name: str
    values: dict[str, str]


@dataclass(frozen=True)
class Activity:
    """A scripted activity: a label and its steps in their only order."""

    label: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class World:
    """People that the base model knows, people that it has never met, activities, and the city of each employer."""

    old_people: tuple[Person, ...]
    new_people: tuple[Person, ...]
    activities: tuple[Activity, ...]
    seats: dict[str, str] = field(default_factory=dict)


def build_world(
    *, num_old_people: int, num_new_people: int, num_values: int, num_activities: int, seed: int, two_hop: bool = False
) -> World:
    """Invent a world.

    Args:
        num_old_people: People whose facts the base model is pretrained on.
        num_new_people: People whose facts only the stream teaches.
        num_values: Different values of each relation (cities, employers, …), shared by old and new people.
        num_activities: Scripted activities.
        seed: Determines everything.
        two_hop: Whether each employer has its head office in a city; nothing else changes.

    Raises:
        ConfigError: The word lists cannot provide so many names, values or activities.
    """
    rng = python_generator(seed, "world")
    words = _WordMaker(rng)
    num_people = num_old_people + num_new_people
    # Several people share every name part, and only the pair tells them apart: a new person's name consists of parts
    # that the base model has seen.
    first_names = words.make("first_name", max(4, round(2 * num_people**0.5)))
    last_names = words.make("last_name", max(8, round(4 * num_people**0.5)))
    names = rng.sample([f"{first} {last}" for first in first_names for last in last_names], num_people)
    values = {relation: words.make(relation, num_values) for relation in sentences.RELATIONS}
    people = tuple(
        Person(name, {relation: rng.choice(values[relation]) for relation in sentences.RELATIONS}) for name in names
    )
    activities = _build_activities(num_activities, rng)
    placed = python_generator(seed, "seats")
    seats = {employer: placed.choice(values["birth_city"]) for employer in values["employer"]} if two_hop else {}
    return World(people[:num_old_people], people[num_old_people:], activities, seats)


def new_facts(world: World) -> list[Fact]:
    """The facts about new people, four per person; if employers have cities, theirs have two-hop questions."""
    return [
        Fact(
            fact_id=f"{person.name.replace(' ', '-').lower()}-{relation}",
            subject=person.name,
            train_prompts=tuple(text.format(name=person.name) for text in wording.train),
            unseen_prompts=tuple(text.format(name=person.name) for text in wording.test),
            question=wording.question.format(name=person.name),
            answers=(person.values[relation],),
            **_two_hop(world, person, relation),
        )
        for person in world.new_people
        for relation, wording in sentences.RELATIONS.items()
    ]


def _two_hop(world: World, person: Person, relation: str) -> dict[str, Any]:
    if relation != "employer" or not world.seats:
        return {}
    question = sentences.TWO_HOP.question.format(name=person.name)
    return {"two_hop_question": question, "two_hop_answers": (world.seats[person.values[relation]],)}


def _build_activities(num_activities: int, rng: random.Random) -> tuple[Activity, ...]:
    labels = [(verb, thing) for verb in sentences.ACTIVITY_VERBS for thing in sentences.ACTIVITY_THINGS]
    if num_activities > len(labels):
        raise ConfigError(f"data.world.num_activities is {num_activities}; at most {len(labels)} can be told apart")
    activities = []
    for verb, thing in rng.sample(labels, num_activities):
        tools = rng.sample(sentences.ACTIVITY_TOOLS, sentences.NUM_STEPS)
        actions = rng.sample(sentences.ACTIVITY_ACTIONS, sentences.NUM_STEPS)
        steps = tuple(f"{action} the {tool}" for action, tool in zip(actions, tools, strict=True))
        activities.append(Activity(f"{verb} a {thing}", steps))
    return tuple(activities)


class _WordMaker:
    """Invents words of two syllables and a typical ending; never the same word twice."""

    def __init__(self, rng: random.Random):
        self._rng = rng
        self._used: set[str] = set()

    def make(self, kind: str, count: int) -> list[str]:
        # Rejection sampling gets slow when most words are taken.
        most = len(_ONSETS) * len(_VOWELS) * len(_CODAS) * len(_ENDINGS[kind]) // 2
        if count > most:
            raise ConfigError(
                f"the world asks for {count} words of kind {kind!r}, at most {most} can be invented; "
                "lower data.world.num_values or the number of people"
            )
        words: list[str] = []
        while len(words) < count:
            word = "".join(
                (
                    self._rng.choice(_ONSETS),
                    self._rng.choice(_VOWELS),
                    self._rng.choice(_CODAS),
                    self._rng.choice(_ENDINGS[kind]),
                )
            )
            word = word if kind == "field" else word.capitalize()
            if word.lower() not in self._used:
                self._used.add(word.lower())
                words.append(word)
        return words
