"""lm-eval's own tasks, and those of a user's folder, by their names."""

import logging
import os
from collections.abc import Iterable, Mapping
from functools import cache

import lm_eval
from huggingface_hub import constants
from huggingface_hub.errors import HTTPError
from lm_eval.api.task import Task
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Kind  # private; the only place that tells tasks from groups without loading them

from smf.errors import ConfigError, did_you_mean
from smf.rows.hub_failures import explained_for_task
from smf.scores.metrics import higher_is_better, is_share
from smf.seeding import derive_seed, python_generator

logger = logging.getLogger(__name__)

# Otherwise lm-eval forks processes to bootstrap standard errors, and a fork beside torch's threads can hang.
os.environ["DISABLE_MULTIPROC"] = "1"


def check_names(names: Iterable[str], include_path: str | None) -> None:
    """Check that lm-eval has a task of each name. It takes seconds: lm-eval reads all its task files.

    Args:
        names: The keys of ``evaluation.tasks``.
        include_path: A folder of more task files, or None.

    Raises:
        ConfigError: A name is unknown, or is that of a group of tasks.
    """
    for name in names:
        manager = _manager(name, include_path)
        entry = manager.task_index.get(name)
        if entry is None:
            hint = did_you_mean(name, manager.all_subtasks, most=3)
            where = f" and in {include_path}" if include_path else "; evaluation.include_path names a folder of others"
            raise ConfigError(f"evaluation.tasks: there is no task {name!r}; {hint}looked in lm-eval{where}")
        if entry.kind not in (Kind.TASK, Kind.PY_TASK):
            members = sorted(task for task in _members(manager, name) if task != name)
            few = f", {', '.join(members[:5])}{', …' if len(members) > 5 else ''}" if members else ""
            raise ConfigError(
                f"evaluation.tasks: {name!r} is a group of tasks, which has no scores of single items; name the tasks "
                f"that you want{few}"
            )


def named_task(name: str, settings: Mapping, include_path: str | None, seed: int) -> tuple[Task, list[int] | None]:
    """Load one of lm-eval's tasks with its data.

    Args:
        name: The task.
        settings: ``num_items`` (None or absent: all) and ``num_fewshot`` (None or absent: the task's own).
        include_path: A folder of more task files, or None.
        seed: Seeds the subset.

    Returns:
        The task, and the indices of the documents to ask; None for all.

    Raises:
        ConfigError: The name is unknown or a group's, or the task has fewer documents than are to be asked.
        DataError: Its data cannot be loaded.
    """
    check_names([name], include_path)
    manager = _manager(name, include_path)
    try:
        task = manager.load([name])["tasks"][name]
    except (OSError, RuntimeError, ValueError, HTTPError) as error:
        raise explained_for_task(name, manager.task_index[name].cfg or {}, error, constants.ENDPOINT) from error
    if (num_fewshot := settings.get("num_fewshot")) is not None:
        task.set_config(key="num_fewshot", value=num_fewshot)
    number, available = settings.get("num_items"), len(task.eval_docs)
    if number is None or number == available:
        return task, None
    if number > available:
        raise ConfigError(
            f"evaluation.tasks.{name}.num_items is {number}, but the task has {available} documents; lower it"
        )
    return task, sorted(python_generator(seed, "task", name).sample(range(available), number))


def seed_examples(task: Task, seed: int) -> None:
    """Restart the sequence of solved examples, so that every snapshot sees the same ones."""
    task.set_fewshot_seed(derive_seed(seed, "solved examples", task.task_name))


def task_scores(name: str, results: Mapping, directions: Mapping[str, bool], wanted: Iterable[str] | None) -> list:
    """Convert lm-eval's results of one task to scores with our names, ``<task>_<metric>``.

    A task that filters answers in several ways has ``<task>_<filter>_<metric>`` instead.

    Args:
        name: The task.
        results: lm-eval's, keys like ``acc,none``.
        directions: For each of lm-eval's metrics, whether higher is better.
        wanted: lm-eval's metrics to report; None for all.

    Raises:
        ConfigError: The task does not measure a wanted metric, or reports a value that is not a number, or a metric
            whose direction or range contradicts its name.
    """
    found = [key.split(",") for key in results if "," in key and "_stderr," not in key]
    if unknown := sorted(set(wanted or ()) - {metric for metric, _ in found}):
        known = ", ".join(sorted({metric for metric, _ in found}))
        raise ConfigError(f"evaluation.tasks.{name}.metrics: the task measures no {unknown[0]!r}; known: {known}")
    several = len({kind for _, kind in found}) > 1
    scores = []
    for metric, kind in found:
        if wanted is not None and metric not in wanted:
            continue
        value, stderr = results[f"{metric},{kind}"], results.get(f"{metric}_stderr,{kind}", "N/A")
        ours = f"{name}_{kind}_{metric}" if several else f"{name}_{metric}"
        remedy = f"name the metrics that you want in evaluation.tasks.{name}.metrics"
        if not isinstance(value, int | float):
            raise ConfigError(f"the task {name} reports {metric} {value!r}, which is not a number; {remedy}")
        if directions.get(metric, True) != higher_is_better(ours):
            better = "higher" if directions.get(metric, True) else "lower"
            raise ConfigError(
                f"the task {name} says that a {better} {metric} is better, but tables and figures go by its name and "
                f"would reverse it; {remedy}, without this one"
            )
        if is_share(ours) and not 0 <= value <= 1:  # squadv2's f1 is in per cent
            raise ConfigError(
                f"the task {name} reports {metric} {value}, but tables and figures take a metric of this name for a "
                f"share in [0, 1]; {remedy}, without this one"
            )
        scores.append({"metric": ours, "value": float(value), "stderr": None if stderr == "N/A" else float(stderr)})
    return scores


def _manager(name: str, include_path: str | None) -> TaskManager:
    """The task index that holds a name: the user's folder alone if the name is there, because that is fast."""
    if include_path and name in (own := _index(include_path, False)).task_index:
        return own
    return _index(include_path, True)


@cache
def _index(include_path: str | None, include_defaults: bool) -> TaskManager:
    if include_defaults:
        logger.info("lm-eval reads its task files, which takes some seconds")
    return TaskManager(include_path=include_path, include_defaults=include_defaults)


def _members(manager: TaskManager, name: str) -> list[str]:
    entry = manager.task_index[name]
    if entry.kind is Kind.TAG:
        return list(entry.tags)
    parts = (entry.cfg or {}).get("task", [])
    return [part if isinstance(part, str) else part.get("task", "") for part in parts if part]


def without_run_details(raw: Mapping) -> dict:
    """lm-eval's results without dates, paths, function addresses and samples."""
    kept = ("results", "versions", "n-shot", "n-samples", "higher_is_better")
    settings = ("output_type", "num_fewshot", "generation_kwargs", "target_delimiter", "fewshot_delimiter")
    configs = {task: {key: config[key] for key in settings if key in config} for task, config in raw["configs"].items()}
    return {"lm_eval_version": lm_eval.__version__, **{key: raw[key] for key in kept}, "configs": configs}
