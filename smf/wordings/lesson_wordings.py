"""The wordings in which `smf teach` teaches a fact: its own, frames of its question, and the question as asked.

A user wants the question answered, so here it trains too. In an experiment it never trains, because it is the test.
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
"""Share of a fact's wordings that follow other text; costs a few more steps, and the extra text in each."""
BEHIND_EXAMPLES = 0.3
"""Share of a fact's wordings that follow solved examples, besides the question as it is asked."""


def question_frames(question: str) -> tuple[str, ...]:
    """Training prompts that contain a question and that its answer completes."""
    return tuple(frame.format(question=question) for frame in QUESTION_ANSWER_TRAIN)


def unseen_frames(question: str) -> tuple[str, ...]:
    """Other such prompts, which only test."""
    return tuple(frame.format(question=question) for frame in QUESTION_ANSWER_TEST)


def lesson_fact(fact: Fact, asking: Asking = PLAIN) -> Fact:
    """The fact in all wordings that teach it to a user's model.

    A fact with a question is also taught by frames of the question, by the plain question, and by the question in the
    chat template or after the solved examples if it is asked that way. Wordings that are never taught, its own unseen
    prompts or held-out frames, test whether it is known in other words. A passage, and a fact without a question, stay
    as they are.

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
    """Give some of the training wordings a context, so that facts are also known in mid-conversation.

    Args:
        facts: As they are taught, see :func:`lesson_fact`.
        asking: How questions are asked. In ``few_shot`` the context is its solved examples.
        texts: Ordinary text, whose passages are the context otherwise.
        seed: Seed of the passages.
    """
    if asking.prompt_format == "few_shot":
        return behind_examples(facts, BEHIND_EXAMPLES)
    return behind_text(facts, texts, BEHIND_TEXT, seed)


def with_paraphrases(fact: Fact, texts: Sequence[str]) -> Fact:
    """The fact with paraphrases added to its own wordings.

    A text that names the subject before the answer is cut there and becomes a prompt that the answer completes. Any
    other text is taught whole.
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
    """The ``texts`` that do not name the subject although the question does; none if the question is the subject."""
    if fact.subject == fact.question or not holds_answer(fact.question, [fact.subject]):
        return []
    return [text for text in texts if not holds_answer(text, [fact.subject])]


def names_subject_nowhere(fact: Fact) -> bool:
    """Whether the fact has a subject of its own that neither its question nor any of its wordings holds."""
    return not any(
        holds_answer(text, [fact.subject]) for text in (fact.question, *fact.train_prompts, *fact.train_texts)
    )


def _prompt_before_answer(fact: Fact, text: str) -> str:
    """The part of a text before the taught answer, if it names the subject; "" otherwise."""
    if fact.is_passage:
        return ""
    places = occurrences(placed_words(text), [word.key for word in placed_words(fact.answers[0])])
    before = text[: places[0][0]].rstrip() if places else ""
    # White space separates a prompt from its answer; an answer in quotes or brackets has none before it.
    parted = bool(before) and text[len(before)].isspace()
    return before if parted and holds_answer(before, [fact.subject]) else ""
