"""How methods are compared: the sections ``sweeps``, ``frontier``, ``interpolation``, ``tuning`` and ``core_sets``."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from smf.settings.section import (
    Count,
    Distinct,
    Natural,
    Number,
    PositiveNumber,
    Section,
    absent,
)


class Sweep(Section):
    """Values of a method's settings that the frontier tries: one list per setting."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[
        str, Annotated[list[object], Field(min_length=1, description="Values of one setting of the method.")]
    ]

    combine: Literal["product", "paired"] | None = absent()
    """product (if absent): every combination of the lists. paired: their first values together, then their second ones,
    and so on."""


class Frontier(Section):
    """The comparison of methods over all settings of their sweeps (results/figures/frontier.pdf)."""

    seeds: Annotated[Distinct[Natural], Field(min_length=1)] | None = None
    """Seeds whose runs are reported, none of them in tuning.seeds; null for seeds."""
    methods: Annotated[Distinct[str], Field(min_length=1)] | None = None
    """Methods that are compared; null for all."""
    num_facts: Count | None = None
    """Each setting learns this many facts from the start of the stream, where a whole stream at each would take too
    long; never more than stream.num_facts. null for all."""
    max_forgetting: Annotated[Number, Field(gt=0, le=1)] = 0.2
    """Hypervolume is the retained F1 averaged over all budgets of forgetting from 0 to this share."""


class Interpolation(Section):
    """Weights between a method's start model and what it learned (results/figures/interpolation.pdf).

    Made only if asked for, from finished runs: nothing is trained.
    """

    shares: Annotated[Distinct[Annotated[Number, Field(gt=0, lt=1)]], Field(min_length=1)] = [0.25, 0.5, 0.75]
    """How far from the start model, as shares of the way to what was learned: weights are (1 - share) * start + share *
    learned. 0 and 1, the two ends, are always shown: they are evaluated anyway."""
    seeds: Annotated[Distinct[Natural], Field(min_length=1)] | None = None
    """Some of seeds; null for all of them."""
    methods: Annotated[Distinct[str], Field(min_length=1)] | None = None
    """Methods of the main figure that train weights; null for all of them."""


class Tuning(Section):
    """The learning-rate sweep (results/tables/tuning.csv)."""

    num_facts: Count | None = None
    """Length of the tuning seeds' streams, where a whole stream at each setting would take too long; never more than
    stream.num_facts. null for the same number."""
    learned: Literal["facts_question_f1", "facts_unseen_f1", "facts_seen_f1"] | None = None
    """The score of the new facts that chooses a rate, less what is forgotten. null for facts_unseen_f1 (for
    facts_question_f1 if no fact has an unseen wording), or for facts_seen_f1 if evaluation.learned is that."""
    seeds: Annotated[Distinct[Natural], Field(min_length=1)] = [100]
    """Seeds of the sweep; none of them may be in seeds."""


class CoreSets(Section):
    """Which slots all texts of a fact read, and how few trained slots are enough to answer it.

    For results/tables/core_sets.csv and results/figures/core_sets.pdf, made only if asked for. Each fact is learned
    alone, from the healed model.
    """

    num_facts: Count = 30
    """Number of facts examined, from the start of the stream."""
    top_t: Annotated[Distinct[Count], Field(min_length=1)] = [1, 2, 5, 10, 25, 50, 100, 200]
    """Slots that may train in a step, per memory layer; tried from the smallest on until the fact is answered."""
    rate_factors: Annotated[Distinct[PositiveNumber], Field(min_length=1)] = [1, 2, 4]
    """Learning rates tried with each number of slots, as multiples of the method's own; fewer slots need larger steps.
    Not used for a method without a rate."""
    method: str | None = None
    """The method of kind smf that learns each fact; null for the first that has a selector other than none."""
    seed: Natural | None = None
    """Seed of the stream, one of seeds or tuning.seeds; null for the first of tuning.seeds, so that a top_t chosen from
    these results is not tuned on the streams that are reported."""
