"""Check, before any work starts, that the data can provide what the config asks for."""

from collections.abc import Collection, Mapping
from pathlib import Path

from smf.config.config import Config
from smf.config.evaluation import Evaluation
from smf.config.sources import Source
from smf.data.formats import DOCUMENT_FORMATS, FACT_FORMATS, FEW_FACTS, PROBE_KINDS, QUESTION_FORMATS, TEXT_FORMATS
from smf.errors import ConfigError, did_you_mean, refuse
from smf.scores.metrics import TASK, held_out_metric
from smf.streams.asking import PromptFormat, refuse_other_examples


def check_data(config: Config) -> None:
    """Check that the data holds as many facts and held-out items as are asked for.

    Raises:
        ConfigError: It does not, or a source is not named or cannot be found; names the key.
    """
    data, evaluation = config.data, config.evaluation
    if evaluation.max_new_tokens >= config.base.max_length:
        limit = config.base.max_length
        refuse("evaluation.max_new_tokens", evaluation.max_new_tokens, f"below base.max_length ({limit})")
    if data.source == "collection":
        _check_collection(config)
        return
    if data.source == "world":
        world = data.world
        facts = 4 * world.num_new_people, "4 * data.world.num_new_people"
        questions = 4 * world.num_old_people, "4 * data.world.num_old_people"
        items = world.num_activities * world.items_per_activity
        choices = items, "data.world.num_activities * items_per_activity"
    else:
        sets = data.question_sets
        for name in ("known", "new", "hellaswag"):
            if getattr(sets, name) is None:
                raise ConfigError(f"data.source is question_sets, but data.question_sets.{name} is not set")
            if sets.data_root is not None:
                _require_file(f"data.question_sets.{name}.file", Path(sets.data_root) / getattr(sets, name).file)
        facts, questions, choices = (
            (getattr(sets, name).num_rows, f"data.question_sets.{name}.num_rows")
            for name in ("new", "known", "hellaswag")
        )
    _check_num_facts(config, *facts, subject_size=4 if data.source == "world" else 1)
    for probe, (available, where) in {"nq": questions, "hellaswag": choices}.items():
        asked = evaluation.num_items.get(probe) or 1  # null asks for all that are left
        if num_fewshot := evaluation.num_fewshot.get(probe):
            available, where = available - num_fewshot, f"{where} - evaluation.num_fewshot.{probe}"
        _refuse_above(f"evaluation.num_items.{probe}", asked, available, where)


def _check_collection(config: Config) -> None:
    """Check the sources of a collection: their formats fit, and each can be found."""
    collection, where = config.data.collection, "data.collection"
    for name in ("background", "facts", "held_out"):
        if not getattr(collection, name):
            raise ConfigError(f"data.source is collection, but {where}.{name} is not set")
    if config.base.min_recall:
        raise ConfigError(
            f"base.min_recall is {config.base.min_recall}, but data.source is collection, which has no questions "
            "that the base model was taught; set it to 0"
        )
    roles = {"background": TEXT_FORMATS, "healing": TEXT_FORMATS, "facts": FACT_FORMATS}
    given = {name: getattr(collection, name) for name in roles}
    sources: list[tuple[str, Source, Collection[str]]] = [
        (name, source, roles[name]) for name, source in given.items() if source is not None
    ]
    sources += [(f"held_out.{name}", source, PROBE_KINDS) for name, source in collection.held_out.items()]
    for name, source, formats in sources:
        if source.format not in formats:
            refuse(f"{where}.{name}.format", source.format, f"one of {', '.join(formats)}")
        if getattr(source, "known_only", False) and PROBE_KINDS[source.format] != "questions":
            refuse(f"{where}.{name}.known_only", True, "false: only questions are answered right or wrong")
        if getattr(source, "unknown_only", False) and source.format in DOCUMENT_FORMATS:
            refuse(f"{where}.{name}.unknown_only", True, "false: documents are passages, which answer no question")
        if collection.data_root is None and source.hub:
            continue
        if source.file is None:
            raise ConfigError(f"{where}.{name}: name its file" + ("" if source.hub else ", or its hub data set"))
        _require_file(f"{where}.{name}.file", Path(collection.data_root or ".") / source.file)
    facts = collection.facts
    assert facts is not None  # looked at first
    if facts.neighbours and facts.format not in QUESTION_FORMATS:
        refuse(f"{where}.facts.neighbours", facts.neighbours, f"0 unless format is {', '.join(QUESTION_FORMATS)}")
    if facts.neighbours and not facts.num_rows:
        raise ConfigError(
            f"{where}.facts.neighbours is {facts.neighbours}, but {where}.facts.num_rows is not set: neighbours come "
            "from the rows that it leaves out; set it"
        )
    if facts.format == "simpleqa_documents" and facts.first_rows is None:
        raise ConfigError(
            f"{where}.facts.first_rows is not set; set it to the number of questions whose articles are fetched"
        )
    if (
        facts.num_rows and facts.format not in DOCUMENT_FORMATS
    ):  # a document has many passages; their number is not known yet
        _check_num_facts(config, facts.num_rows, f"{where}.facts.num_rows", spares_none=facts.format == FEW_FACTS)


