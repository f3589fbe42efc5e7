"""Other subjects in the place of a fact's own: contrast texts for facts of which none can be spared."""

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
"""Subjects of many kinds that anyone writes about; which of them a fact is about, they must not take."""

_NO_NAMES = frozenset("a an and da first my of old the . ? - '".split())


def swapped_texts(facts: Sequence[Fact], seed: int) -> Iterator[list[Example]]:
    """The facts with other subjects in place of their own: of each its wordings, without the answer.

    Every fact comes once with one other subject, then every one with a second, and so on, in random order. A subject
    that shares a name with one of the facts' own, or with an answer, is no other one. The subject is found as
    :func:`smf.streams.write_places.write_places` finds it; a wording that does not name it is left out, and so is a
    fact none of whose wordings does.

    Args:
        facts: What is taught.
        seed: Of the order.
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
    """How many training wordings do not name a subject, so that no other one can take its place."""
    return sum(form is None for fact in facts for form in _forms(fact))


def _others(facts: Sequence[Fact]) -> list[str]:
    """The subjects that no fact is about."""
    own = {key for fact in facts for text in (fact.subject, *fact.answers) for key in _names(text)}
    return [subject for subject in OTHER_SUBJECTS if not own & _names(subject)]


def _names(text: str) -> set[str]:
    """The keys of the words that tell a subject from others."""
    return {word.key for word in placed_words(text)} - _NO_NAMES


def _forms(fact: Fact) -> list[list[str] | None]:
    """Each training wording, without its answer, in the parts between which its subject stands; None without one."""
    forms: list[list[str] | None] = []
    for text, places in zip(fact.training_texts(), write_places(fact, "subject"), strict=True):
        named = places.found_by in ("subject", "shared")
        parts = _parts(text.prompt or text.completion, places.spans) if named else []
        if parts and not text.prompt:
            parts = _before_answer(parts, fact.answers)
        forms.append(parts if any(_says_something(part) for part in parts) else None)
    return forms


def _parts(text: str, spans: Sequence[Span]) -> list[str]:
    """What stands around the spans."""
    edges = [0, *(edge for span in sorted(spans) for edge in span), len(text)]
    return [text[start:stop] for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _before_answer(parts: Sequence[str], answers: Sequence[str]) -> list[str]:
    """The parts up to the answer behind the subject; without it where it stands before."""
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
