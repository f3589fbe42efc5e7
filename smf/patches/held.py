"""The base of a model folder and the patches on it; detects folders that were changed since.

``patches.json`` lists the patches, the first at the bottom, with the hashes of the base and of the folder itself.
"""

from dataclasses import dataclass
from pathlib import Path

from smf.errors import CheckpointError, DataError
from smf.files.artifacts import read_json, sha256
from smf.files.seals import seal_path
from smf.models.checkpoint import model_hash

LIST = "patches.json"
VERSION = 2


def require_own(path: str | Path) -> None:
    """Refuse to change a patch in place that a model folder or an experiment relies on.

    Raises:
        DataError: A folder or an experiment relies on it; the message says which.
    """
    path = Path(path).resolve()
    if path.parent.name == "patches" and (path.parent.parent / LIST).is_file():
        raise DataError(
            f"{path} is applied to the model {path.parent.parent}, which would no longer match it; write a new patch "
            "with -o, take the old one off (`smf patch revert`) and put the new one on"
        )
    for results in path.parents:
        if seal_path(results, path).is_file():
            raise DataError(f"{path} is what an experiment in {results} learned; write a new patch with -o")


@dataclass(frozen=True)
class Held:
    """The base of a model folder and its patches.

    Attributes:
        base_hash: :func:`smf.models.checkpoint.model_hash` of its base; its own hash if it has no patches.
        paths: Its patches, the first at the bottom.
    """

    base_hash: str
    paths: tuple[Path, ...] = ()


def held_by(folder: str | Path) -> Held:
    """The base of a model folder and the patches on it; checks that it has not changed since they were applied.

    Raises:
        CheckpointError: A file is missing, damaged, or has changed since.
    """
    folder = Path(folder)
    if not (folder / LIST).is_file():
        return Held(model_hash(folder))
    try:
        listed = read_json(folder / LIST)
        version, own, base_hash = listed["format_version"], listed["model_hash"], listed["base_hash"]
        entries = [(entry["file"], entry["sha256"]) for entry in listed["patches"]]
    except (DataError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / LIST} is damaged ({error}); apply the patches to the base again") from error
    if version != VERSION:
        raise CheckpointError(
            f"{folder / LIST} has format version {version}, not {VERSION}; apply the patches to the base again"
        )
    paths = []
    for name, digest in entries:
        path = folder / "patches" / str(name)
        if path.name != name or not path.is_file() or sha256(path) != digest:
            raise CheckpointError(f"{path} is missing or was changed; without it {folder} cannot be told from its base")
        paths.append(path)
    if (found := model_hash(folder)) != own:
        raise CheckpointError(
            f"{folder} was changed after its patches were applied (its hash is {found[:12]}, it was {str(own)[:12]}); "
            "apply them to the base again"
        )
    return Held(base_hash, tuple(paths))
