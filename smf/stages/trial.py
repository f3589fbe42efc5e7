"""One setting of a sweep on one seed: learned and scored in one process; nothing but log and scores is kept."""

from collections.abc import Mapping
from pathlib import Path

from smf.resume import NO_RESUME, Resume
from smf.stages.evaluate import evaluate_run
from smf.stages.learn import learn


def learn_and_score(
    name: str,
    method: Mapping,
    stream: Mapping,
    evaluation: Mapping,
    start_folder: str | Path,
    counts_path: str | Path | None,
    texts_path: str | Path | None,
    facts_path: str | Path,
    probes: Mapping[str, tuple[str, str | Path]],
    *,
    position: int,
    max_length: int,
    gradient_checkpointing: bool,
    contrast_path: str | Path | None = None,
    seed: int,
    device: str,
    log_path: str | Path,
    score_path: str | Path,
    resume: Resume = NO_RESUME,
) -> None:
    """Teach a stream and score its end, as :func:`learn` and :func:`evaluate_run` do.

    Args:
        name: The run's name.
        method: The method's settings.
        stream: The config's ``stream``.
        evaluation: What is measured.
        start_folder: The model that the method starts from.
        counts_path: Background counts, for methods that need them.
        texts_path: Background text, for methods that read it while they learn.
        facts_path: The stream.
        probes: The held-out sets by name, each with its kind and its file.
        position: The stream's end.
        max_length: Longest text, in tokens.
        gradient_checkpointing: Whether the backward pass computes activations again.
        contrast_path: Counts of contrast texts, for methods that weigh them.
        seed: The run's seed.
        device: Where to compute.
        log_path: Where one log row a fact goes.
        score_path: Where the scores go.
        resume: Keeps the state of the stream, and what was asked.
    """
    run = {"contrast_path": contrast_path, "seed": seed, "device": device}
    # Under one name, so that a trial that takes the place of a killed one leaves nothing of it behind.
    delta = Path(log_path).with_name("delta.safetensors")
    try:
        learn(
            method,
            stream,
            start_folder,
            counts_path,
            facts_path,
            texts_path,
            max_length=max_length,
            gradient_checkpointing=gradient_checkpointing,
            delta_paths={position: delta},
            log_path=log_path,
            resume=resume,
            **run,
        )
        paths = {"delta_paths": {position: delta}, "score_paths": {position: score_path}}
        evaluate_run(
            name, method, evaluation, start_folder, counts_path, probes, facts_path, resume=resume, **run, **paths
        )
    finally:
        delta.unlink(missing_ok=True)
