"""Seals: a record of each results file, so that jobs refuse files that were damaged, swapped or placed by hand.

The seal of ``results/a/b.json`` is ``results/.seals/a/b.json.json``. It holds the format version, the file's path, size
and SHA-256, the rule, wildcards and seed that made it, the versions of the libraries that did, and the SHA-256 of every
input. A job that works on copies of files finds their seals beside the originals.
"""

import hashlib
import json
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from smf.errors import CheckpointError, DataError
from smf.files.artifacts import read_json, sha256, write_json

FORMAT_VERSION = 2


def seal(
    results: Path,
    outputs: Iterable[Path],
    made_from: Mapping[str, str],
    *,
    rule: str,
    job: str,
    wildcards: Mapping[str, str],
    versions: Mapping[str, str] | None = None,
    kept: Path | None = None,
) -> None:
    """Seal the outputs of a job.

    Args:
        results: The results folder.
        outputs: Complete files below it.
        made_from: The SHA-256 of each input, by its path.
        rule: The rule's name.
        job: The job's name: the path of its log below ``logs``, without the suffix.
        wildcards: The job's wildcards; its seed is among them if it has one.
        versions: Versions of the libraries that made the outputs; they are recorded and never compared.
        kept: The results folder that the outputs are copied to when the job is done, if it is not ``results``.
    """
    for path in outputs:
        name = kept_path(results, path, kept)
        known = {
            "format": FORMAT_VERSION,
            "path": os.path.relpath(name, kept or results),
            "sha256": sha256(path),
            "size": path.stat().st_size,
            "rule": rule,
            "job": job,
            "wildcards": dict(wildcards),
            "seed": wildcards.get("seed"),
            "versions": dict(versions or {}),
            "made_from": dict(made_from),
        }
        sealed_at = seal_path(kept or results, name)
        write_json(sealed_at, {**known, "checksum": _checksum(known)})


def verified(
    results: Path, inputs: Iterable[Path], kept: Path | None = None, options: Sequence[str] = ()
) -> dict[str, str]:
    """Check files against their seals; return the SHA-256 of each, by the path where it is kept.

    Args:
        results: The results folder.
        inputs: Files, some of them below it.
        kept: The results folder that the inputs were copied from, if it is not ``results``.
        options: Options of ``snakemake`` that give the config, for the message.

    Raises:
        CheckpointError: A file is missing, truncated, changed, swapped, of another format version or without a seal;
            the message names it and the command that makes it again.
    """
    below = {kept_path(results, path, kept): path for path in inputs if is_below(path, results)}
    return {str(name): _verified(kept or results, name, path, options) for name, path in below.items()}


def damaged(results: Path, paths: Iterable[Path], digest_of: Callable[[Path], str] = sha256) -> dict[Path, str]:
    """Files below the results folder that do not match their seals, each with the reason.

    Args:
        results: The results folder where they are kept.
        paths: Files, some of them below it.
        digest_of: Computes the SHA-256 of a file.
    """
    faults = {path: _compared(results, path, path, digest_of)[0] for path in paths if is_below(path, results)}
    return {path: fault for path, fault in faults.items() if fault}


def repair(paths: Iterable[Path], options: Sequence[str]) -> str:
    """The command that makes these files again, and nothing else, as the same bytes make nothing else stale.

    Args:
        paths: The files.
        options: Options of ``snakemake`` that give the config; they come last, as they take every word that follows.
    """
    return shlex.join(["snakemake", "--cores", "1", "--force", *map(str, paths), *options])


def makers_job(results: Path, path: Path) -> str:
    """Name of the job that made a file, from its :func:`verified` seal; see :func:`seal`."""
    return read_json(seal_path(results, path))["job"]


def seal_path(results: Path, path: Path) -> Path:
    """Path of the seal of a file below ``results``."""
    relative = Path(os.path.relpath(path, results))
    return results / ".seals" / relative.with_name(f"{relative.name}.json")


def kept_path(results: Path, path: Path, kept: Path | None) -> Path:
    """Where a file below ``results`` is kept."""
    return path if kept is None else kept / os.path.relpath(path, results)


def is_below(path: Path, folder: Path) -> bool:
    """Whether a path lies below a folder, by its name."""
    return not os.path.relpath(path, folder).startswith(os.pardir)


def _checksum(known: Mapping) -> str:
    """Checksum of a seal's own contents."""
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _verified(results: Path, name: Path, path: Path, options: Sequence[str]) -> str:
    fault, found = _compared(results, name, path, sha256)
    if fault:
        raise CheckpointError(f"{fault}; make it again: {repair([name], options)}")
    return found


def _compared(results: Path, name: Path, path: Path, digest_of: Callable[[Path], str]) -> tuple[str, str]:
    """The fault of a file, "" if there is none, and its SHA-256 if it was computed."""
    sealed_at = seal_path(results, name)
    if not path.is_file():
        return f"{name} is missing", ""
    try:
        known = read_json(sealed_at)
    except DataError:
        why = "is damaged" if sealed_at.is_file() else "does not exist"
        return f"{name} cannot be trusted: its seal {sealed_at} {why}, so nothing tells which job made it", ""
    if known.get("format") != FORMAT_VERSION:
        return (
            f"{name} was sealed by another version of smf (format {known.get('format')}, this is {FORMAT_VERSION})",
            "",
        )
    if known.pop("checksum", None) != _checksum(known):
        return f"{name} cannot be trusted: its seal {sealed_at} was changed", ""
    if known.get("path") != os.path.relpath(name, results):
        return f"{name} cannot be trusted: its seal {sealed_at} is that of {known.get('path')}", ""
    size = path.stat().st_size
    if size != known.get("size"):
        return f"{name} has {size:,} bytes, but rule {known.get('rule')} wrote {known['size']:,}", ""
    found = digest_of(path)
    if found != known.get("sha256"):
        return f"{name} is not what rule {known.get('rule')} wrote: its contents were changed or swapped", found
    return "", found
