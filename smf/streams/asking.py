"""How a model is asked a question: plainly, after solved examples, or in its chat template.

The format applies to questions only. A prompt that the answer completes is the same in every format.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from smf.errors import ConfigError
from smf.streams.examples import Example, answered
from smf.streams.facts import is_question_prompt, question_prompt
from smf.streams.normalize import bare_question
from smf.streams.tokens import Offsets, body_ids, body_ids_and_offsets, chat, start_of_text

Retrieve = Callable[[str], str]
"""What a prompt asks (:meth:`Asking.behind`) → a text to put before it; "" for none."""

PromptFormat = Literal["plain", "few_shot", "chat"]
PROMPT_FORMATS: tuple[PromptFormat, ...] = get_args(PromptFormat)

SOLVED = (
    ("What is the capital of Germany", "Berlin"),
    ("Who wrote Hamlet", "William Shakespeare"),
    ("How many legs does a spider have", "Eight"),
    ("Which metal is liquid at room temperature", "Mercury"),
    ("In which year did the Berlin Wall fall", "1989"),
)
"""The solved examples of ``few_shot``: things that every small model knows, each answer of a different kind."""

BETWEEN = "\n\n"  # one or two separate tokens for every tokenizer: no letter merges with a line break
_BEFORE = "\n"  # between a retrieved text and the question
_SEAM = "\n"  # stands in for a chat prompt before its answer, whose first word is then tokenized as in running text
_MARK = "\ue000"  # a Unicode private-use character, which no template writes


class Asking:
    """Turns questions into prompts, and decides where an answer ends.

    Args:
        prompt_format: ``plain``: "Q: …?" with "A:" on the next line. ``few_shot``: the same after :data:`SOLVED`.
            ``chat``: the question as the only user message, in the tokenizer's chat template.
        tokenizer: The model's tokenizer; required for ``chat``.
        model: The model's name, for error messages.
        key: The setting that the format comes from, for error messages.

    Attributes:
        prompt_format: As given.
        written: Token ids of the prompts that the chat template has rendered so far, by prompt. They cannot be had from
            the text alone: a control token is special if the template wrote it, plain text if a question spells it out.
        end_ids: Tokens that end an answer, besides the tokenizer's end-of-text token.
        stop: Text that ends an answer, besides these tokens; None if no text does.

    Raises:
        ConfigError: The format is ``chat``, and the tokenizer has no chat template or one that rejects a lone question.
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
        self._questions: dict[str, str] = {}
        self.end_ids: tuple[int, ...] = ()
        self.stop = "\n" if prompt_format == "few_shot" else None
        self._tokenizer, self._gap = tokenizer, " "
        if prompt_format == "chat":
            self._gap, self.end_ids = _around_an_answer(tokenizer, model, key)

    def prompt(self, question: str) -> str:
        """The prompt for a question, which the model continues with the answer."""
        if self.prompt_format == "chat":
            return self._in_chat(question)
        return (solved_examples() if self.prompt_format == "few_shot" else "") + question_prompt(question)

    def reworded(self, prompt: str) -> str:
        """Convert a plain question prompt to this format; return any other prompt unchanged."""
        if self.prompt_format == "plain" or not is_question_prompt(prompt):
            return prompt
        return self.prompt(prompt.removeprefix("Q:").removesuffix("\nA:"))

    def behind(self, prompt: str, retrieve: Retrieve) -> str:
        """Put what is retrieved for a prompt before its question, or before a prompt to complete.

        It stands behind solved examples: there it is next to the question, and the examples stay a prefix that all
        prompts share. In a chat it is a paragraph of the message.

        Args:
            prompt: A prompt of this format.
            retrieve: Called with the question, without its frame and its question mark, or with the prompt to complete.
        """
        if prompt in self._questions:
            question = self._questions[prompt]
            return self._in_chat(question, _ended(retrieve(question), BETWEEN))
        start = prompt.rfind("\nQ:") + 1 if is_question_prompt(prompt) else 0
        asked = prompt[start:]
        return f"{prompt[:start]}{_ended(retrieve(question_in(asked)), _BEFORE)}{asked}"

    def answered(self, question: str, answer: str) -> Example:
        """A question's prompt and the answer, joined as the format joins them."""
        prompt = self.prompt(question)
        if self.prompt_format == "chat":
            return Example(prompt, self._gap + answer.strip(" "))
        return answered(prompt, answer)

    def completed(self, example: Example, answer: str) -> Example:
        """Complete a chat prompt with the answer as the template does; return any other example unchanged."""
        if example.prompt not in self.written:
            return example
        return Example(example.prompt, self._gap + answer.strip(" "))

    def ends_answer(self, tokenizer: PreTrainedTokenizerBase, token: int) -> bool:
        """Whether the answer ends if the model generates this token next."""
        if token == tokenizer.eos_token_id or token in self.end_ids:
            return True
        return self.stop is not None and str(tokenizer.decode([token])).startswith(self.stop)

    def _in_chat(self, question: str, before: str = "") -> str:
        """A chat prompt, whose tokens and question are kept; ``before`` stands in the message, before the question."""
        assert self._tokenizer is not None
        asked = bare_question(question)
        text, ids = chat(self._tokenizer, [("user", f"{before}{asked[:1].upper()}{asked[1:]}?")])
        self.written[text], self._questions[text] = ids, asked
        return text


PLAIN = Asking()


def solved_examples() -> str:
    """The prefix of a ``few_shot`` prompt: questions with their answers, each followed by an empty line."""
    return "".join(f"{question_prompt(question)} {answer}{BETWEEN}" for question, answer in SOLVED)


def question_in(prompt: str) -> str:
    """The bare question of a plain question prompt; any other prompt as it is."""
    if not is_question_prompt(prompt):
        return prompt
    return bare_question(prompt.removeprefix("Q:").removesuffix("\nA:"))


def _ended(text: str, end: str) -> str:
    return f"{text}{end}" if text else ""


def refuse_other_examples(key: str, number: int, prompt_format: PromptFormat) -> None:
    """Refuse a data set's own solved examples in any format but ``plain``.

    Args:
        key: The setting that requests the examples.
        number: How many examples it requests.
        prompt_format: How questions are asked.

    Raises:
        ConfigError: ``number`` is not 0, and the format is not ``plain``.
    """
    if number and prompt_format != "plain":
        raise ConfigError(
            f"{key} is {number}, but prompt_format is {prompt_format}, which asks questions in its own form, without "
            f"such examples; drop {key}, or set prompt_format plain",
            tuple(key.split(".")),
        )


def tokens_of(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], written: Mapping[str, Sequence[int]]
) -> list[tuple[list[int], list[int], Offsets]]:
    """Tokenize examples: for each, the start-of-text ids, the ids of its text, and their character offsets.

    Args:
        tokenizer: A fast tokenizer.
        examples: Prompts and their completions.
        written: Token ids of the prompts that a chat template rendered, start-of-text tokens included. The offsets of
            these tokens are (0, 0).
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
    """The white space that a chat template puts between prompt and answer, and the control token after the answer.

    Either may be empty.
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
            f"{key} is chat, but the chat template of {model} rejects a single user message ({error}); take "
            "few_shot or plain",
            (key,),
        ) from error
    before, _, after = whole.rpartition(_MARK)
    between = before.removeprefix(prompt)
    gap = between if before.startswith(prompt) and not between.strip() else ""
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    ids = body_ids(tokenizer, [after.lstrip()], chats=True)[0][:1]
    return gap, tuple(token for token in ids if token in special)
