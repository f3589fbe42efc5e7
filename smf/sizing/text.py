"""The plan as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smf.sizing.jobs import jobs, remedy
from smf.sizing.peak_memory import total
from smf.sizing.work import Work

_LIBRARIES = 600 * 10**6  # a process with torch, transformers and lm-eval loaded; takes no memory of a GPU


@dataclass(frozen=True)
class Block:
    """One table of the plan: a title, and rows of a name and a text."""

    title: str
    rows: list[tuple[str, str]]


@dataclass(frozen=True)
class Plan:
    """What an experiment will need.

    Attributes:
        blocks: Models, work, disk and peak memory.
        verdict: Whether every job fits the device, and what to change for each that does not.
    """

    blocks: list[Block]
    verdict: str

    @property
    def text(self) -> str:
        """The whole plan as aligned text."""
        sections = []
        for block in self.blocks:
            width = max(len(name) for name, _ in block.rows)
            sections.append("\n".join([block.title, *(f"  {name:<{width}}  {text}" for name, text in block.rows)]))
        return "\n\n".join([*sections, self.verdict]) + "\n"


def plan(work: Work, device_memory: int) -> Plan:
    """Estimate what an experiment will need, as readable text.

    Args:
        work: The experiment's work.
        device_memory: Bytes of the device that jobs compute on.
    """
    memory, verdict = _memory(work, device_memory)
    return Plan([_models(work), _work(work), _disk(work), memory], verdict)


def _models(work: Work) -> Block:
    models = work.models
    shape = models.memory
    one = {part: number for part, number in shape.parameters.items() if number}
    added = shape.num_values + shape.num_others
    base = work.config["base"]
    rows = [
        ("base model", f"{_number(models.base.num_parameters)} parameters, {base['dtype']}"),
        ("memory layers", f"{len(shape.layers)}, at blocks {', '.join(map(str, sorted(shape.layers)))}"),
        ("a layer", ", ".join(f"{part} {_number(number)}" for part, number in one.items())),
        ("parameters added", _number(added)),
        (
            "tables",
            f"{_number(shape.num_slots)} slots of {shape.value_dim} a layer, "
            f"{_megabytes(shape.num_values * models.value)} in all"
            + (", in memory only what is written" if models.tables_are_mapped else ""),
        ),
    ]
    return Block("Models", rows)


def _work(work: Work) -> Block:
    passes, batch, config = work.passes, work.batch, work.config
    tokens = passes.num_steps * batch.num_tokens
    asked = ", ".join(f"{probe} {'all' if number is None else number}" for probe, number in work.asked.items())
    most = config["evaluation"]["num_facts"]
    facts = "the facts" if most is None else f"at most {_number(most)} of the facts"
    rows = [
        (
            "jobs",
            f"{sum(work.jobs.values())}: "
            + ", ".join(f"{rule} {number}" for rule, number in work.jobs.items() if number),
        ),
        *([("updates", _updates(config["stream"]))] if config["stream"]["updates"] else []),
        ("sweep", f"{work.sweep_runs} more jobs for tables/tuning.csv"),
        (
            "a stream",
            f"{_number(passes.num_steps)} optimizer steps of {batch.rows} texts, at most {_number(tokens)} tokens, "
            f"for every method{_but(work.stepless)}",
        ),
        (
            "healing",
            f"{_number(config['healing']['num_steps'])} optimizer steps of {config['healing']['batch_size']} texts, "
            f"{work.probe_passes} batches to measure loss and slot use",
        ),
        ("evaluations", f"{work.evaluations}, each with {asked} and {facts} taught so far"),
        *([("asked first", _asked_first(work))] if work.asked_first else []),
        ("generated answers", f"at most {_number(work.answers)}"),
    ]
    return Block("Work", rows)


def _updates(stream: Mapping) -> str:
    updates, num_facts = stream["updates"], stream["num_facts"]
    return (
        f"{_number(updates)} of a stream's {_number(num_facts)} facts are taught to replace {_number(updates)} others"
    )


def _but(methods: Sequence[str]) -> str:
    return f" but {', '.join(methods)}" if methods else ""


def _asked_first(work: Work) -> str:
    """The questions that the base model is asked first, to choose rows by its answers."""
    asked = ", ".join(f"{name} {'all' if number is None else number}" for name, number in work.asked_first.items())
    return f"the base model is asked {asked}, to keep the questions that it answers and the facts that it does not"


def _disk(work: Work) -> Block:
    sizes = work.disk
    rows = [(name, _megabytes(size)) for name, size in sizes.items()]
    title = f"Disk below {work.config['results']} for the main figure, without data and resume state"
    return Block(title, [*rows, ("sum", _megabytes(sum(sizes.values())))])


def _memory(work: Work, device_memory: int) -> tuple[Block, str]:
    models = work.models
    libraries = _LIBRARIES if models.on_cpu else 0
    room = device_memory - libraries
    rows, warnings = [], []
    for job in jobs(work):
        parts = job.parts(models, job.rows)
        peak = total(parts)
        details = "; ".join(filter(None, (_largest(parts), f"{job.setting} {job.rows}")))
        rows.append((job.name, f"{_gigabytes(peak)}  ({details})"))
        if peak > room:
            warnings.append(f"  {job.name} needs {_gigabytes(peak)}: {remedy(job, models, room)}")
    length, of_wordings = work.config["base"]["max_length"], work.config["stream"]["max_length"]
    title = f"Peak memory on {work.config['device']}, if every text had base.max_length ({length}) tokens"
    if of_wordings is not None:
        title += f" and every wording stream.max_length ({of_wordings})"
    title += "; shorter ones need less"
    if libraries:
        title += f". Python and its libraries take {_gigabytes(libraries)} more"
    if work.paraphraser is not None:
        rows.append(("paraphrase", f"not estimated: the config does not tell the sizes of {work.paraphraser}"))
    if not warnings:
        return Block(title, rows), f"Every job fits the device, which has {_gigabytes(device_memory)}."
    few = f"too little for {len(warnings)} of {len(rows)} kinds of jobs"
    head = f"WARNING: the device has {_gigabytes(device_memory)}, {few}."
    return Block(title, rows), "\n".join([head, *warnings])


def _largest(parts: Mapping[str, int]) -> str:
    shown = sorted(parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {_gigabytes(size)}" for name, size in shown if size >= 10**7)


def _number(number: int) -> str:
    return f"{number:,}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
