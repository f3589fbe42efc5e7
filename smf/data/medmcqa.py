"""MedMCQA (Pal et al., 2022): questions from medical entrance exams, as items to ask and as texts to learn."""

from typing import NamedTuple

from smf.errors import DataError
from smf.files.artifacts import Columns
from smf.rows.sources import Row
from smf.streams.normalize import text_key

_OPTIONS = ("opa", "opb", "opc", "opd")
MEDMCQA: Columns = {"question": str, **dict.fromkeys(_OPTIONS, str), "cop": int, "choice_type": str}
EXPLAINED: Columns = {"exp": str}

_HEADER = "A multiple-choice question about medicine, with its answer."


class MedmcqaItem(NamedTuple):
    """A question with four options; ``right`` is the index of the right one, from 0."""

    question: str
    options: tuple[str, ...]
    right: int

    @property
    def key(self) -> str:
        """Equal for items that differ only in case, punctuation or spaces; many items share their question."""
        return text_key(self.question + "".join(self.options))

    @property
    def lettered(self) -> tuple[str, ...]:
        """The options as they are listed and answered: "A. first option"."""
        return tuple(f"{letter}. {option}" for letter, option in zip("ABCD", self.options, strict=True))

    @property
    def prompt(self) -> str:
        """Header, question and options, up to the word that the right option follows (Gupta et al., 2026)."""
        return "\n".join([_HEADER, "", f"Question: {self.question}", *self.lettered, "Answer:"])

    def text(self, explanation: str) -> str:
        """The whole item with its answer and, unless it is empty, its explanation; Gupta et al. train on all of it."""
        answered = f"{self.prompt} {self.lettered[self.right]}"
        return f"{answered}\nExplanation: {explanation}" if explanation else answered


def medmcqa_item(row: Row) -> MedmcqaItem | str:
    """The item of a row, or the reason why it cannot be used; items with several right options are left out.

    Raises:
        DataError: The right option is none of the four.
    """
    values = row.values
    if values["choice_type"] != "single":
        return "with several right options"
    if values["cop"] not in range(4):
        raise DataError(
            f"{row.where}: column 'cop' is {values['cop']}, which names none of the four options; the test split has "
            "no answers, take another"
        )
    question = " ".join(values["question"].split())
    options = tuple(" ".join(values[column].split()) for column in _OPTIONS)
    if not question or not all(options):
        return "with an empty question or option"
    return MedmcqaItem(question, options, values["cop"])
