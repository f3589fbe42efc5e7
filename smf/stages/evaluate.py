"""The scores of a run's snapshots and of the start models."""

from collections.abc import Mapping
from pathlib import Path

from smf.artifacts import write_json
from smf.errors import CheckpointError
from smf.evaluation.harness import EvaluationSettings, Evaluator
from smf.logs import progress
from smf.models.checkpoint import load_model, load_tokenizer, model_hash
from smf.selection.background import BackgroundCounts
from smf.stages.learn import start_method
from smf.streams.facts import read_facts
from smf.tensor_files import read_tensors


def evaluate_run(
    name: str,
    method: Mapping,
    settings: Mapping,
    start_folder: str | Path,
    counts_path: str | Path | None,
    held_out_paths: Mapping[str, str | Path],
    facts_path: str | Path,
    *,
    seed: int,
    device: str,
    delta_paths: Mapping[int, str | Path],
    score_paths: Mapping[int, str | Path],
) -> None:
    """Score all snapshots of one run.

    Args:
        name: The method's name.
        method: Its entry in the config.
        settings: The config's ``evaluation``.
        start_folder: The model that the run started from.
        counts_path: Background counts, for methods that need them.
        held_out_paths: The held-out sets by name.
        facts_path: The stream.
        seed: The run's seed.
        device: Where to compute.
        delta_paths: The delta of each position.
        score_paths: Where the scores of each position go.

    Raises:
        CheckpointError: A delta was learned from another start model.
    """
    background = None if counts_path is None else BackgroundCounts.load(counts_path)
    evaluator = _evaluator(settings, held_out_paths, facts_path)
    tokenizer = load_tokenizer(start_folder)
    learner = start_method(method, start_folder, background, seed=seed, device=device)
    start_hash = model_hash(start_folder)
    for position, path in progress(delta_paths.items(), "snapshots", total=len(delta_paths)):
        delta, metadata = read_tensors(path)
        if metadata["start_hash"] != start_hash:
            raise CheckpointError(f"{path} was learned from another model than {start_folder}; learn the stream again")
        learner.load_delta(delta)
        scores = evaluator.evaluate(learner.model, tokenizer, position)
        write_json(score_paths[position], {"method": name, "seed": seed, "position": position, **scores})


def evaluate_start(
    settings: Mapping,
    folders: Mapping[str, str | Path],
    held_out_paths: Mapping[str, str | Path],
    facts_path: str | Path,
    *,
    seed: int,
    device: str,
    score_paths: Mapping[str, str | Path],
) -> None:
    """Score the start models, with all facts of one seed's stream.

    Args:
        settings: The config's ``evaluation``.
        folders: The models by name, ``base`` and ``healed``.
        held_out_paths: The held-out sets by name.
        facts_path: The stream.
        seed: The stream's seed.
        device: Where to compute.
        score_paths: Where the scores of each model go.
    """
    evaluator = _evaluator(settings, held_out_paths, facts_path)
    for name, folder in folders.items():
        scores = evaluator.evaluate(load_model(folder, device), load_tokenizer(folder), 0)
        write_json(score_paths[name], {"method": name, "seed": seed, "position": 0, **scores})


def _evaluator(settings: Mapping, held_out: Mapping[str, str | Path], facts_path: str | Path) -> Evaluator:
    return Evaluator(held_out["nq"], held_out["hellaswag"], read_facts(facts_path), EvaluationSettings(**settings))
