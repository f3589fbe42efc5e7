"""The wordings that `smf teach` teaches a fact in: its own ones, frames of its question, and the question as asked.

A user wants the question answered, so here the question trains too. In an experiment it never does: it is the test.
"""

import dataclasses
from collections.abc import Sequence

from smf.streams.asking import PLAIN, Asking, solved_examples
from smf.streams.examples import Example
from smf.streams.facts import Fact, question_prompt
from smf.streams.normalize import holds_answer
from smf.streams.places import occurrences, placed_words
from smf.wordings.contexts import behind_examples, behind_text
from smf.wordings.sentences import QUESTION_ANSWER_TEST, QUESTION_ANSWER_TRAIN

BEHIND_TEXT = 0.4
"""Share of a fact's wordings that stand behind other text; a few more steps, each dearer by as much text."""
BEHIND_EXAMPLES = 0.3
"""Share of those that stand behind solved examples, beside the question as it is asked."""


def question_frames(question: str) -> tuple[str, ...]:
    """Prompts that hold a question and that its answer completes; they train."""
    return tuple(frame.format(question=question) for frame in QUESTION_ANSWER_TRAIN)


def unseen_frames(question: str) -> tuple[str, ...]:
    """Other such prompts, which only ever test."""
    return tuple(frame.format(question=question) for frame in QUESTION_ANSWER_TEST)


def lesson_fact(fact: Fact, asking: Asking = PLAIN) -> Fact:
    """The fact as it is taught to someone's model.

    A fact with a question is also taught by frames of the question, plainly, and in the chat template or behind the
    solved examples if it is asked so. What was never taught tells whether it is known in other words: its own unseen
    prompts, or frames that are held back. A passage, and a fact without a question, stay as they are.

    Args:
        fact: The fact.
        asking: How questions are asked.
    """
    if fact.is_passage or not fact.question:
        return fact
    unseen = fact.unseen_prompts or unseen_frames(fact.question)
    plain = question_prompt(fact.question)
    asked = [(plain, "")]
    if asking.prompt_format == "chat":
        asked.append((asking.prompt(fact.question), ""))
    if asking.prompt_format == "few_shot":
        asked.append((plain, solved_examples()))
    own = zip(fact.train_prompts, fact.contexts, strict=True)
    prompts = dict.fromkeys((*own, *((frame, "") for frame in question_frames(fact.question)), *asked))
    kept = [(prompt, context) for prompt, context in prompts if prompt not in unseen]
    contexts = tuple(context for _, context in kept)
    return dataclasses.replace(
        fact,
        train_prompts=tuple(prompt for prompt, _ in kept),
        train_contexts=contexts if any(contexts) else (),
        unseen_prompts=unseen,
    )


def lesson_contexts(facts: Sequence[Fact], asking: Asking, texts: Sequence[Example], seed: int) -> list[Fact]:
    """Put some of the wordings that teach facts behind something: a fact shall be known in mid-conversation too.

    Args:
        facts: As they are taught, see :func:`lesson_fact`.
        asking: How questions are asked. In ``few_shot`` the wordings stand behind its solved examples.
        texts: Ordinary text, behind whose passages they stand otherwise.
        seed: Of the passages.
    """
    if asking.prompt_format == "few_shot":
        return behind_examples(facts, BEHIND_EXAMPLES)
    return behind_text(facts, texts, BEHIND_TEXT, seed)


def with_paraphrases(fact: Fact, texts: Sequence[str]) -> Fact:
    """The fact with paraphrases beside its own wordings.

    Of a text that names the subject before the answer only what leads to the answer is taught: a prompt that the answer
    completes. Any other text is taught whole.
    """
    prompts, whole = list(fact.train_prompts), list(fact.train_texts)
    for text in texts:
        if prompt := _prompt_before_answer(fact, text):
            prompts.append(prompt)
        else:
            whole.append(text)
    return dataclasses.replace(
        fact, train_prompts=tuple(dict.fromkeys(prompts)), train_texts=tuple(dict.fromkeys(whole))
    )


def without_their_subject(fact: Fact, texts: Sequence[str]) -> list[str]:
    """Those of ``texts`` that do not name the subject, although the fact's question does; the question is no name."""
    if fact.subject == fact.question or not holds_answer(fact.question, [fact.subject]):
        return []
    return [text for text in texts if not holds_answer(text, [fact.subject])]


def names_subject_nowhere(fact: Fact) -> bool:
    """Whether the fact has a subject of its own that neither its question nor any of its wordings holds."""
    return not any(
        holds_answer(text, [fact.subject]) for text in (fact.question, *fact.train_prompts, *fact.train_texts)
    )


def _prompt_before_answer(fact: Fact, text: str) -> str:
    """What stands before the taught answer, if that names the subject; "" otherwise."""
    if fact.is_passage:
        return ""
    places = occurrences(placed_words(text), [word.key for word in placed_words(fact.answers[0])])
    before = text[: places[0][0]].rstrip() if places else ""
    # White space parts a prompt from its answer; an answer in quotes or brackets has none before it.
    parted = bool(before) and text[len(before)].isspace()
    return before if parted and holds_answer(before, [fact.subject]) else ""
