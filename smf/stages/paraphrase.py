"""Paraphrases of the new facts by an instruct model, with a record of how they were made."""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from smf.errors import DataError
from smf.files.artifacts import sha256, write_json, write_jsonl
from smf.files.resume import NO_RESUME, Resume, Tape
from smf.models.checkpoint import load_model, load_tokenizer
from smf.models.hub import download_model
from smf.streams.facts import read_facts
from smf.wordings.paraphrase_prompts import FACT_PROMPT, PASSAGE_PROMPT
from smf.wordings.paraphrases import ParaphraseSettings, paraphrase

logger = logging.getLogger(__name__)

_FILES = ("*.json", "*.jinja", "*.safetensors")  # configuration, tokenizer, chat template, weights


def write_paraphrases(
    settings: Mapping,
    facts_path: str | Path,
    *,
    device: str,
    path: str | Path,
    report_path: str | Path,
    resume: Resume = NO_RESUME,
) -> None:
    """Paraphrase all facts.

    Args:
        settings: The config's ``stream.paraphrases``.
        facts_path: The facts.
        device: Where to sample.
        path: Where the paraphrases go, one row per fact.
        report_path: Where the record goes: model, hash of its files, prompts, sampling, seed, and numbers of
            paraphrases found, dropped and missing.
        resume: Saves the replies so far.

    Raises:
        CheckpointError: The model cannot be downloaded or loaded.
        ConfigError: The model has no chat template.
        DataError: The facts cannot be read, or no reply can be taught.
    """
    chosen = dict(settings["model"])
    name, checkpoint, revision = (chosen.pop(key) for key in ("name", "checkpoint", "revision"))
    if name is None:
        source, origin = Path(checkpoint), {"checkpoint": checkpoint}
    else:
        source, commit = download_model(name, revision)
        origin = {"name": name, "revision": revision, "commit": commit}
    prompt, passage_prompt = chosen.pop("prompt") or FACT_PROMPT, chosen.pop("passage_prompt") or PASSAGE_PROMPT
    sampling = ParaphraseSettings(
        number=settings["number"], seed=settings["seed"], prompt=prompt, passage_prompt=passage_prompt, **chosen
    )
    model, tokenizer = load_model(source, device), load_tokenizer(source)
    made_with = {
        "model": origin,
        "model_sha256": sha256(*(path for pattern in _FILES for path in sorted(source.glob(pattern)))),
        "facts_sha256": sha256(facts_path),
        **vars(sampling),
    }
    # The job's key holds the model's name, not the contents of its folder.
    tape = Tape(resume, f"groups-{made_with['model_sha256'][:16]}")
    rows = paraphrase(model, tokenizer, read_facts(facts_path), sampling, tape)
    dropped: Counter[str] = Counter()
    for row in rows:
        dropped.update(row["dropped"])
    if not any(row["texts"] for row in rows):
        raise DataError(
            f"no reply of {name or checkpoint} can be taught; dropped: {dict(dropped)}; choose another "
            "stream.paraphrases.model or another prompt"
        )
    report = {
        **made_with,
        "facts": len(rows),
        "paraphrases": sum(len(row["texts"]) for row in rows),
        "dropped": dict(dropped),
        "missing": sum(row["missing"] for row in rows),
        "facts_without_paraphrases": sum(not row["texts"] for row in rows),
    }
    write_json(report_path, report)
    write_jsonl(path, rows)
    logger.info("%d paraphrases of %d facts; dropped: %s", report["paraphrases"], len(rows), dict(dropped) or "none")
    if report["missing"]:
        logger.warning("%d paraphrases were not found; the facts' own wordings take their place", report["missing"])
