"""Many wordings of one fact, composed without a model: openings before question frames, or before its own wordings."""

import dataclasses
import itertools
from collections.abc import Iterator

from smf.errors import ConfigError
from smf.seeding import python_generator
from smf.streams.facts import Fact
from smf.wordings.passage_templates import passage_wordings

_SHORT_OPENINGS = (
    "As many people know, ",
    "For the record, ",
    "In short, ",
    "It is well documented that ",
    "It turns out that ",
    "Just to be clear, ",
    "Keep in mind that ",
    "Let us note that ",
    "One should remember that ",
    "There is no doubt that ",
    "To sum up, ",
)
_SPEAKERS = (
    "A recent report",
    "A well-read friend",
    "An old almanac",
    "My teacher",
    "Our neighbour",
    "The encyclopaedia",
    "The guide book",
    "The local newspaper",
    "The quiz master",
    "The radio host",
)
_VERBS = (
    "assures us that",
    "confirms that",
    "explains that",
    "makes clear that",
    "mentions that",
    "points out that",
    "says that",
    "states that",
)
OPENINGS = ("", *_SHORT_OPENINGS, *(f"{speaker} {verb} " for speaker, verb in itertools.product(_SPEAKERS, _VERBS)))

QUESTION_FORMS = (
    'the answer to the question "{question}?" is',
    'the right reply to "{question}?" is',
    'the correct response to "{question}?" is',
    'anyone who asks "{question}?" should be told',
    'whoever wonders "{question}?" is looking for',
    'the solution to "{question}?" is',
    'there is one good answer to "{question}?", namely',
    'what is meant by "{question}?" is',
    'the question "{question}?" is settled by',
    'to those who ask "{question}?" the reply is',
    'people who want to know "{question}?" learn that it is',
    'the fact behind the question "{question}?" is',
)

# Words that lose their capital letter after an opening; a name must keep it.
_NO_NAMES = frozenset(
    "A An At By For From He Her His If In It Its On She That The Their There They This To With".split()
)


def template_wordings(fact: Fact, number: int, seed: int) -> Fact:
    """The fact with ``number`` training wordings: its own first, then composed ones, no two the same.

    A fact whose own wordings all contain its question gets ``OPENINGS`` and ``QUESTION_FORMS`` around the question; any
    other fact gets ``OPENINGS`` before its own wordings. A passage gets the texts of
    :func:`smf.wordings.passage_templates.passage_wordings`, and fewer than ``number`` if it has too few sentences.

    Args:
        fact: The fact.
        number: Training wordings wanted.
        seed: Seed of the choice.

    Raises:
        ConfigError: A fact that is not a passage has fewer wordings.
    """
    rng = python_generator(seed, "templates", fact.fact_id)
    if fact.is_passage:
        return dataclasses.replace(fact, train_texts=tuple(passage_wordings(fact.train_texts[0], number, rng)))
    own = [(True, prompt) for prompt in fact.train_prompts] + [(False, text) for text in fact.train_texts]
    composed = sorted(set(_composed(fact)) - set(own) - {(True, prompt) for prompt in fact.unseen_prompts})
    missing = number - len(own)
    if missing > len(composed):
        raise ConfigError(
            f"stream.paraphrases.number is {number}, but templates give the fact {fact.fact_id!r} only "
            f"{len(own) + len(composed)} wordings; lower it, or give the fact more statements"
        )
    chosen = own[:number] if missing <= 0 else own + rng.sample(composed, missing)
    return dataclasses.replace(
        fact,
        train_prompts=tuple(text for is_prompt, text in chosen if is_prompt),
        train_texts=tuple(text for is_prompt, text in chosen if not is_prompt),
    )


def taught_by_its_question(fact: Fact) -> bool:
    """Whether the fact has no statement of its own: each of its wordings contains its question."""
    wordings = (*fact.train_prompts, *fact.train_texts)
    return bool(fact.question) and all(fact.question in wording for wording in wordings)


def _composed(fact: Fact) -> Iterator[tuple[bool, str]]:
    """All wordings that can be composed: for each, whether the answer completes it, and the text."""
    if taught_by_its_question(fact):
        forms = [form.format(question=fact.question) for form in QUESTION_FORMS]
        yield from ((True, _joined(opening, form)) for opening in OPENINGS for form in forms)
    else:
        yield from ((True, _joined(opening, prompt)) for opening in OPENINGS for prompt in fact.train_prompts)
        sentences = [text for text in fact.train_texts if "\n" not in text]  # an opening belongs before a sentence
        yield from ((False, _joined(opening, text)) for opening in OPENINGS for text in sentences)


def _joined(opening: str, statement: str) -> str:
    if not opening:
        return statement[:1].upper() + statement[1:]
    first, space, rest = statement.partition(" ")
    return opening + (first.lower() if first in _NO_NAMES else first) + space + rest
