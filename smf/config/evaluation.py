"""The section ``evaluation``."""

from typing import Annotated, Literal

from pydantic import Field

from smf.settings.section import (
    Count,
    Distinct,
    Natural,
    Section,
    Whole,
    absent,
)


class Task(Section):
    """A task of lm-eval."""

    num_items: Count | None = absent(null=True)
    """Documents asked (a seeded subset); null or absent: all."""
    num_fewshot: Natural | None = absent(null=True)
    """Solved examples (few-shot); null or absent: as the task defines it."""
    metrics: Annotated[Distinct[str], Field(min_length=1)] | None = absent()
    """lm-eval's metrics that are reported; absent: all. Leave out what is named like a share but is in per cent, as
    squadv2's f1 is: evaluation refuses it."""


class Divergence(Section):
    """How far snapshots have moved from their start model; reported in the tables only.

    KL(start‖now) of the next token, mean over predicted tokens, in nats. The start model stays in memory beside the
    snapshot.
    """

    num_facts: Natural = 0
    """facts_kl: measured on the training texts of at most this many facts taught so far, chosen as by
    evaluation.num_facts, on the tokens that stream.loss_on trains. 0: not measured."""
    num_texts: Natural = 0
    """<set>_kl: measured on at most this many of the texts asked of each held-out set of format text (a seeded subset).
    0: not measured."""


class Evaluation(Section):
    """What lm-eval measures."""

    num_items: dict[str, Count | None] = {}
    """Rows asked of each held-out set (a seeded subset), by the set's name; all rows if the set is not named, or
    null."""
    num_facts: Count | None = None
    """Largest number of facts asked of those taught so far, a seeded choice that changes little along the stream; null
    asks all."""
    wordings_per_fact: Count = 2
    """Trained and unseen wordings asked of each fact."""
    num_fewshot: dict[str, Natural] = {}
    """Solved examples before each item of a held-out set, by the set's name; none for a set that is not named. Sets of
    questions may have them only if prompt_format is plain."""
    tasks: dict[str, Task] = {}
    """Tasks of lm-eval by name, besides the held-out sets. Their metrics are called <task>_<metric>."""
    include_path: str | None = None
    """Folder of more lm-eval tasks (YAML files)."""
    headline: Annotated[Distinct[str], Field(min_length=1, max_length=2)] | None = None
    """The one or two held-out metrics, <set>_<measure>, that figures show; choosing learning rates weighs the first.
    null: nq_f1 and hellaswag_acc_norm, or for a collection the first measure of its first two sets. Measures: f1, em
    (questions); acc, acc_norm (choices); nll, perplexity (texts); nll, acc (completions); facts_locality_f1."""
    learned: Literal["facts_question_f1", "facts_unseen_f1", "facts_seen_f1"] = "facts_question_f1"
    """What the forgetting figure calls learned: facts answered when asked by the question, in wordings that are never
    taught, or as taught. Tables hold all three. tuning.learned says which of them chooses learning rates."""
    max_new_tokens: Count = 16
    """Longest generated answer, in tokens. Facts with a longer answer are left out of the streams; your own are
    refused."""
    batch_size: Count = 64
    """Sequences per forward pass."""
    kl: Divergence = Field(default_factory=Divergence)
    window: Annotated[Whole, Field(ge=2)] | None = None
    """Tokens of running text that are predicted in one pass; null for base.max_length."""
    seed: Natural = 1
    """Seed of the subsets and of the solved examples."""
