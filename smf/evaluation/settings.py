"""What an evaluation measures: the settings of :class:`smf.evaluation.harness.Evaluator`."""

from typing import Annotated

from pydantic import Field

from smf.settings.check import Arguments
from smf.settings.section import Count, Natural, Whole
from smf.streams.asking import PromptFormat


class EvaluationSettings(Arguments):
    """What to measure, and how.

    Raises:
        ConfigError: A name is unknown, or a value is out of range.

    Example:
        >>> EvaluationSettings(num_items={"nq": 300}).num_items["nq"]
        300
    """

    num_items: dict[str, Whole | None] = {}
    """How many rows of each held-out set are asked, a seeded subset; a set that is not named is asked whole."""
    num_fewshot: dict[str, Natural] = {}
    """Solved examples before an item of each held-out set, drawn from the rows outside the subset; none for a set that
    is not named. Facts have none."""
    tasks: dict[str, dict] = {}
    """lm-eval's own tasks by name, each with ``num_items``, ``num_fewshot`` and ``metrics``."""
    include_path: str | None = None
    """Folder of more lm-eval tasks."""
    num_facts: Count | None = None
    """Most facts to ask, of those taught so far (:func:`smf.evaluation.documents.chosen_facts`). None: all."""
    wordings_per_fact: Natural = 2
    """Most trained wordings, and most unseen wordings, to ask of each fact; 0 for its question alone."""
    max_new_tokens: Count = 16
    """Longest generated answer, in tokens."""
    batch_size: Count = 64
    """Sequences per forward pass."""
    max_length: Count | None = None
    """Longest input plus output, in tokens; longer inputs lose their beginning. None: the model's own."""
    window: Annotated[Whole, Field(ge=2)] | None = None
    """Tokens of running text that are predicted in one pass. None: ``max_length``."""
    seed: Whole = 0
    """Seeds the subsets and the solved examples."""
    prompt_format: PromptFormat = "plain"
    """How questions of held-out sets, facts and neighbours are asked (:class:`smf.streams.asking.Asking`). Prompts to
    complete and lm-eval's own tasks ignore it."""
    kl_texts: Natural = 0
    """Most texts of each held-out set of running text, a seeded subset of those asked, to measure the divergence from
    the start model on (:mod:`smf.evaluation.divergence`); 0 for none."""
    kl_facts: dict | None = None
    """Which texts of the facts taught so far to measure it on, the attributes of
    :class:`smf.evaluation.divergence.TaughtTexts`; None for none."""
