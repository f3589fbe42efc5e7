"""The section ``stream``."""

from typing import Annotated, Literal

from pydantic import Field

from smf.config.training import LossOn
from smf.settings.section import (
    Count,
    Distinct,
    Natural,
    Number,
    PositiveNumber,
    Section,
    Share,
    Whole,
)


class ParaphraseModel(Section):
    """The instruct model; read if source is model."""

    name: str | None = None
    """Model on the Hugging Face hub, owner/name."""
    revision: str = "main"
    """Branch, tag or commit of the hub's model; a commit makes a run repeatable."""
    checkpoint: str | None = None
    """Folder of a model, instead of name."""
    prompt: str | None = None
    """Prompt for a fact, with {fact}, {answer} and {style}; null for the one in smf/wordings/paraphrase_prompts.py."""
    passage_prompt: str | None = None
    """Prompt for a passage of a document, with {passage} and {style}; null for the one there."""
    max_new_tokens: Count = 96
    """Longest reply, in tokens; passages need more."""
    batch_size: Count = 64
    """Replies sampled together."""
    temperature: PositiveNumber = 1.0
    """Sampling temperature."""
    top_p: Annotated[Number, Field(gt=0, le=1)] = 0.95
    """Nucleus sampling: probability mass that tokens are drawn from."""
    max_rounds: Count = 4
    """How often the model is asked for the paraphrases that are still missing."""


class Paraphrases(Section):
    """How many wordings each fact is taught in, and where they come from."""

    source: Literal["none", "templates", "model"] = "none"
    """none: the data's own (six for a question). templates: composed from those offline. model: paraphrases by an
    instruct model."""
    number: Annotated[Whole, Field(ge=1, le=1000)] = 64
    """Training wordings per fact; read unless source is none. If the model finds too few, the fact's own wordings make
    up the rest."""
    seed: Natural = 1
    """Seed of the choice and of the sampling."""
    model: ParaphraseModel = Field(default_factory=ParaphraseModel)


class Stream(Section):
    """The stream of new facts. All methods see the same batches."""

    num_facts: Count
    """Facts per stream."""
    updates: Natural = 0
    """How many of these facts are updates: facts of the stream, taught again later in it with another answer
    (docs/data.md). A shorter stream of a tuning seed has them in proportion."""
    order: Literal["shuffled", "grouped", "subjects"] = "shuffled"
    """grouped keeps the drawn facts of one subject together. subjects takes whole subjects, the facts of each in the
    data's order, as the passages of a document require."""
    steps_per_fact: Count = 10
    """Optimizer steps on each fact's batch in each epoch, for every method."""
    stop_loss: PositiveNumber | None = None
    """For every method: a batch whose loss before a step is below this, in nats per token, gets no further step in this
    epoch. null: all get steps_per_fact."""
    facts_per_step: Count = 1
    """Facts whose wordings make one batch; the last batch of an epoch may hold fewer."""
    epochs: Count = 1
    """Passes over the stream. Later passes take the facts in a new order drawn from the seed if order is shuffled, else
    in the stream's own; with more than one pass only the stream's end is evaluated, and snapshots must be empty."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning-rate schedule of every method over the stream's steps. cosine: half a cosine wave, from the method's
    rate to 0. For a method without a rate, it scales the whole step."""
    warmup_steps: Natural = 0
    """Number of first steps over which the learning rate, or the step of a method without one, rises linearly;
    fewer than the steps of the shortest stream, see tuning.num_facts and frontier.num_facts."""
    max_gradient_norm: PositiveNumber | None = None
    """The gradient of all that trains in a step is clipped to this norm (for SMF that of the selected slots, and not
    with polyak); null: no clipping."""
    max_length: Annotated[Whole, Field(ge=8)] | None = None
    """Longest training wording of a fact, in tokens, at most base.max_length; null for base.max_length. A longer text
    continues in further sequences; a longer prompt stops the run."""
    micro_batch_size: Count | None = None
    """Wordings in one forward pass, where a fact's batch does not fit into memory; null for all of them. A step is the
    same, but for rounding."""
    loss_on: LossOn = "text"
    """Which tokens of the statements are trained: text is every token, answer only what follows the prompt."""
    behind_text: Share = 0.0
    """Share of each fact's training prompts that follow a passage of the background text, for every method: which slots
    a token reads depends on the text before it (docs/selection.md)."""
    behind_examples: Share = 0.0
    """Share of each fact's training prompts that follow the solved examples of prompt_format few_shot, for every
    method; the same share of the contrast texts does; the question in the form in which it is asked is still never
    trained (docs/selection.md)."""
    paraphrases: Paraphrases = Field(default_factory=Paraphrases)
    snapshots: Distinct[Count] = []
    """Numbers of facts learned at which the model is evaluated, multiples of facts_per_step; the stream's end always
    is."""
