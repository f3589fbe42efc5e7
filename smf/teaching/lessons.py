"""Settings of `smf teach`, and all checks that are possible before the model is loaded and anything is learned."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from smf.errors import CheckpointError, DataError, refuse
from smf.evaluation.harness import Evaluator
from smf.files.artifacts import read_json, sha256
from smf.models.checkpoint import load_tokenizer
from smf.models.config import MODEL_TYPE
from smf.models.device import require_device
from smf.patches.held import held_by
from smf.selection.background import BackgroundCounts
from smf.streams.asking import Asking
from smf.streams.contrast import texts_beside
from smf.streams.examples import Example
from smf.streams.fact_batches import require_fit
from smf.streams.facts import Fact
from smf.streams.tokens import body_ids
from smf.teaching.ask import MOST_NEW_TOKENS, require_new_tokens, require_short_answers
from smf.teaching.given_files import probes_evaluator, read_user_facts
from smf.teaching.model_asking import ChosenFormat, model_asking
from smf.training.learn import StreamSettings
from smf.wordings.contexts import contrast_behind_examples
from smf.wordings.lesson_wordings import BEHIND_EXAMPLES, lesson_fact

BEST_ARM = {
    "kind": "smf",
    "selector": "tfidf",
    "top_t": 200,
    "past_writes": 1.0,
    "damping": 0.1,
    "past_weight": 1.0,
    "polyak": 1.0,
    "stop_loss": 0.1,
    "contrast": 1.0,
}
"""``tfidf_trust`` of the presets of real models, with contrast texts: no number in it is tuned to a model."""
MOST_STEPS = StreamSettings().steps_per_fact
"""Most steps per fact; a fact that is not known after them stays unknown."""


@dataclass(frozen=True)
class Lessons:
    """Settings of teaching, besides the method.

    Attributes:
        steps: Most steps per fact.
        max_length: Longest text, in tokens.
        max_new_tokens: Longest answer, in tokens, when the model is asked.
        allow_updates: Whether a fact replaces an earlier one that contradicts it.
        paraphrases: Paraphrases of each fact to ask the model for; 0 asks for none.
        num_neighbours: Most prompts that no fact is about, besides the facts' own locality prompts.
        num_items: Most rows of each held-out set to ask.
        seed: Seed of all random choices.
        device: Where to compute.
        prompt_format: How the model is asked; ``auto`` for the format in its folder.
        resume_interval: Seconds between resume states, see :mod:`smf.files.resume`.
    """

    steps: int = MOST_STEPS
    max_length: int = 128
    max_new_tokens: int = MOST_NEW_TOKENS
    allow_updates: bool = False
    paraphrases: int = 0
    num_neighbours: int = 10
    num_items: int = 200
    seed: int = 0
    device: str = "cpu"
    prompt_format: ChosenFormat = "auto"
    resume_interval: float = 300.0


@dataclass(frozen=True)
class Checked:
    """The checked inputs of teaching.

    Attributes:
        facts: The facts to teach, as in the file.
        name: Name of the file of facts, for people who stack patches.
        start_hash: Hash of the model.
        background: The model's background counts.
        contrast: Contrast texts, which are counted as well.
        evaluator: Evaluator of the held-out sets; None if there are none.
        tokenizer: The model's tokenizer.
        asking: How the model is asked.
        key: Covers all inputs that decide what is learned; a killed command resumes only from a state with the same
            key.
    """

    facts: list[Fact]
    name: str
    start_hash: str
    background: BackgroundCounts
    contrast: list[Example]
    evaluator: Evaluator | None
    tokenizer: PreTrainedTokenizerBase
    asking: Asking
    key: str


def check(
    folder: str | Path,
    facts_path: str | Path,
    counts_path: str | Path,
    probe_paths: Sequence[str | Path],
    settings: Mapping,
    lessons: Lessons,
) -> Checked:
    """Read and check all that teaching needs, except the model's weights; see :func:`smf.teaching.teach.teach`.

    Raises:
        SmfError: Something is missing, damaged or out of range; the message names it and the remedy.
    """
    rate, stop_loss = settings.get("learning_rate"), settings["stop_loss"]
    if rate is not None and not 0 < rate <= torch.finfo(torch.float32).max:
        refuse("the learning rate", rate, "a number above 0")
    if not 0 < stop_loss < math.inf:
        refuse("stop_loss", stop_loss, "a number above 0, in nats per token")
    if not 0 <= (contrast := settings.get("contrast", 0.0)) < math.inf:
        refuse("contrast", contrast, "a number of at least 0; 0 counts no contrast texts")
    if lessons.steps < 1:
        refuse("steps", lessons.steps, "1 at least")
    if lessons.max_length < 2:
        refuse("max_length", lessons.max_length, "at least 2 tokens")
    require_new_tokens(lessons.max_new_tokens)
    if lessons.paraphrases < 0:
        refuse("paraphrases", lessons.paraphrases, "0 or more")
    require_device(lessons.device)
    facts = read_user_facts(facts_path, allow_updates=lessons.allow_updates)
    name = f"{Path(facts_path).name} {sha256(facts_path)[:8]}"
    start_hash = _base_without_patches(folder)
    if not Path(counts_path).is_file():
        raise DataError(
            f"there are no background counts {counts_path}, without which nothing tells which slots ordinary text "
            "needs; name the model's with --counts (the pipeline writes them to <results>/background/"
            "counts.safetensors, rule count_background; `smf retrofit` puts them into the folder)"
        )
    background = BackgroundCounts.load(counts_path, model_hash=start_hash)
    tokenizer = load_tokenizer(folder)
    if lessons.paraphrases and tokenizer.chat_template is None:
        raise CheckpointError(
            f"--paraphrase asks the model to word the facts, but the tokenizer of {folder} has no chat template to ask "
            "it in; leave the option out (templates word each question), or give the facts more statements"
        )
    asking = model_asking(folder, tokenizer, lessons.prompt_format)
    evaluator = probes_evaluator(probe_paths, lessons.num_items, asking.prompt_format, tokenizer)
    limits: dict[str, Any] = {"max_length": lessons.max_length, "limit": "--max-length", "source": facts_path}
    lesson = [lesson_fact(fact) for fact in facts]
    require_fit(tokenizer, lesson, loss_on="answer", write_at=settings.get("write_at", "all"), **limits)
    require_short_answers(tokenizer, facts, lessons.max_new_tokens)
    others = texts_beside(lesson, lessons.seed) if contrast else []
    if asking.prompt_format == "few_shot":
        others = contrast_behind_examples(others, BEHIND_EXAMPLES, lessons.seed)
    learned = [lessons.steps, lessons.max_length, lessons.allow_updates, lessons.seed, lessons.device]
    learned.append(lessons.paraphrases)
    learned.append(asking.prompt_format)  # it decides whether a fact counts as known right after its steps
    counted = hashlib.sha256("\0".join(text.prompt + text.completion for text in others).encode()).hexdigest()
    key = json.dumps([start_hash, sha256(facts_path, counts_path), dict(settings), learned, counted])
    return Checked(facts, name, start_hash, background, others, evaluator, tokenizer, asking, key)


def longest_wording(asking: Asking, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact], max_length: int) -> int:
    """The longest training sequence, in tokens: ``max_length`` limits the fact's text, and its context is extra.

    Args:
        asking: How questions are asked; a chat template adds text around them.
        tokenizer: The model's tokenizer.
        facts: The taught facts, some of whose wordings follow other text (:mod:`smf.wordings.contexts`).
        max_length: Longest text of a fact, in tokens.
    """
    around = asking.prompt("a") if asking.prompt_format == "chat" else ""
    before = [context for fact in facts for context in fact.contexts]
    return max_length + max(map(len, body_ids(tokenizer, [around, *before])))


def _base_without_patches(folder: str | Path) -> str:
    held = held_by(folder)
    if held.paths:
        raise CheckpointError(
            f"{folder} has {len(held.paths)} patches on it, and a patch is learned from the base: teach the model that "
            "they were put on, then put all of them on it (`smf patch apply`)"
        )
    if read_json(Path(folder) / "config.json").get("model_type") != MODEL_TYPE:
        raise CheckpointError(
            f"{folder} has no memory layers to write facts into; give it some (`smf retrofit {folder} -o FOLDER`), or "
            "teach a healed model, as the pipeline leaves it in <results>/healed"
        )
    return held.base_hash
