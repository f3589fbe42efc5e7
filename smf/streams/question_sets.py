"""Real question sets through ``datasets``: NaturalQuestions to know, TriviaQA to learn, HellaSwag to watch.

Rows come from the hub by name, or from JSONL files that have the hub's schemas. This is the only module that imports
``datasets``.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import datasets
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from smf.artifacts import read_jsonl
from smf.errors import ConfigError, DataError
from smf.seeding import python_generator
from smf.streams.examples import Example
from smf.streams.facts import Fact
from smf.streams.prepared import PreparedData, known_examples
from smf.streams.wordings import QUESTION_ANSWER_TEST, QUESTION_ANSWER_TRAIN

logger = logging.getLogger(__name__)

MAX_QUESTION_CHARACTERS = 120  # with a wording and an answer about 70 tokens: every text fits a window of 128
MAX_ANSWER_CHARACTERS = 40  # an evaluation generates a few tokens only; a longer answer could never be given
HUB_TIMEOUT = 10.0  # seconds until the hub counts as unreachable; its own client would retry for a minute

_QUESTIONS = {"question": str, "answer": list}
_TRIVIA = {"question": str, "answer": dict}
_CONTEXT = {"ind": int, "activity_label": str, "ctx_a": str, "ctx_b": str, "ctx": str}
_CHOICES = {**_CONTEXT, "endings": list, "label": (str, int)}


@dataclass(frozen=True)
class _Pair:
    """A question and its accepted answers, the taught one first; ``row`` counts from 1 in the source."""

    row: int
    question: str
    answers: tuple[str, ...]

    @property
    def key(self) -> str:
        """Equal for questions that differ in case, punctuation or spaces only."""
        return "".join(character for character in self.question.lower() if character.isalnum())


def prepare_question_sets(
    *, data_root: str | None, known: Mapping, new: Mapping, hellaswag: Mapping, seed: int
) -> PreparedData:
    """Real questions: those that the base model is taught, those that the stream teaches, and choices.

    Args:
        data_root: Folder of the JSONL files; without it, the data sets come from the hub.
        known: Source in the nq_open schema: ``hub``, ``hub_config`` (or None), ``split``, ``file`` (below
            ``data_root``) and ``num_rows``, how many usable rows are drawn.
        new: Source in the trivia_qa schema, the pool of facts that streams are drawn from.
        hellaswag: Source in the HellaSwag schema.
        seed: Of the choice of rows.

    Raises:
        DataError: A file or a data set is missing or unreachable, lacks a column, or a row is broken.
        ConfigError: A source has fewer usable rows than ``num_rows``.
    """
    known_pairs = _draw("known", known, _usable("known", _read_questions(data_root, known), set()), seed)
    taken = {pair.key for pair in known_pairs}
    new_pairs = _draw("new", new, _usable("new", _read_trivia(data_root, new), taken), seed)
    choices = _draw("hellaswag", hellaswag, _read_choices(data_root, hellaswag), seed)
    questions = [{"question": pair.question, "answer": list(pair.answers)} for pair in known_pairs]
    text = [example for pair in known_pairs for example in _statements(pair)] + known_examples(questions)
    return PreparedData(
        pretraining=text,
        background=text,
        held_out={"nq": questions, "hellaswag": choices},
        facts=[_fact(pair) for pair in new_pairs],
        labels={
            "held_out_qa": f"NaturalQuestions ({_short(known)}, of {len(questions):,} that the base model was taught)",
            "held_out_choice": f"HellaSwag ({hellaswag['split']}, {len(choices):,} items)",
            "facts": "TriviaQA questions",
            "notes": [
                f"Real data: {len(questions):,} questions of {_name(known)}, which the base model was taught and "
                f"answers, and new facts from {_name(new)}.",
                "HellaSwag is at floor (25 %) for a model of this size.",
            ],
        },
    )


def _statements(pair: _Pair) -> list[Example]:
    wordings = (*QUESTION_ANSWER_TRAIN, *QUESTION_ANSWER_TEST)
    return [Example(wording.format(question=pair.question), f" {pair.answers[0]}.") for wording in wordings]


def _fact(pair: _Pair) -> Fact:
    return Fact(
        fact_id=f"trivia-{pair.row:05d}",
        subject=pair.question,
        train_prompts=tuple(wording.format(question=pair.question) for wording in QUESTION_ANSWER_TRAIN),
        unseen_prompts=tuple(wording.format(question=pair.question) for wording in QUESTION_ANSWER_TEST),
        question=pair.question,
        answers=pair.answers,
    )


def _usable(role: str, pairs: Sequence[_Pair], taken: set[str]) -> list[_Pair]:
    """The pairs that can be taught in a sentence; the others are dropped, and how many and why is logged."""
    kept, seen, dropped = [], set(taken), dict[str, int]()
    for pair in pairs:
        if reason := _unusable(pair, seen):
            dropped[reason] = dropped.get(reason, 0) + 1
        else:
            seen.add(pair.key)
            kept.append(pair)
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(dropped.items())) or "none"
    logger.info("%s: %d of %d rows are usable; dropped: %s", role, len(kept), len(pairs), reasons)
    return kept


def _unusable(pair: _Pair, seen: set[str]) -> str | None:
    if not pair.key:
        return "without a question"
    if not pair.answers:
        return "without an answer"
    if len(pair.question) > MAX_QUESTION_CHARACTERS:
        return f"with a question of more than {MAX_QUESTION_CHARACTERS} characters"
    if len(pair.answers[0]) > MAX_ANSWER_CHARACTERS:
        return f"with an answer of more than {MAX_ANSWER_CHARACTERS} characters"
    if "?" in pair.question:
        return "with several sentences"
    if pair.key in seen:
        return "asked before"
    return None


def _draw(role: str, source: Mapping, rows: Sequence, seed: int) -> list:
    if len(rows) < source["num_rows"]:
        raise ConfigError(
            f"data.question_sets.{role}.num_rows is {source['num_rows']} but only {len(rows)} rows of {_name(source)} "
            "can be used; lower num_rows or give a larger file"
        )
    return python_generator(seed, "question sets", role).sample(rows, source["num_rows"])


def _read_questions(data_root: str | None, source: Mapping) -> list[_Pair]:
    pairs = []
    for number, where, row in _rows(data_root, source, _QUESTIONS):
        if not _are_texts(row["answer"]):
            raise DataError(f"{where}: column 'answer' must be a list of texts, found {row['answer']!r}")
        pairs.append(_pair(number, row["question"], row["answer"]))
    return pairs


def _read_trivia(data_root: str | None, source: Mapping) -> list[_Pair]:
    pairs = []
    for number, where, row in _rows(data_root, source, _TRIVIA):
        value, aliases = row["answer"].get("value"), row["answer"].get("aliases")
        if not isinstance(value, str) or not _are_texts(aliases):
            raise DataError(f"{where}: column 'answer' must hold 'value' (a text) and 'aliases' (a list of texts)")
        pairs.append(_pair(number, row["question"], [value, *aliases] if value.strip() else []))
    return pairs


def _read_choices(data_root: str | None, source: Mapping) -> list[dict]:
    choices = []
    for _, where, row in _rows(data_root, source, _CHOICES):
        if not _are_texts(row["endings"]) or len(row["endings"]) < 2:
            raise DataError(f"{where}: column 'endings' must be a list of two texts or more, found {row['endings']!r}")
        if str(row["label"]) not in map(str, range(len(row["endings"]))):
            raise DataError(f"{where}: label {row['label']!r} names none of the {len(row['endings'])} endings")
        choices.append(row)
    return choices


def _pair(number: int, question: str, answers: Sequence[str]) -> _Pair:
    question = " ".join(question.split())
    if len(question) > 1 and question[0] == question[-1] == '"' and '""' in question:
        question = question[1:-1].replace('""', '"')  # TriviaQA has rows that kept the quotes of a CSV file
    answers = dict.fromkeys(" ".join(answer.split()) for answer in answers if answer.strip())
    return _Pair(number, question.rstrip("? "), tuple(answers))


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _rows(data_root: str | None, source: Mapping, columns: Mapping) -> Iterator[tuple[int, str, dict]]:
    """The rows of a source with the columns that are needed: number from 1, place for messages, row."""
    if data_root is not None:
        path = Path(data_root) / source["file"]
        place, rows = f"{path}, line", _read_file(path, columns)
    else:
        place, rows = f"{_name(source)}, row", _read_hub(source, columns)
    for number, row in enumerate(rows, start=1):
        yield number, f"{place} {number}", {column: row[column] for column in columns}


def _read_file(path: Path, columns: Mapping) -> datasets.Dataset:
    read_jsonl(path, columns)  # names the line of a broken row, which datasets does not
    with tempfile.TemporaryDirectory() as cache:  # nothing is left behind: the file itself is the copy to keep
        try:
            return datasets.load_dataset(
                "json", data_files=str(path), split="train", cache_dir=cache, keep_in_memory=True
            )
        except datasets.exceptions.DatasetGenerationError as error:
            raise DataError(f"{path}: datasets cannot read it as one table: {error.__cause__ or error}") from error


def _read_hub(source: Mapping, columns: Mapping) -> datasets.Dataset:
    name, remedy = source["hub"], "check the network, or set data_root to a folder with the JSONL files"
    try:
        with _cache_only_if(not _hub_answers(name)):
            data = datasets.load_dataset(name, source["hub_config"], split=source["split"])
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise DataError(f"cannot load {_name(source)} from the hub: {error}; {remedy}") from error
    if missing := [column for column in columns if column not in data.column_names]:
        raise DataError(f"{_name(source)}: no column {missing[0]!r}; found {', '.join(sorted(data.column_names))}")
    return data


def _hub_answers(name: str) -> bool:
    try:
        HfApi(endpoint=datasets.config.HF_ENDPOINT).dataset_info(name, timeout=HUB_TIMEOUT)
    except HfHubHTTPError:
        return True  # it says no, and load_dataset will say why
    except (HTTPError, OfflineModeIsEnabled) as error:
        logger.warning("the hub cannot be reached (%s); looking for %s in the local cache", error, name)
        return False
    return True


@contextmanager
def _cache_only_if(offline: bool) -> Iterator[None]:
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _name(source: Mapping) -> str:
    config = f"/{source['hub_config']}" if source["hub_config"] else ""
    return f"{source['hub']}{config} {source['split']}"


def _short(source: Mapping) -> str:
    return f"{source['hub'].rpartition('/')[2]} {source['split']}"
