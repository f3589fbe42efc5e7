"""One run: one method learns the stream of one seed."""

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from smf.errors import CheckpointError
from smf.files.artifacts import copy_file, write_jsonl
from smf.files.resume import NO_RESUME, Resume
from smf.files.tensors import read_tensors, write_tensors
from smf.models.checkpoint import model_hash
from smf.patches.patch import KIND as PATCH
from smf.patches.patch import patch_from, write_patch
from smf.stages.run import Learning, Run, read_inputs
from smf.training.stream import Snapshot, StreamHooks

logger = logging.getLogger(__name__)


def learn(
    run: Run,
    learning: Learning,
    *,
    delta_paths: Mapping[int, str | Path],
    log_path: str | Path,
    resume: Resume = NO_RESUME,
) -> None:
    """Teach the stream; write a delta for each snapshot and one log row per fact.

    Args:
        run: Method, start model and stream.
        learning: How the stream is learned.
        delta_paths: Where the delta of each position goes.
        log_path: Where the log goes.
        resume: Saves the state of the stream, and finished snapshots until the job is done.
    """
    waiting = {
        position: resume.path(f"position-{position}") if resume.active else Path(path)
        for position, path in delta_paths.items()
    }
    if (found := resume.load("learned")) and all(_is_whole(path) for path in waiting.values()):
        _publish(waiting, delta_paths)
        write_jsonl(log_path, found[1]["rows"])
        return
    hooks = StreamHooks(
        keep=lambda snapshot: write_snapshot(waiting[snapshot.position], snapshot),
        is_kept=lambda position: _is_whole(waiting[position]),
        resume=resume,
    )
    learned = read_inputs(run, learning, tuple(delta_paths)).learn(run.method, hooks)
    resume.save("learned", {}, {"rows": learned.rows})
    if resume.active:
        _publish(waiting, delta_paths)
    write_jsonl(log_path, learned.rows)


def _is_whole(path: Path) -> bool:
    """Whether a finished snapshot exists and is intact."""
    try:
        read_tensors(path)
    except CheckpointError as error:
        logger.warning("%s; the stream is learned again", error)
        return False
    return True


def _publish(waiting: Mapping[int, Path], delta_paths: Mapping[int, str | Path]) -> None:
    """Copy finished snapshots to their outputs; the originals stay until Snakemake has recorded the job as done."""
    for position, path in delta_paths.items():
        copy_file(waiting[position], path)


def write_snapshot(path: str | Path, snapshot: Snapshot) -> None:
    """Write a snapshot: a memory patch if the method records which fact wrote which slots, else the delta."""
    if snapshot.patch is None:
        write_tensors(path, snapshot.delta, {**snapshot.about, "kind": "delta"})
    else:
        write_patch(path, snapshot.patch)


def read_delta(path: str | Path, start_folder: str | Path) -> dict[str, Tensor]:
    """Read what :func:`write_snapshot` wrote, as :meth:`smf.methods.deltas.Holder.load` takes it.

    Raises:
        CheckpointError: It was learned from another model than the one in the folder.
    """
    tensors, metadata = read_tensors(path)
    delta = patch_from(tensors, metadata, str(path)).delta() if metadata.get("kind") == PATCH else tensors
    if metadata["start_hash"] != model_hash(start_folder):
        raise CheckpointError(f"{path} was learned from another model than {start_folder}; learn the stream again")
    return delta
