"""The scores of a run's snapshots and of the start models.

A start model's held-out scores are the same for all seeds: they are computed once, and every seed's scores repeat them.
"""

from collections.abc import Mapping
from pathlib import Path

from smf.evaluation.harness import Evaluator
from smf.evaluation.settings import EvaluationSettings
from smf.files.artifacts import read_json, write_json
from smf.files.resume import NO_RESUME, Resume, Tape
from smf.logs import progress
from smf.methods.registry import method_class
from smf.models.checkpoint import load_model, load_tokenizer
from smf.stages.learn import read_delta
from smf.stages.run import Run
from smf.streams.facts import read_facts


def evaluate_run(
    name: str,
    run: Run,
    settings: Mapping,
    probes: Mapping[str, tuple[str, str | Path]],
    *,
    delta_paths: Mapping[int, str | Path],
    score_paths: Mapping[int, str | Path],
    resume: Resume = NO_RESUME,
) -> None:
    """Score all snapshots of one run.

    Args:
        name: The method's name.
        run: Method, start model and stream; inputs that only learning needs are not read.
        settings: The measurements to make (:class:`smf.evaluation.settings.EvaluationSettings`).
        probes: The held-out sets by name, each with its kind and its file.
        delta_paths: The delta of each position.
        score_paths: Where the scores of each position go.
        resume: Saves the answers so far, and finished scores until the job is done.

    Raises:
        CheckpointError: A delta was learned from another start model.
    """
    tokenizer, facts = load_tokenizer(run.start_folder), read_facts(run.facts_path)
    evaluator = Evaluator(probes, facts, EvaluationSettings(**settings), tokenizer)
    model = load_model(run.start_folder, run.device)
    kind = method_class(run.method["kind"])
    holder = kind.holder(model, run.method)
    evaluator.remember(holder.model, tokenizer, delta_paths, Tape(resume, "neighbours"))
    start = load_model(run.start_folder, run.device) if evaluator.needs_start else None
    for position, path in progress(delta_paths.items(), "snapshots", total=len(delta_paths)):
        delta = read_delta(path, run.start_folder)
        holder.load(delta)
        tape, retrieve = Tape(resume, f"asked-{position}"), kind.retriever(run.method, delta, facts)
        scores = evaluator.evaluate(holder.model, tokenizer, position, tape, start, retrieve)
        write_json(score_paths[position], {"method": name, "seed": run.seed, "position": position, **scores})


def evaluate_held_out(
    settings: Mapping,
    folder: str | Path,
    probes: Mapping[str, tuple[str, str | Path]],
    *,
    device: str,
    path: str | Path,
    compared_with: str | Path | None = None,
    resume: Resume = NO_RESUME,
) -> None:
    """Score a start model on everything but facts.

    Args:
        settings: The measurements to make (:class:`smf.evaluation.settings.EvaluationSettings`).
        folder: The model.
        probes: The held-out sets by name, each with its kind and its file.
        device: Where to compute.
        path: Where the scores go.
        compared_with: The reference model of divergences; None if none are measured.
        resume: Saves the answers so far.
    """
    tokenizer = load_tokenizer(folder)
    evaluator = Evaluator(probes, (), EvaluationSettings(**settings), tokenizer)
    model = load_model(folder, device)
    start = None if compared_with is None else load_model(compared_with, device)
    write_json(path, evaluator.evaluate(model, tokenizer, 0, Tape(resume, "asked"), start))


def evaluate_start(
    settings: Mapping,
    folders: Mapping[str, str | Path],
    held_out_paths: Mapping[str, str | Path],
    facts_path: str | Path,
    *,
    seed: int,
    device: str,
    score_paths: Mapping[str, str | Path],
    resume: Resume = NO_RESUME,
) -> None:
    """Score the start models on all facts of one seed's stream, and add their scores on the held-out sets.

    Args:
        settings: The measurements to make on facts (:class:`smf.evaluation.settings.EvaluationSettings`).
        folders: The models by name, the base first: locality and divergences compare each of them with it.
        held_out_paths: What :func:`evaluate_held_out` wrote for each model.
        facts_path: The stream.
        seed: The stream's seed.
        device: Where to compute.
        score_paths: Where the scores of each model go.
        resume: Saves the answers so far.
    """
    base_tokenizer = load_tokenizer(next(iter(folders.values())))
    evaluator = Evaluator({}, read_facts(facts_path), EvaluationSettings(**settings), base_tokenizer)
    base = None
    for number, (name, folder) in enumerate(folders.items()):
        model, tokenizer = load_model(folder, device), load_tokenizer(folder)
        if number == 0:
            evaluator.remember(model, tokenizer, tape=Tape(resume, "neighbours"))
            base = model if evaluator.needs_start else None
        of_facts = evaluator.evaluate(model, tokenizer, 0, Tape(resume, f"asked-{name}"), base)
        scores = [*read_json(held_out_paths[name])["scores"], *of_facts["scores"]]
        whole = {"method": name, "seed": seed, "position": 0, "scores": scores, "lm_eval": of_facts["lm_eval"]}
        write_json(score_paths[name], whole)
