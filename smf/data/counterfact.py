"""CounterFact (Meng et al., 2022): facts that no model can know, in the two layouts in which the set is distributed.

One wording is taught. Rewordings are not, nor are neighbours, whose answers must stay the same. The set has no
questions of its own: the question asks how the taught sentence continues.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smf.errors import DataError
from smf.files.artifacts import Columns
from smf.rows.sources import Row
from smf.streams.facts import Fact

NEIGHBOURS = 2
"""How many of the ten neighbours that the original layout gives a fact are asked."""


@dataclass(frozen=True)
class Layout:
    """The layout of a copy of the set.

    Attributes:
        columns: The columns to read.
        fact_of: Converts a row to a fact.
    """

    columns: Columns
    fact_of: Callable[[Row], Fact]


def _easyedit_fact(row: Row) -> Fact:
    values = row.values
    return _fact(
        values["case_id"],
        values["subject"],
        values["prompt"],
        values["target_new"],
        [values["rephrase_prompt"]],
        [(values["locality_prompt"], values["locality_ground_truth"])],
    )


def _rome_fact(row: Row) -> Fact:
    """A fact of the original layout, whose neighbours all have the answer that the rewrite replaces.

    Raises:
        DataError: The rewrite lacks one of its parts.
    """
    rewrite = row.values["requested_rewrite"]
    try:
        prompt, subject = rewrite["prompt"], rewrite["subject"]
        new, old = rewrite["target_new"]["str"], rewrite["target_true"]["str"]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{row.where}: column 'requested_rewrite' must hold prompt, subject, target_new.str and target_true.str, "
            f"found {rewrite!r}"
        ) from error
    neighbours = [(neighbour, old) for neighbour in row.values["neighborhood_prompts"][:NEIGHBOURS]]
    taught = prompt.replace("{}", subject)
    return _fact(row.values["case_id"], subject, taught, new, row.values["paraphrase_prompts"], neighbours)


def _fact(
    case: int, subject: str, prompt: str, answer: str, rewordings: Sequence[str], neighbours: Sequence[tuple[str, str]]
) -> Fact:
    prompt = _spaced(prompt)
    return Fact(
        fact_id=f"counterfact-{case:05d}",
        subject=_spaced(subject),
        train_prompts=(prompt,),
        unseen_prompts=tuple(map(_spaced, rewordings)),
        question=f'How does the sentence "{prompt} ..." go on',
        answers=(_spaced(answer),),
        locality_prompts=tuple(_spaced(neighbour) for neighbour, _ in neighbours),
        locality_answers=tuple(_spaced(answer) for _, answer in neighbours),
    )


def _spaced(text: str) -> str:
    return " ".join(text.split())


EASYEDIT = Layout(
    {
        "case_id": int,
        "subject": str,
        "prompt": str,
        "target_new": str,
        "rephrase_prompt": str,
        "locality_prompt": str,
        "locality_ground_truth": str,
    },
    _easyedit_fact,
)
"""EasyEdit's flat layout, one row per fact: one rewording, one neighbour."""

ROME = Layout(
    {"case_id": int, "requested_rewrite": dict, "paraphrase_prompts": list, "neighborhood_prompts": list}, _rome_fact
)
"""The original layout."""
