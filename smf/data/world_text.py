"""The world as text: pretraining text, and held-out sets in the NaturalQuestions and HellaSwag schemas."""

import random

from smf.data.world import Activity, World
from smf.seeding import python_generator
from smf.streams.examples import Example
from smf.streams.facts import question_prompt
from smf.wordings import sentences


def pretraining_text(world: World, *, renderings: int, seed: int) -> list[Example]:
    """The base model's pretraining text: each old fact in all wordings and as a question, and each activity retold.

    If employers have cities, these are told at the end, and asked for of each old person.

    Args:
        world: The world; new people do not occur in the result.
        renderings: How often each activity is retold, with other actors and adverbs.
        seed: Seed of the retellings.
    """
    rng = python_generator(seed, "retellings")
    examples = [
        Example(prompt, f" {person.values[relation]}{end}")
        for person in world.old_people
        for relation, wording in sentences.RELATIONS.items()
        for prompt, end in _forms(person.name, wording)
    ]
    for activity in world.activities:
        for _ in range(renderings):
            context, rest = _retell(activity, rng.choice(sentences.ACTORS), rng.randrange(1, sentences.NUM_STEPS), rng)
            examples.append(Example(f"{activity.label}: {context}", rest))
    for employer, city in world.seats.items():
        examples += [Example(prompt, f" {city}{end}") for prompt, end in _forms(employer, sentences.SEAT)]
    for person in world.old_people if world.seats else ():
        city = world.seats[person.values["employer"]]
        examples += [Example(prompt, f" {city}{end}") for prompt, end in _forms(person.name, sentences.TWO_HOP)]
    return examples


def known_questions(world: World) -> list[dict]:
    """The old facts as questions, in the NaturalQuestions schema (``question``, ``answer``: accepted answers)."""
    return [
        {"question": wording.question.format(name=person.name), "answer": [person.values[relation]]}
        for person in world.old_people
        for relation, wording in sentences.RELATIONS.items()
    ]


def activity_items(world: World, *, items_per_activity: int, seed: int) -> list[dict]:
    """Unfinished activities with four endings, in the HellaSwag schema.

    Of the three wrong endings, one is another step of the same activity and two are steps of other activities.
    """
    rng = python_generator(seed, "activity items")
    items: list[dict] = []
    for activity in world.activities:
        for _ in range(items_per_activity):
            told = rng.randrange(2, sentences.NUM_STEPS)
            context, _ = _retell(activity, rng.choice(sentences.ACTORS), told, rng)
            ctx_a, _, last = context.rpartition(". ")
            right = activity.steps[told]
            misplaced = rng.choice([step for step in activity.steps[: told - 1] if step != right])
            others = [step for other in world.activities if other is not activity for step in other.steps]
            foreign = rng.sample(sorted(set(others) - set(activity.steps)), 2)
            endings = [right, misplaced, *foreign]
            rng.shuffle(endings)
            ctx_b = last[0].lower() + last[1:]
            items.append(
                {
                    "ind": len(items),
                    "activity_label": activity.label,
                    "ctx_a": f"{ctx_a}.",
                    "ctx_b": ctx_b,
                    "ctx": f"{ctx_a}. {last}",
                    "endings": [f"{ending}." for ending in endings],
                    "label": str(endings.index(right)),
                }
            )
    return items


def _forms(name: str, wording: sentences.Wording) -> list[tuple[str, str]]:
    statements = [(text.format(name=name), ".") for text in (*wording.train, *wording.test)]
    return [*statements, (question_prompt(wording.question.format(name=name)), "")]


def _retell(activity: Activity, actor: str, told: int, rng: random.Random) -> tuple[str, str]:
    """A retelling, cut before step ``told``: the context, which ends with "The person <adverb>", and the rest."""
    lines = [f"{actor} {activity.steps[0]}."]
    lines += [f"The person {rng.choice(sentences.ADVERBS)} {step}." for step in activity.steps[1:]]
    cut = len(lines[told]) - len(activity.steps[told]) - 2
    context = " ".join([*lines[:told], lines[told][:cut]])
    return context, " ".join([lines[told][cut:], *lines[told + 1 :]])
