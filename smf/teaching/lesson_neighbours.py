"""Neighbours, which teaching must not change: a fact's question about well-known subjects, or well-known questions."""

import random
from collections.abc import Sequence

from smf.seeding import python_generator
from smf.streams.facts import Fact, question_prompt
from smf.streams.places import occurrences, placed_words

_SUBJECTS = {
    "person": ("Galileo Galilei", "Abraham Lincoln", "Frida Kahlo", "Mahatma Gandhi", "Winston Churchill", "Beethoven"),
    "organisation": ("Apple", "Nokia", "Volkswagen", "Oxford University", "Sony", "IKEA"),
    "country": ("France", "Japan", "Canada", "Norway", "India", "Mexico"),
    "place": ("Lake Geneva", "the Grand Canyon", "the Eiffel Tower", "Venice", "Mount Fuji", "the Rhine"),
    "work": ("War and Peace", "The Odyssey", "Don Quixote", "Faust", "Moby-Dick", "Macbeth"),
    "device": ("the light bulb", "the telescope", "the typewriter", "the radio", "the microscope", "the airplane"),
}
_TOLD_BY = {  # words of a question that tell the kind of its subject, most telling first
    "work": ("wrote", "novel", "book", "directed", "film", "song", "composed", "author", "painted"),
    "device": ("invented", "inventor", "patented"),
    "organisation": ("chief", "executive", "founded", "founder", "headquarters", "headquartered", "leads", "owns"),
    "country": ("capital", "currency", "president", "population", "language"),
    "person": ("born", "died", "married", "studied", "study", "play", "plays", "profession", "job", "nationality"),
    "place": ("long", "high", "deep", "tall", "located", "country", "continent", "river", "lake", "mountain"),
}
_WELL_KNOWN = (
    "what is the capital of France",
    "who wrote Romeo and Juliet",
    "in which country is Rome",
    "how many days are in a week",
    "what is the largest planet",
    "what is the opposite of hot",
    "which language is spoken in Austria",
    "who painted the Sistine Chapel",
    "what do bees make",
    "what is the chemical symbol of gold",
    "on which continent is Kenya",
    "who was the first president of the United States",
)
_OF_EACH = 2


def neighbour_prompts(facts: Sequence[Fact], most: int, seed: int) -> list[str]:
    """Prompts whose continuations teaching should not change, each once.

    All locality prompts of the facts are included. For a fact without any, its question is asked about well-known
    subjects of the same kind, if the question names its subject and its words tell the kind. Well-known questions fill
    up to ``most``. Prompts that a fact is itself asked or taught in are left out.

    Args:
        facts: The taught facts.
        most: Most prompts besides the facts' own locality prompts.
        seed: Seed of the choice.
    """
    own = [prompt for fact in facts for prompt in fact.locality_prompts]
    rng = python_generator(seed, "neighbours")
    made = [prompt for fact in facts if not fact.locality_prompts for prompt in _swapped(fact, rng)]
    made = list(dict.fromkeys(made))
    chosen = rng.sample(made, min(most, len(made)))
    general = [question_prompt(question) for question in _WELL_KNOWN]
    if any(not fact.locality_prompts for fact in facts):
        chosen += rng.sample(general, min(len(general), max(0, most - len(chosen))))
    taught = {prompt for fact in facts for prompt in (*fact.train_prompts, question_prompt(fact.question))}
    return [prompt for prompt in dict.fromkeys((*own, *chosen)) if prompt not in taught]


def _swapped(fact: Fact, rng: random.Random) -> list[str]:
    """The fact's question about other subjects of the same kind; none if the question does not tell the kind."""
    words = placed_words(fact.question)
    places = occurrences(words, [word.key for word in placed_words(fact.subject)])
    if not places or places == [(0, len(fact.question))]:
        return []
    start, stop = places[0]
    rest = {word.key for word in words if not start <= word.start < stop}
    kind = next((kind for kind, telling in _TOLD_BY.items() if rest & set(telling)), None)
    if kind is None:
        return []
    subjects = [subject for subject in _SUBJECTS[kind] if subject.casefold() != fact.subject.casefold()]
    return [
        question_prompt(fact.question[:start] + subject + fact.question[stop:])
        for subject in rng.sample(subjects, _OF_EACH)
    ]
