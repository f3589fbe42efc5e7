"""How a model is asked a question: plainly, behind solved examples, or in its chat template.

Only questions are asked in a format. A text that an answer completes is the same in all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from smf.errors import ConfigError
from smf.streams.examples import Example, answered
from smf.streams.facts import is_question_prompt, question_prompt
from smf.streams.normalize import bare_question
from smf.streams.tokens import Offsets, body_ids, body_ids_and_offsets, chat, start_of_text

PromptFormat = Literal["plain", "few_shot", "chat"]
PROMPT_FORMATS: tuple[PromptFormat, ...] = get_args(PromptFormat)

SOLVED = (
    ("What is the capital of Germany", "Berlin"),
    ("Who wrote Hamlet", "William Shakespeare"),
    ("How many legs does a spider have", "Eight"),
    ("Which metal is liquid at room temperature", "Mercury"),
    ("In which year did the Berlin Wall fall", "1989"),
)
"""The solved examples of ``few_shot``: what every small model knows, each answer of another kind."""

BETWEEN = "\n\n"  # of every tokenizer one or two tokens of their own: no letter joins a line break
_SEAM = "\n"  # what stands before an answer in a chat, so that its first word is cut as within a text
_MARK = "\ue000"  # a private character of Unicode, which no template writes


class Asking:
    """Turns questions into prompts, and knows what ends an answer.

    Args:
        prompt_format: ``plain``: "Q: …?" and "A:" in the next line. ``few_shot``: the same behind :data:`SOLVED`.
            ``chat``: the question is the one message of a user, in the tokenizer's chat template.
        tokenizer: The model's; ``chat`` needs it.
        model: What the model is called, for messages.
        key: The setting that the format comes from, for messages.

    Attributes:
        prompt_format: The same.
        written: Token ids of the prompts so far that a chat template wrote. What their text spells out does not tell
            which control tokens are the template's and which a question's, where they are plain text.
        end_ids: Tokens that end an answer beside the tokenizer's end of text.
        stop: The text that ends an answer, beside the tokens; None if there is none.

    Raises:
        ConfigError: The format is ``chat`` and the tokenizer has no chat template, or one that takes no question.
    """

    def __init__(
        self,
        prompt_format: PromptFormat = "plain",
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        model: object = "the model",
        key: str = "prompt_format",
    ):
        self.prompt_format = prompt_format
        self.written: dict[str, list[int]] = {}
        self.end_ids: tuple[int, ...] = ()
        self.stop = "\n" if prompt_format == "few_shot" else None
        self._tokenizer, self._gap = tokenizer, " "
        if prompt_format == "chat":
            self._gap, self.end_ids = _around_an_answer(tokenizer, model, key)

    def prompt(self, question: str) -> str:
        """The text that the model goes on after with the answer."""
        if self.prompt_format == "chat":
            assert self._tokenizer is not None
            asked = bare_question(question)
            text, ids = chat(self._tokenizer, [("user", f"{asked[:1].upper()}{asked[1:]}?")])
            self.written[text] = ids
            return text
        return (solved_examples() if self.prompt_format == "few_shot" else "") + question_prompt(question)

    def reworded(self, prompt: str) -> str:
        """A prompt that is a question in its plain form, asked in this format; any other prompt as it is."""
        if self.prompt_format == "plain" or not is_question_prompt(prompt):
            return prompt
        return self.prompt(prompt.removeprefix("Q:").removesuffix("\nA:"))

    def answered(self, question: str, answer: str) -> Example:
        """A question's prompt and the answer, with between them what the format puts there."""
        prompt = self.prompt(question)
        if self.prompt_format == "chat":
            return Example(prompt, self._gap + answer.strip(" "))
        return answered(prompt, answer)

    def completed(self, example: Example, answer: str) -> Example:
        """A prompt that this format wrote, with its answer as the format puts it; any other example as it is."""
        if example.prompt not in self.written:
            return example
        return Example(example.prompt, self._gap + answer.strip(" "))

    def ends_answer(self, tokenizer: PreTrainedTokenizerBase, token: int) -> bool:
        """Whether an answer has ended where the model goes on with this token."""
        if token == tokenizer.eos_token_id or token in self.end_ids:
            return True
        return self.stop is not None and str(tokenizer.decode([token])).startswith(self.stop)


PLAIN = Asking()


def solved_examples() -> str:
    """What stands before a question in ``few_shot``: questions with their answers, an empty line behind each."""
    return "".join(f"{question_prompt(question)} {answer}{BETWEEN}" for question, answer in SOLVED)


def refuse_other_examples(key: str, number: int, prompt_format: PromptFormat) -> None:
    """Refuse solved examples of a set's own where the format has its own form.

    Args:
        key: The setting that asks for them.
        number: How many it asks for.
        prompt_format: How questions are asked.

    Raises:
        ConfigError: There are some, and the format is not ``plain``.
    """
    if number and prompt_format != "plain":
        raise ConfigError(
            f"{key} is {number}, but prompt_format is {prompt_format}, in which questions are asked in a form of its "
            f"own, without such examples; drop {key}, or set prompt_format plain",
            tuple(key.split(".")),
        )


def tokens_of(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], written: Mapping[str, Sequence[int]]
) -> list[tuple[list[int], list[int], Offsets]]:
    """What starts each example's text, its ids, and the characters that they stand for.

    Args:
        tokenizer: A fast tokenizer.
        examples: Prompts and what follows them.
        written: The ids of prompts that a chat template wrote, with what starts a text. Their tokens stand for no
            character here.
    """
    start, [seam] = start_of_text(tokenizer), body_ids(tokenizer, [_SEAM])
    texts = [(_SEAM if each.prompt in written else each.prompt) + each.completion for each in examples]
    found = []
    for example, (ids, offsets) in zip(examples, body_ids_and_offsets(tokenizer, texts), strict=True):
        if example.prompt not in written:
            found.append((start, ids, offsets))
            continue
        before, moved = written[example.prompt], len(example.prompt) - len(_SEAM)
        behind = [(first + moved, stop + moved) for first, stop in offsets[len(seam) :]]
        found.append(([], [*before, *ids[len(seam) :]], [(0, 0)] * len(before) + behind))
    return found


def _around_an_answer(
    tokenizer: PreTrainedTokenizerBase | None, model: object, key: str
) -> tuple[str, tuple[int, ...]]:
    """What a chat template puts before an assistant's answer, beside the prompt: white space, or nothing.

    And the control token that it puts behind it, if it does.
    """
    if tokenizer is None or not tokenizer.chat_template:
        raise ConfigError(
            f"{key} is chat, but the tokenizer of {model} has no chat template; take few_shot or plain, or put the "
            "template into its folder (chat_template.jinja)",
            (key,),
        )
    try:
        prompt, _ = chat(tokenizer, [("user", _MARK)])
        whole, _ = chat(tokenizer, [("user", _MARK), ("assistant", _MARK)], goes_on=False)
    except (TemplateError, TypeError, NotImplementedError) as error:
        raise ConfigError(
            f"{key} is chat, but the chat template of {model} takes no question of a user alone ({error}); take "
            "few_shot or plain",
            (key,),
        ) from error
    before, _, after = whole.rpartition(_MARK)
    between = before.removeprefix(prompt)
    gap = between if before.startswith(prompt) and not between.strip() else ""
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    ids = body_ids(tokenizer, [after.lstrip()], chats=True)[0][:1]
    return gap, tuple(token for token in ids if token in special)
