"""Contents of a user's own files in place of their paths, as the settings that jobs reading them depend on.

Editing a file in place makes results stale; copying or renaming it, or a new checkout, changes nothing. Figures keep
the name that the data had when it was read.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from smf.files.digests import FileDigests

_ENDINGS = (".txt", ".json", ".jsonl", ".csv", ".tsv", ".parquet", ".gz", ".bz2", ".xz", ".zst")
"""Suffixes that decide how a file of rows is read."""

_CHOSEN_LATER = ("known_only", "unknown_only")
"""Settings of a source that filter its rows only after they are written."""


class UserFiles:
    """Parts of a checked config with file contents in place of paths.

    Args:
        config: The config.
        digests: Digests of files.
    """

    def __init__(self, config: Mapping, digests: FileDigests):
        self._config, self._digests = config, digests

    @property
    def data(self) -> dict:
        """Settings that the data depends on: contents in place of each source's file, and no ``data_root``."""
        data = self._config["data"]
        chosen = data["source"]
        if chosen == "world":
            return dict(data)
        sources = {key: value for key, value in data[chosen].items() if key != "data_root"}
        return {**data, chosen: self._sources(sources, data[chosen]["data_root"])}

    def with_checkpoint(self, settings: Mapping) -> dict:
        """Settings with the contents of the model folder in place of ``checkpoint``, if they name one."""
        if settings["checkpoint"] is None or settings.get("source", "checkpoint") != "checkpoint":
            return dict(settings)
        folder = Path(settings["checkpoint"])
        return {**settings, "checkpoint": self._folder(folder, folder.glob("*"))}

    def with_tasks(self, settings: Mapping) -> dict:
        """Settings with the contents of the folder in place of ``include_path``, if they name one."""
        if settings["include_path"] is None:
            return dict(settings)
        folder = Path(settings["include_path"])
        return {**settings, "include_path": self._folder(folder, folder.rglob("*"))}

    def _sources(self, value: object, root: str | None) -> object:
        """Replace files by contents in all sources of a nested mapping."""
        if not isinstance(value, Mapping):
            return value
        if "file" not in value:
            return {key: self._sources(part, root) for key, part in value.items()}
        value = {key: part for key, part in value.items() if key not in _CHOSEN_LATER}
        if root is None and value.get("hub") is not None:
            return value
        return {**value, "file": self._file(Path(root or ".") / value["file"])}

    def _folder(self, folder: Path, files: Iterable[Path]) -> dict:
        """Contents of a folder's files, except hidden files, Python's caches and Markdown."""
        inside = {path.relative_to(folder): path for path in files if path.is_file() and path.suffix != ".md"}
        return {
            name.as_posix(): self._file(path)
            for name, path in sorted(inside.items())
            if not any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        }

    def _file(self, path: Path) -> str:
        """A file's digest, with the suffixes that decide how it is read; if it cannot be read, the job says why."""
        try:
            digest = self._digests.sha256(path)
        except OSError:
            return "cannot be read"
        self._digests.save()
        return digest + "".join(suffix for suffix in path.suffixes[-2:] if suffix in _ENDINGS)
