"""The scores of one run's end between its start model and what it learned."""

from collections.abc import Mapping
from pathlib import Path

from smf.analysis.interpolation.weights import Interpolation
from smf.evaluation.harness import EvaluationSettings, Evaluator
from smf.files.artifacts import write_json
from smf.files.resume import NO_RESUME, Resume, Tape
from smf.logs import progress
from smf.methods.registry import method_class
from smf.models.checkpoint import load_model, load_tokenizer
from smf.stages.learn import read_delta
from smf.stages.run import Run
from smf.streams.facts import read_facts


def interpolate_run(
    name: str,
    run: Run,
    settings: Mapping,
    probes: Mapping[str, tuple[str, str | Path]],
    *,
    position: int,
    delta_path: str | Path,
    score_paths: Mapping[float, str | Path],
    resume: Resume = NO_RESUME,
) -> None:
    """Score one snapshot at several shares of the way from its start model; at share 1 as ``evaluate_run`` does.

    Args:
        name: The method's name.
        run: Method, start model and stream; inputs that only learning needs are not read.
        settings: The measurements to make (:class:`smf.evaluation.harness.EvaluationSettings`).
        probes: The held-out sets by name, each with its kind and its file.
        position: The snapshot's position in the stream.
        delta_path: Its delta.
        score_paths: Where the scores at each share go.
        resume: Saves the answers so far.

    Raises:
        CheckpointError: The delta was learned from another start model.
        ConfigError: The method's adapter cannot be merged into weights (:mod:`smf.analysis.interpolation.weights`).
    """
    delta = read_delta(delta_path, run.start_folder)
    tokenizer = load_tokenizer(run.start_folder)
    evaluator = Evaluator(probes, read_facts(run.facts_path), EvaluationSettings(**settings), tokenizer)
    holder = method_class(run.method["kind"]).holder(load_model(run.start_folder, run.device), run.method)
    evaluator.remember(holder.model, tokenizer, (position,), Tape(resume, "neighbours"))
    start = load_model(run.start_folder, run.device) if evaluator.needs_start else None
    interpolation = Interpolation(holder)
    for share, path in progress(score_paths.items(), "shares", total=len(score_paths)):
        with interpolation.between(delta, share) as model:
            scores = evaluator.evaluate(model, tokenizer, position, Tape(resume, f"asked-{share}"), start)
        write_json(path, {"method": name, "seed": run.seed, "position": position, "share": share, **scores})
