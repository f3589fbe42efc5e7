"""The training wordings that a stream teaches: those of the data, or paraphrases as the config asks."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from smf.errors import DataError
from smf.files.artifacts import read_jsonl
from smf.streams.facts import Fact
from smf.wordings.templates import template_wordings


def reworded(facts: Sequence[Fact], settings: Mapping, paraphrases_path: str | Path | None) -> list[Fact]:
    """The facts with the training wordings that a stream teaches.

    Args:
        facts: The facts as in the data.
        settings: The config's ``stream.paraphrases``. With ``source: none`` the facts stay as they are. With
            ``templates`` each gets ``number`` wordings (:func:`smf.wordings.templates.template_wordings`). With
            ``model`` each gets its paraphrases and, if fewer than ``number`` were found, its own wordings too; a
            passage is always learned itself.
        paraphrases_path: File of the paraphrases; None unless the source is ``model``.
    """
    if settings["source"] == "none":
        return list(facts)
    if settings["source"] == "templates":
        return [template_wordings(fact, settings["number"], settings["seed"]) for fact in facts]
    assert paraphrases_path is not None
    rows = read_jsonl(paraphrases_path, {"fact_id": str, "texts": list})
    texts = {row["fact_id"]: row["texts"] for row in rows}
    if missing := [fact.fact_id for fact in facts if fact.fact_id not in texts]:
        raise DataError(
            f"{paraphrases_path} has no paraphrases of the fact {missing[0]!r}; run the rule paraphrase again"
        )
    return [_paraphrased(fact, texts[fact.fact_id], settings["number"]) for fact in facts]


def _paraphrased(fact: Fact, texts: Sequence[str], number: int) -> Fact:
    if fact.is_passage:
        return dataclasses.replace(fact, train_texts=(*fact.train_texts, *texts)[:number])
    missing = number - len(texts)
    prompts = fact.train_prompts[: max(0, missing)]
    own_texts = fact.train_texts[: max(0, missing - len(prompts))]
    return dataclasses.replace(fact, train_prompts=prompts, train_texts=(*texts[:number], *own_texts))
