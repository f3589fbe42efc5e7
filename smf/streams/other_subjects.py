"""Contrast texts made by swapping the subjects of facts, for when no fact can be set aside."""

from collections.abc import Iterable, Iterator, Sequence

from smf.seeding import python_generator
from smf.streams.examples import Example
from smf.streams.facts import Fact
from smf.streams.places import Span, occurrences, placed_words
from smf.streams.write_places import write_places

OTHER_SUBJECTS = (
    # people
    *("Albert Einstein", "Marie Curie", "William Shakespeare", "Mozart", "Cleopatra", "Leonardo da Vinci"),
    *("Queen Victoria", "Nelson Mandela", "Isaac Newton", "Jane Austen", "Charles Darwin", "my grandmother"),
    *("Dr. Martin Walker", "Anna Schmidt", "Carlos Fernandez", "Li Wei", "Fatima Hassan", "Tom Baker"),
    # places
    *("Paris", "London", "New York", "Tokyo", "Egypt", "Brazil", "Germany", "California", "Mount Everest"),
    *("the Amazon", "the Sahara", "Lake Victoria", "the old harbour", "the village of Ashford"),
    # companies and institutions
    *("Microsoft", "Toyota", "Coca-Cola", "Siemens", "Boeing", "the BBC", "Harvard University", "the Red Cross"),
    *("Northfield Bank", "Green Valley Foods", "the British Museum"),
    # things
    *("the telephone", "the steam engine", "the bicycle", "penicillin", "gold", "the violin", "a laptop"),
    *("the kitchen clock", "chess", "football", "the elephant", "the human heart"),
    # works and events
    *("Hamlet", "the Mona Lisa", "Star Wars", "Harry Potter", "The Times", "the Bible"),
    *("the French Revolution", "the First World War", "the Olympic Games"),
)
"""Common subjects of many kinds; one that a fact is about is not used."""

_NO_NAMES = frozenset("a an and da first my of old the . ? - '".split())


def swapped_texts(facts: Sequence[Fact], seed: int) -> Iterator[list[Example]]:
    """Yield the wordings of each fact, without the answer, with another subject in place of its own.

    Every fact comes once with one other subject, then once with a second, and so on, in random order. A subject that
    shares a name with a fact's own subject or with an answer is not used. The fact's subject is found as in
    :func:`smf.streams.write_places.write_places`; a wording that does not name it is left out, and so is a fact none of
    whose wordings does.

    Args:
        facts: The taught facts.
        seed: Seed of the order.
    """
    rng = python_generator(seed, "other subjects")
    others = _others(facts)
    forms = [forms for fact in facts if (forms := [form for form in _forms(fact) if form is not None])]
    orders = [rng.sample(others, len(others)) for _ in forms]
    for turn in range(len(others)):
        for index in rng.sample(range(len(forms)), len(forms)):
            texts = [Example("", _filled(form, orders[index][turn])) for form in forms[index]]
            yield list(dict.fromkeys(texts))


def num_nameless(facts: Iterable[Fact]) -> int:
    """Number of training wordings that name no subject, so that none can be swapped."""
    return sum(form is None for fact in facts for form in _forms(fact))


def _others(facts: Sequence[Fact]) -> list[str]:
    """The subjects that share no name with any fact's subject or answers."""
    own = {key for fact in facts for text in (fact.subject, *fact.answers) for key in _names(text)}
    return [subject for subject in OTHER_SUBJECTS if not own & _names(subject)]


def _names(text: str) -> set[str]:
    """The keys of the words that tell a subject from others."""
    return {word.key for word in placed_words(text)} - _NO_NAMES


def _forms(fact: Fact) -> list[list[str] | None]:
    """Each training wording, without its answer, split at its subject; None if it does not name the subject."""
    forms: list[list[str] | None] = []
    for text, places in zip(fact.training_texts(), write_places(fact, "subject"), strict=True):
        named = places.found_by in ("subject", "shared")
        parts = _parts(text.prompt or text.completion, places.spans) if named else []
        if parts and not text.prompt:
            parts = _before_answer(parts, fact.answers)
        forms.append(parts if any(_says_something(part) for part in parts) else None)
    return forms


def _parts(text: str, spans: Sequence[Span]) -> list[str]:
    """The parts of the text outside the spans."""
    edges = [0, *(edge for span in sorted(spans) for edge in span), len(text)]
    return [text[start:stop] for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _before_answer(parts: Sequence[str], answers: Sequence[str]) -> list[str]:
    """The parts up to the answer that follows the subject; an answer before the subject is cut out."""
    kept: list[str] = []
    for number, part in enumerate(parts):
        words = placed_words(part)
        spans = [span for answer in answers for span in occurrences(words, [w.key for w in placed_words(answer)])]
        if spans and number:
            return [*kept, part[: min(spans)[0]].rstrip()]
        kept.append("".join(_parts(part, spans)))
    return kept


def _says_something(part: str) -> bool:
    return any(character.isalnum() for character in part)


def _filled(form: Sequence[str], subject: str) -> str:
    text = subject.join(form).strip()
    return text[:1].upper() + text[1:]
