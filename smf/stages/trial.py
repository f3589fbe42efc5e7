"""One setting of a sweep on one seed: learned and scored in one process; nothing but log and scores is kept."""

from collections.abc import Callable, Mapping
from pathlib import Path

from transformers import PreTrainedModel

from smf.evaluation.harness import EvaluationSettings, Evaluator
from smf.files.artifacts import write_json, write_jsonl
from smf.files.resume import NO_RESUME, Resume, Tape
from smf.methods.registry import method_class
from smf.models.checkpoint import load_model
from smf.stages.run import Inputs, Learning, Run, read_inputs
from smf.streams.asking import Retrieve
from smf.training.stream import StreamHooks


def learn_and_score(
    name: str,
    run: Run,
    learning: Learning,
    evaluation: Mapping,
    probes: Mapping[str, tuple[str, str | Path]],
    *,
    position: int,
    log_path: str | Path,
    score_path: str | Path,
    resume: Resume = NO_RESUME,
) -> None:
    """Teach a stream and score its end; same numbers as :func:`~smf.stages.learn.learn` and evaluating its delta.

    Args:
        name: The run's name.
        run: Method, start model and stream.
        learning: How the stream is learned.
        evaluation: The measurements to make (:class:`smf.evaluation.harness.EvaluationSettings`).
        probes: The held-out sets by name, each with its kind and its file.
        position: The stream's end.
        log_path: Where the log goes, one row per fact.
        score_path: Where the scores go.
        resume: Saves the state of the stream, and the answers so far.
    """
    inputs = read_inputs(run, learning, (position,))
    evaluator = Evaluator(probes, inputs.facts, EvaluationSettings(**evaluation), inputs.tokenizer)

    def remember(model: PreTrainedModel) -> None:
        evaluator.remember(model, inputs.tokenizer, (position,), Tape(resume, "neighbours"))

    model, retrieve, rows = _learned(run, inputs, remember, resume)
    start = load_model(run.start_folder, run.device) if evaluator.needs_start else None
    tape = Tape(resume, f"asked-{position}")
    scores = evaluator.evaluate(model, inputs.tokenizer, position, tape, start, retrieve)
    write_jsonl(log_path, rows)
    write_json(score_path, {"method": name, "seed": run.seed, "position": position, **scores})


def _learned(
    run: Run, inputs: Inputs, remember: Callable[[PreTrainedModel], None], resume: Resume
) -> tuple[PreTrainedModel, Retrieve | None, list[dict]]:
    """The taught model, what is put before its questions, and the log.

    Learned here, or by an earlier process that was killed during evaluation.
    """
    kind = method_class(run.method["kind"])
    if found := resume.load("learned"):
        holder = kind.holder(inputs.model, run.method)
        remember(holder.model)
        holder.load(found[0])
        return holder.model, kind.retriever(run.method, found[0], inputs.facts), found[1]["rows"]
    learned = inputs.learn(run.method, StreamHooks(started=remember, resume=resume))
    if resume.due():
        resume.save("learned", learned.delta, {"rows": learned.rows})
    return learned.model, kind.retriever(run.method, learned.delta, inputs.facts), learned.rows