def _check_num_facts(
    config: Config, available: int, where: str, *, subject_size: int = 1, spares_none: bool = False
) -> None:
    """Check that enough facts are left for a stream, besides those set aside for contrast texts.

    Args:
        config: The config.
        available: Number of facts in the pool, or an upper bound.
        where: The setting that gives this number.
        subject_size: Facts per subject, as subjects are set aside whole.
        spares_none: Whether contrast texts take no facts from the pool.
    """
    asked, updates = config.stream.num_facts, config.stream.updates
    available, where = available + updates, f"{where} + stream.updates" if updates else where
    number = 0 if spares_none else config.data.contrast.num_facts
    number = -(-number // subject_size) * subject_size
    if number and asked + number > available:
        raise ConfigError(
            f"stream.num_facts is {asked} and data.contrast.num_facts sets {number} facts aside, but there are at most "
            f"{available} ({where}); lower one of them or raise the latter",
            ("data", "contrast", "num_facts"),
        )
    _refuse_above("stream.num_facts", asked, available, where)


def _require_file(key: str, path: Path) -> None:
    if not path.is_file():
        tried = "" if path.is_absolute() else f" (looked for {path.absolute()})"
        raise ConfigError(
            f"{key}: there is no file {path}; correct the name or {'.'.join(key.split('.')[:2])}.data_root, or set "
            f"data_root to null to load from the hub{tried}",
            tuple(key.split(".")),
        )


def check_evaluation(evaluation: Evaluation, probes: Mapping[str, str], prompt_format: PromptFormat) -> None:
    """Check that every held-out set and metric that is named is measured, and that each set is asked in one way.

    Args:
        evaluation: The config's ``evaluation``.
        probes: The held-out sets by name, each with its kind.
        prompt_format: How questions are asked.

    Raises:
        ConfigError: A name is unknown, two things have the same, a set of questions has solved examples twice, or there
            is no running text to compare on.
    """
    for setting in ("num_items", "num_fewshot"):
        for name in getattr(evaluation, setting):
            if name not in probes:
                raise ConfigError(
                    f"evaluation.{setting}: there is no held-out set {name!r}; {did_you_mean(name, probes)}known: "
                    f"{', '.join(probes)}"
                )
    for name, number in evaluation.num_fewshot.items():
        if probes[name] == "questions":
            refuse_other_examples(f"evaluation.num_fewshot.{name}", number, prompt_format)
    tasks = evaluation.tasks
    if shared := sorted(set(tasks) & set(probes)):
        raise ConfigError(
            f"evaluation.tasks.{shared[0]}: a held-out set has this name too, and their metrics would be named alike; "
            "drop one of them"
        )
    if (number := evaluation.kl.num_texts) and "texts" not in probes.values():
        refuse("evaluation.kl.num_texts", number, "0: no held-out set is running text (data.collection, format text)")
    for name in evaluation.headline or ():
        try:
            held_out_metric(name, {**probes, **dict.fromkeys(tasks, TASK)})
        except ConfigError as error:
            raise ConfigError(f"evaluation.headline: {error}") from error


def _refuse_above(key: str, value: int, limit: int, where: str) -> None:
    if value > limit:
        refuse(key, value, f"at most {limit} ({where})")
