"""What a user's own files and folders hold, in place of their names: what jobs that read them depend on.

A file edited in place is another one. A copy, a new checkout, or another name changes nothing; figures then go on to
call the data what it was called when it was read.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from smf.files.digests import FileDigests

_ENDINGS = (".txt", ".json", ".jsonl", ".csv", ".tsv", ".parquet", ".gz", ".bz2", ".xz", ".zst")
"""Of files of rows: how they are read."""

_CHOSEN_LATER = ("known_only", "unknown_only")
"""Settings of a source that choose among its rows once they are written."""


class UserFiles:
    """Parts of a checked config with contents in place of paths.

    Args:
        config: The config.
        digests: Of files.
    """

    def __init__(self, config: Mapping, digests: FileDigests):
        self._config, self._digests = config, digests

    @property
    def data(self) -> dict:
        """What the data depend on: of each source that is read from a file the contents, and no folder of them all."""
        data = self._config["data"]
        chosen = data["source"]
        if chosen == "world":
            return dict(data)
        sources = {key: value for key, value in data[chosen].items() if key != "data_root"}
        return {**data, chosen: self._sources(sources, data[chosen]["data_root"])}

    def with_checkpoint(self, settings: Mapping) -> dict:
        """Settings with the contents of the model folder that is their ``checkpoint``, if they name one."""
        if settings["checkpoint"] is None or settings.get("source", "checkpoint") != "checkpoint":
            return dict(settings)
        folder = Path(settings["checkpoint"])
        return {**settings, "checkpoint": self._folder(folder, folder.glob("*"))}

    def with_tasks(self, settings: Mapping) -> dict:
        """Settings with the contents of the folder that is their ``include_path``, if they name one."""
        if settings["include_path"] is None:
            return dict(settings)
        folder = Path(settings["include_path"])
        return {**settings, "include_path": self._folder(folder, folder.rglob("*"))}

    def _sources(self, value: object, root: str | None) -> object:
        """Sources in a mapping, or in mappings in it."""
        if not isinstance(value, Mapping):
            return value
        if "file" not in value:
            return {key: self._sources(part, root) for key, part in value.items()}
        value = {key: part for key, part in value.items() if key not in _CHOSEN_LATER}
        if root is None and value.get("hub") is not None:
            return value
        return {**value, "file": self._file(Path(root or ".") / value["file"])}

    def _folder(self, folder: Path, files: Iterable[Path]) -> dict:
        """What the files of a folder hold, without hidden ones, what Python compiles, and what only people read."""
        inside = {path.relative_to(folder): path for path in files if path.is_file() and path.suffix != ".md"}
        return {
            name.as_posix(): self._file(path)
            for name, path in sorted(inside.items())
            if not any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        }

    def _file(self, path: Path) -> str:
        """What a file holds and how it is read, which its ending tells; if it cannot be read, the job says why."""
        try:
            digest = self._digests.sha256(path)
        except OSError:
            return "cannot be read"
        self._digests.save()
        return digest + "".join(suffix for suffix in path.suffixes[-2:] if suffix in _ENDINGS)
