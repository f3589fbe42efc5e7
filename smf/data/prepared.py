"""The data that an experiment reads: the same files for every source, generated world or real question sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smf.data.world import build_world, new_facts
from smf.data.world_text import activity_items, known_questions, pretraining_text
from smf.files.artifacts import write_json, write_jsonl
from smf.streams.examples import Example, write_corpus
from smf.streams.facts import Fact, question_prompt, write_facts


@dataclass(frozen=True)
class PreparedData:
    """Everything that the experiment reads.

    Attributes:
        pretraining: Text to pretrain the base model on.
        background: Ordinary text, whose slot reads are counted; holds nothing about new facts.
        held_out: Rows of each held-out set by its name, in the schema of its kind.
        facts: New facts, the pool that every stream is drawn from.
        labels: Texts for figures: ``held_out`` (one for each set), ``facts`` and ``notes``; and ``chance``, the score
            of guessing on sets of choices.
        healing: Text to heal the memory on; None for the background.
        contrast: Texts worded like the facts, about other subjects; None if there are none.
    """

    pretraining: Sequence[Example]
    background: Sequence[Example]
    held_out: Mapping[str, Sequence[Mapping]]
    facts: Sequence[Fact]
    labels: Mapping[str, object]
    healing: Sequence[Example] | None = None
    contrast: Sequence[Example] | None = None

    def write(self, folder: str | Path) -> None:
        """Write the files of ``results/data``."""
        folder = Path(folder)
        write_corpus(folder / "pretraining.jsonl", self.pretraining)
        write_corpus(folder / "background.jsonl", self.background)
        write_corpus(folder / "healing.jsonl", self.background if self.healing is None else self.healing)
        if self.contrast is not None:
            write_corpus(folder / "contrast.jsonl", self.contrast)
        for name, rows in self.held_out.items():
            write_jsonl(folder / "held_out" / f"{name}.jsonl", rows)
        write_facts(folder / "facts.jsonl", self.facts)
        write_json(folder / "labels.json", self.labels)


def known_examples(questions: Sequence[Mapping]) -> list[Example]:
    """Questions in the NaturalQuestions schema as prompts with their first answers."""
    return [Example(question_prompt(row["question"]), f" {row['answer'][0]}") for row in questions]


def prepare_world(
    *,
    num_old_people: int,
    num_new_people: int,
    num_values: int,
    num_activities: int,
    renderings: int,
    items_per_activity: int,
    seed: int,
    two_hop: bool = False,
) -> PreparedData:
    """Prepare the data of the generated world (see :mod:`smf.data.world`).

    Raises:
        ConfigError: The settings ask for more than can be invented.
    """
    world = build_world(
        num_old_people=num_old_people,
        num_new_people=num_new_people,
        num_values=num_values,
        num_activities=num_activities,
        seed=seed,
        two_hop=two_hop,
    )
    text = pretraining_text(world, renderings=renderings, seed=seed)
    return PreparedData(
        pretraining=text,
        background=text,
        held_out={
            "nq": known_questions(world),
            "hellaswag": activity_items(world, items_per_activity=items_per_activity, seed=seed),
        },
        facts=new_facts(world),
        labels={
            "held_out": {
                "nq": "NaturalQuestions-style questions (generated world)",
                "hellaswag": "HellaSwag-style endings (generated world)",
            },
            "chance": {"hellaswag": 0.25},
            "facts": "invented people",
            "notes": [
                f"All data are generated: {num_old_people} invented people that the base model knows, "
                f"{num_new_people} that it does not, {num_activities} scripted activities. "
                "None of it is from the real NaturalQuestions or HellaSwag sets."
            ],
        },
    )
