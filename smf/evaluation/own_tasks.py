"""Write a run's held-out tasks as files, for lm-eval's command line, which takes no data in memory."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from smf.data.known_rows import held_out_files
from smf.evaluation.documents import READERS
from smf.evaluation.held_out import TASK_FOLDER, TASK_FOLDERS
from smf.files.artifacts import read_json, read_jsonl

_COLUMNS = {
    "question": "questions",
    "endings": "choices",
    "query": "choices",
    "text": "texts",
    "completion": "completions",
}
"""The kind of a held-out set by a column that no other kind has."""


def write_own_tasks(model: str | Path, folder: str | Path) -> list[str]:
    """Write a task for each held-out set of the run that a model belongs to.

    A task asks all rows of its set as the run did, with the same answer length, and without solved examples unless the
    command line asks for some.

    Args:
        model: The folder of the run's ``base`` or ``healed`` model.
        folder: The folder to write to.

    Returns:
        The names of the tasks, ``smf_<set>``; none if the model lies in no results folder.

    Raises:
        DataError: A held-out file holds a broken row.
    """
    model = Path(model).absolute()
    evaluated = model / "evaluate" / "held_out.json"
    asked: Mapping = read_json(evaluated)["lm_eval"]["configs"] if evaluated.is_file() else {}
    names = []
    for path in held_out_files(model.parent):
        first = read_jsonl(path, {})[0]
        kind = next((kind for column, kind in _COLUMNS.items() if column in first), "questions")
        READERS[kind](path)  # names the line of a broken row, which lm-eval does not
        name, definition = f"smf_{path.stem}", TASK_FOLDERS[kind]
        task = {
            "include": str(TASK_FOLDER / definition / f"{definition}.yaml"),
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"validation": str(path)}},
            "training_split": None,
            "fewshot_split": None,
        }
        if "query" in first:
            task["process_docs"] = None  # the rows already hold the query
        if generation := asked.get(name, {}).get("generation_kwargs"):
            task["generation_kwargs"] = dict(generation)
        (Path(folder) / f"{name}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
        names.append(name)
    return names
