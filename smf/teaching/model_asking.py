"""The prompt format of a model folder: `smf retrofit` finds the one that the model answers best in, and stores it."""

from pathlib import Path
from typing import Literal

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smf.errors import CheckpointError
from smf.evaluation.harness import Evaluator
from smf.evaluation.settings import EvaluationSettings
from smf.files.artifacts import read_json, read_jsonl, write_json
from smf.files.model_folder import ASKING_FILE
from smf.files.package import package_file
from smf.logs import progress
from smf.streams.asking import PROMPT_FORMATS, Asking, PromptFormat

ChosenFormat = Literal["auto", PromptFormat]
CHOSEN_FORMATS: tuple[ChosenFormat, ...] = ("auto", *PROMPT_FORMATS)

KNOWLEDGE = package_file("data", "general_knowledge.jsonl")
"""22 questions that a small model can be expected to answer, none of them among the solved examples."""
_MAX_NEW_TOKENS = 16


def model_asking(folder: str | Path, tokenizer: PreTrainedTokenizerBase, chosen: ChosenFormat = "auto") -> Asking:
    """The way to ask a model.

    Args:
        folder: The model's folder.
        tokenizer: The model's tokenizer.
        chosen: The format; ``auto`` for the one that the folder names, or ``plain`` if it names none.

    Raises:
        CheckpointError: The folder's file names no format.
        ConfigError: The format is ``chat``, and there is no chat template.
    """
    if chosen != "auto":
        return Asking(chosen, tokenizer, model=folder, key="--prompt-format")
    path = Path(folder) / ASKING_FILE
    found = read_json(path).get("prompt_format") if path.is_file() else "plain"
    if found not in PROMPT_FORMATS:
        raise CheckpointError(
            f"{path} names the prompt format {found!r}, but must name one of {', '.join(PROMPT_FORMATS)}; correct it, "
            "or choose with --prompt-format"
        )
    return Asking(found, tokenizer, model=folder, key=f"prompt_format in {path}")


def right_by_format(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[PromptFormat, int]:
    """Number of :data:`KNOWLEDGE` questions that a model answers exactly, in each format its tokenizer supports."""
    formats = [each for each in PROMPT_FORMATS if each != "chat" or tokenizer.chat_template]
    number, right = num_questions(), {}
    for each in progress(formats, "asking in each format"):
        settings = EvaluationSettings(max_new_tokens=_MAX_NEW_TOKENS, batch_size=number, prompt_format=each)
        evaluator = Evaluator({"knowledge": ("questions", KNOWLEDGE)}, (), settings, tokenizer)
        found = {score["metric"]: score["value"] for score in evaluator.evaluate(model, tokenizer, 0)["scores"]}
        right[each] = round(found["knowledge_em"] * number)
    return right


def num_questions() -> int:
    """Number of questions that :func:`right_by_format` asks."""
    return len(read_jsonl(KNOWLEDGE, {}))


def write_format(folder: str | Path, right: dict[PromptFormat, int]) -> PromptFormat:
    """Store the format with the most right answers (the first of equals) in a model folder, and return it."""
    best = max(right, key=lambda each: (right[each], -PROMPT_FORMATS.index(each)))
    write_json(Path(folder) / ASKING_FILE, {"prompt_format": best, "num_questions": num_questions(), "right": right})
    return best
