"""The section ``data``."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from smf.config.sources import DataSet, FactsSource, HeldOutSource, Source
from smf.settings.section import (
    Count,
    Natural,
    Section,
    Whole,
    absent,
    name,
)

if TYPE_CHECKING:
    SetName = str
else:
    SetName = name(
        "[a-z][a-z0-9_]*",
        "A held-out set's name is lower-case letters, digits and underscores; facts is taken.",
        taken=("facts",),
    )


class World(Section):
    """Sizes of the generated world; read if source is world."""

    num_old_people: Annotated[Whole, Field(ge=2)] = 300
    """People that the base model knows, four facts each."""
    num_new_people: Count = 60
    """People who appear only in streams, four facts each."""
    num_values: Annotated[Whole, Field(ge=2)] = 60
    """Distinct cities, employers, schools and fields."""
    num_activities: Annotated[Whole, Field(ge=3)] = 40
    """Scripted activities of five steps."""
    renderings: Count = 20
    """How often pretraining text retells each activity."""
    items_per_activity: Count = 5
    """HellaSwag-style items made from each activity."""
    two_hop: bool = False
    """Whether employers have a head office, told in pretraining text, so that new people can be asked where the company
    is that they work for (facts_two_hop_f1). Nothing else of the world changes."""


class QuestionSets(Section):
    """Real data; read if source is question_sets."""

    data_root: str | None = None
    """Folder with the files named below, in the hub's schemas. null loads the sets from the hub."""
    known: DataSet | None = absent()
    """Questions and answers that the base model is taught and asked (nq_open schema)."""
    new: DataSet | None = absent()
    """Questions and answers that become the new facts (TriviaQA schema)."""
    hellaswag: DataSet | None = absent()
    """Multiple-choice items (HellaSwag schema)."""


class Collection(Section):
    """Ordinary text, new facts and held-out sets; read if source is collection."""

    data_root: str | None = None
    """Folder with the files named below, in the hub's schemas. null loads from the hub each set that
    has a name there."""
    background: Source | None = absent()
    """Ordinary text, whose slot reads are counted (format: text, instructions or oasst1)."""
    healing: Source | None = absent()
    """Text that the memory is healed on (format: text, instructions or oasst1); without it, the background."""
    facts: FactsSource | None = absent()
    """The new facts (format: triviaqa, nq_open, simpleqa, counterfact, counterfact_rome, medmcqa, facts, documents or
    simpleqa_documents)."""
    held_out: dict[SetName, HeldOutSource] = {}
    """Held-out sets, which measure forgetting: a name of your choice, and its source (format: nq_open, triviaqa,
    simpleqa, hellaswag, medmcqa, gsm8k, lambada or text)."""


class Contrast(Section):
    """Contrast texts: wordings, without the answer, of facts about subjects that no stream teaches.

    They are written to data/contrast.jsonl. Methods with contrast above 0 count them as background beside ordinary
    text.
    """

    num_facts: Natural = 0
    """Facts set aside for contrast texts, by whole subjects, so that no stream draws them. In the format `facts` none
    can be spared: this many are made from them by replacing their subjects. 0: no contrast texts."""


class Data(Section):
    """What the base model reads, what it is asked, and the new facts."""

    source: Literal["world", "question_sets", "collection"]
    """world: invented people and activities. question_sets: NaturalQuestions, TriviaQA and HellaSwag, the first of
    which a small base model is taught. collection: sets in formats of their own, for a base model that was pretrained
    elsewhere."""
    seed: Natural = 1
    """Seed of the world, or of the choice of rows."""
    world: World = Field(default_factory=World)
    question_sets: QuestionSets = Field(default_factory=QuestionSets)
    collection: Collection = Field(default_factory=Collection)
    contrast: Contrast = Field(default_factory=Contrast)
