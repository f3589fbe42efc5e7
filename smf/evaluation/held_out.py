"""lm-eval tasks on data in memory: one definition in ``tasks/`` per kind of held-out set, and one for facts."""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml  # private; simple_evaluate takes no data in memory

from smf.errors import ConfigError
from smf.evaluation.documents import READERS, score_agreement
from smf.seeding import python_generator
from smf.streams.asking import PLAIN, Asking, refuse_other_examples

TASK_FOLDER = Path(__file__).parent / "tasks"
TASK_FOLDERS = {
    "questions": "smf_nq",
    "choices": "smf_hellaswag",
    "texts": "smf_texts",
    "completions": "smf_completions",
}
"""The folder of the task definition for each kind of held-out set."""
_AGREEMENT = {"metric": "f1", "aggregation": "mean", "higher_is_better": True}


def held_out_task(
    name: str,
    kind: str,
    path: str | Path,
    *,
    num_items: int | None,
    num_fewshot: int,
    max_new_tokens: int,
    seed: int,
    asking: Asking = PLAIN,
) -> "MemoryTask":
    """Build the task of a held-out set; lm-eval knows it as ``smf_<name>``.

    Args:
        name: The set.
        kind: Its kind, a key of ``MEASURES``.
        path: The file of its rows, JSONL in the schema of its kind.
        num_items: Rows asked, a seeded subset; None asks all that are not needed as solved examples.
        num_fewshot: Solved examples before each item, from the rows that are not asked.
        max_new_tokens: Longest generated answer, in tokens.
        seed: Seeds the subset.
        asking: How questions are asked.

    Raises:
        DataError: The file is missing or holds a broken row.
        ConfigError: The subset is empty, larger than the file, or leaves too few rows for the solved examples.
    """
    rows = READERS[kind](path)
    if kind == "texts" and num_fewshot:
        raise ConfigError(f"evaluation.num_fewshot.{name} is {num_fewshot}, but running text takes no solved examples")
    available = len(rows) - num_fewshot
    number = available if num_items is None else num_items
    if not 0 < number <= available:
        raise ConfigError(
            f"evaluation.num_items.{name} is {number}, but {path} holds {len(rows)} rows, {num_fewshot} of them needed "
            f"as solved examples (evaluation.num_fewshot.{name}); at most {available} and at least 1 can be asked"
        )
    if kind == "questions":
        refuse_other_examples(f"evaluation.num_fewshot.{name}", num_fewshot, asking.prompt_format)
    task = f"smf_{name}"
    asked = set(python_generator(seed, "held out", task).sample(range(len(rows)), number))
    splits = {
        "validation": [row for index, row in enumerate(rows) if index in asked],
        "train": [row for index, row in enumerate(rows) if index not in asked] if num_fewshot else [],
    }
    changes = {"task": task, "num_fewshot": num_fewshot}
    if num_fewshot:
        changes |= {"training_split": "train", "fewshot_split": "train"}
    if kind == "questions":
        changes |= _shown(asking)
    if kind == "choices" and "query" in rows[0]:
        changes["process_docs"] = None  # the rows already hold the query
    return _task(TASK_FOLDERS[kind], changes, splits, max_new_tokens)


def every_question_task(
    name: str, rows: Sequence[Mapping], *, num_fewshot: int, max_new_tokens: int, asking: Asking = PLAIN
) -> "MemoryTask":
    """Build a task that asks every row of a set of questions, each after solved examples from the other rows.

    Args:
        name: The set.
        rows: ``question`` and ``answer``, the accepted answers.
        num_fewshot: Solved examples before each row.
        max_new_tokens: Longest generated answer, in tokens.
        asking: How questions are asked.

    Raises:
        ConfigError: There are too few rows for the solved examples.
    """
    if num_fewshot >= len(rows):
        raise ConfigError(
            f"evaluation.num_fewshot.{name} is {num_fewshot}, but {name} has {len(rows)} rows, and solved examples "
            f"come from the other rows; lower it, or raise data.collection.held_out.{name}.num_rows"
        )
    # lm-eval keeps the asked row out of its examples only if both come from the test split
    changes = {"task": f"smf_{name}", "num_fewshot": num_fewshot, "test_split": "train", **_shown(asking)}
    return _task(TASK_FOLDERS["questions"], changes, {"train": rows, "validation": rows}, max_new_tokens)


def prompts_task(name: str, documents: Sequence[dict], max_new_tokens: int) -> "MemoryTask":
    """Build a task that generates answers to prompts; lm-eval knows it as ``smf_facts_<name>``.

    Answers for ``locality`` are compared with the start model's, all others with accepted answers.
    """
    changes: dict = {"task": f"smf_facts_{name}"}
    if name == "locality":
        changes |= {"process_results": score_agreement, "metric_list": [_AGREEMENT]}
    return _task("smf_facts", changes, {"validation": documents}, max_new_tokens)


def _shown(asking: Asking) -> dict:
    """The changes to a question task whose prompts are not in the plain format of its file."""
    return {} if asking.prompt_format == "plain" else {"doc_to_text": lambda row: asking.prompt(row["question"])}


def _task(folder: str, changes: Mapping, splits: Mapping[str, Sequence[Mapping]], max_new_tokens: int) -> "MemoryTask":
    config = {**load_yaml(TASK_FOLDER / folder / f"{folder}.yaml"), **changes}
    if "generation_kwargs" in config:
        config["generation_kwargs"]["max_gen_toks"] = max_new_tokens
    return MemoryTask(config, splits)


class _Rows(list):
    """The part of ``datasets.Dataset`` that lm-eval uses, without tables on disk and their fingerprints."""

    @property
    def features(self) -> dict:
        return dict.fromkeys(self[0])

    def map(self, function: Callable[[dict], dict]) -> "_Rows":
        return _Rows({**row, **function(row)} for row in self)


class MemoryTask(ConfigurableTask):
    """A task defined in a YAML file, on data in memory.

    Args:
        config: The content of the file.
        splits: The rows of each split.
    """

    def __init__(self, config: dict, splits: Mapping[str, Sequence[Mapping]]):
        self._splits = {name: _Rows(rows) for name, rows in splits.items()}
        self._documents: _Rows | None = None
        super().__init__(config=config)

    def download(self, *_: object, **__: object) -> None:
        """Use the rows in memory; nothing is downloaded."""
        self.dataset = self._splits

    @property
    def eval_docs(self) -> _Rows:
        """The documents asked, cached: lm-eval would rebuild them from the rows at every access."""
        if self._documents is None:
            self._documents = super().eval_docs
        return self._documents

    def build_all_requests(self, **options: object) -> None:
        """Build the requests, without a progress bar."""
        with contextlib.redirect_stderr(io.StringIO()):  # the bar, for milliseconds of work, cannot be switched off
            super().build_all_requests(**options)
