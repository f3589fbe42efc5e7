"""The jobs that run a model, their peak memory, and what to change if a device is too small for one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from smf.methods.method import Footprint
from smf.methods.ordinary_text import number_beside
from smf.sizing import peak_memory
from smf.sizing.activations import Texts
from smf.sizing.peak_memory import Models
from smf.sizing.work import Work


@dataclass(frozen=True)
class Job:
    """A kind of job.

    Attributes:
        name: The rule, and the method where there is one.
        setting: The config key of the number of sequences per pass.
        rows: Its value.
        parts: Gives the peak's bytes by part, for models and a number of sequences.
    """

    name: str
    setting: str
    rows: int
    parts: Callable[[Models, int], dict[str, int]]


def jobs(work: Work) -> list[Job]:
    """All kinds of jobs of an experiment that run a model."""
    config, length = work.config, work.config["base"]["max_length"]
    batch = work.batch

    def texts(rows: int) -> Texts:
        return Texts(rows, length, length - 1)

    found = []
    if config["base"]["source"] == "pretrain":
        rows = _rows(config["base"]["pretraining"])
        found.append(_job("base_model", "base.pretraining.micro_batch_size", rows, peak_memory.pretraining, texts))
    healing = partial(peak_memory.healing, trains=config["healing"]["num_steps"] > 0)
    found.append(_job("heal", "healing.micro_batch_size", _rows(config["healing"]), healing, texts))
    rows = config["background"]["batch_size"]
    found.append(_job("count_background", "background.batch_size", rows, peak_memory.counting, texts))
    rows = min(config["stream"]["micro_batch_size"] or batch.rows, batch.rows)
    for name in config["methods"]:
        run = work.start(name), work.footprint(name)
        parts = partial(_learning, *run, batch, length)
        found.append(Job(f"learn {name}", "stream.micro_batch_size", rows, parts))
    rows, compared = config["evaluation"]["batch_size"], any(config["evaluation"]["kl"].values())
    for name in config["methods"]:
        parts = partial(_evaluating, work.start(name), work.footprint(name), compared)
        found.append(_job(f"evaluate {name}", "evaluation.batch_size", rows, parts, texts))
    return found


def _rows(training: Mapping) -> int:
    """Sequences per forward pass when training on text."""
    return min(training["micro_batch_size"] or training["batch_size"], training["batch_size"])


def _job(name: str, setting: str, rows: int, parts: Callable, texts: Callable[[int], Texts]) -> Job:
    return Job(name, setting, rows, lambda models, rows: parts(models, texts(rows)))


def _learning(start: str, footprint: Footprint, batch: Texts, length: int, models: Models, rows: int) -> dict[str, int]:
    """Parts of the larger peak: of the pass over facts, or over background text of at most ``length`` tokens."""
    passes = [batch]
    if footprint.text_share is not None:
        passes.append(Texts(min(batch.rows, number_beside(batch.rows, footprint.text_share)), length, length - 1))
    return max((peak_memory.learning(models, start, footprint, texts, rows) for texts in passes), key=peak_memory.total)


def _evaluating(start: str, footprint: Footprint, compared: bool, models: Models, texts: Texts) -> dict[str, int]:
    return peak_memory.evaluating(models, start, footprint, texts, compared=compared)


def remedy(job: Job, models: Models, limit: int) -> str:
    """How to fit a job into ``limit`` bytes: the most sequences per pass, with as few other changes as possible."""
    changes: list[tuple[str, Models]] = [("", models)]
    if not models.checkpointing and job.name.startswith(("learn", "heal")):
        changes.append(("base.gradient_checkpointing: true", replace(models, checkpointing=True)))
    if models.weight > 2:
        lower = replace(models, weight=2)
        changes.append(("base.dtype: bfloat16", lower))
        if len(changes) == 3:
            changes.append(
                ("base.dtype: bfloat16 and base.gradient_checkpointing: true", replace(lower, checkpointing=True))
            )
    for change, changed in changes:
        if rows := _most_rows(job, changed, limit):
            fewer = f"{job.setting}: {rows}" if rows < job.rows else ""
            return "set " + " and ".join(filter(None, (change, fewer)))
    table = 0 if models.tables_are_mapped else models.memory.num_values * models.value
    if table > limit // 4 and job.name != "base_model":
        return f"the tables alone take {table / 1e9:.1f} GB: lower memory.num_keys, or take a larger device"
    length = "stream.max_length" if job.name.startswith("learn") else "base.max_length"
    return f"take a larger device, a smaller model or shorter texts ({length})"


def _most_rows(job: Job, models: Models, limit: int) -> int:
    """The most sequences per pass with which the job fits, to half a per cent; 0 if a single one is too much."""
    rows = job.rows
    while rows and peak_memory.total(job.parts(models, rows)) > limit:
        rows -= max(1, rows // 200)
    return rows
