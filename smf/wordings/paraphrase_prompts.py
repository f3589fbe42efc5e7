"""Prompts that ask an instruct model for paraphrases, and checks on which replies may teach a fact."""

from collections.abc import Set

from smf.streams.facts import Fact
from smf.streams.normalize import holds_answer, text_key
from smf.wordings.templates import taught_by_its_question

FACT_PROMPT = (
    "Here is a fact.\n\n{fact}\n\nState this fact in one complete English sentence, {style}. Write the answer "
    '"{answer}" exactly like that, and do not ask a question. Reply with the sentence alone.'
)
PASSAGE_PROMPT = (
    "Here is a passage from a document.\n\n{passage}\n\nYou are to study it until you know every fact in it by heart. "
    "Choose a way of studying it, {style}, and carry it out in full, so that what you write can be understood without "
    "the passage. Reply with the result alone."
)
"""After Active Reading, which Lin et al. (2025) use: the model chooses how to study each passage."""

FACT_STYLES = (
    "as an encyclopaedia would",
    "as a newspaper would",
    "in simple words, as for a child",
    "in a casual tone",
    "in a formal tone",
    "beginning with the answer",
    "ending with the answer",
    "as an answer in a conversation, without the question",
    "as a line from a textbook",
    "as a remark in passing",
    "with the words in an unusual order",
    "as a caption under a picture",
    "in as few words as possible",
    "with a subordinate clause",
    "in the passive voice",
    "as a guide says it to visitors",
)
PASSAGE_STYLES = (
    "one that puts the facts in your own words",
    "one that asks and answers questions",
    "one that explains it to a beginner",
    "one that lists who, what, when and where",
    "one that connects it with things you know",
    "one that makes it easy to remember",
    "one that tells it as a story",
    "one of your own invention",
)

_ENDINGS = ".!\"')”’»」』）。！｡।۔።…"
"""Characters that may end a sentence that is not a question, in all scripts."""

_QUOTES = ('""', "“”", "„“", "”“", "«»", "「」", "『』")


def paraphrase_prompt(fact: Fact, style: str, prompts: tuple[str, str]) -> str:
    """Fill in the prompt that asks the model for one paraphrase.

    Args:
        fact: The fact.
        style: The style to write in.
        prompts: The templates for facts (with ``{fact}``, ``{answer}``, ``{style}``) and for passages (``{passage}``,
            ``{style}``).
    """
    if fact.is_passage:
        filled, values = prompts[1], {"passage": fact.train_texts[0], "style": style}
    elif taught_by_its_question(fact):
        stated = f"Question: {fact.question}?\nAnswer: {fact.answers[0]}"
        filled, values = prompts[0], {"fact": stated, "answer": fact.answers[0], "style": style}
    else:  # the model that writes the training text must not see the test question
        stated = fact.train_texts[0] if fact.train_texts else f"{fact.train_prompts[0]} {fact.answers[0]}."
        filled, values = prompts[0], {"fact": stated, "answer": fact.answers[0], "style": style}
    for name, value in values.items():  # not str.format: a passage may hold braces
        filled = filled.replace(f"{{{name}}}", value)
    return filled


def cleaned(text: str, fact: Fact) -> str:
    """Strip a model's reply to the paraphrase: for a fact, the first line, unquoted; for a passage, everything."""
    text = text.strip()
    if fact.is_passage:
        return text
    line = text.split("\n", 1)[0].strip()
    quoted = len(line) > 1 and line[0] + line[-1] in _QUOTES
    return line[1:-1].strip() if quoted else line


def reason_against(text: str, fact: Fact, known: Set[str]) -> str | None:
    """The reason why a paraphrase is not taught, or None if it is.

    Args:
        text: The paraphrase.
        fact: The fact that it should state.
        known: Keys (:func:`smf.streams.normalize.text_key`) of the wordings that the fact already has.
    """
    key = text_key(text)
    if not key:
        return "empty"
    if not fact.is_passage:
        if not holds_answer(text, fact.answers):
            return "without the answer"
        if _names_its_subject(fact) and not holds_answer(text, [fact.subject]):
            return "without the subject"
        if text[-1] not in _ENDINGS:
            return "not a whole sentence"
    if any(text_key(test) in key for test in (fact.question, *fact.unseen_prompts) if text_key(test)):
        return "with the words of a test"
    return "said before" if key in known else None


def _names_its_subject(fact: Fact) -> bool:
    wordings = (*fact.train_prompts, *fact.train_texts)
    return not taught_by_its_question(fact) and all(holds_answer(wording, [fact.subject]) for wording in wordings)
