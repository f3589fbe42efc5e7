"""SHA-256 of files, cached between runs, so that gigabytes of weights are not read again at every start."""

import os
from contextlib import suppress
from pathlib import Path

from smf.errors import DataError
from smf.files.artifacts import file_stamp, read_json, sha256, write_json


class FileDigests:
    """Current digests of files, each recomputed only if the file's size, mtime or inode has changed.

    Args:
        memory: The cache file. If it cannot be read or written, every digest is computed.
    """

    def __init__(self, memory: Path):
        self._memory = memory
        self._known: dict[str, list] = {}
        self._is_new = False
        with suppress(DataError):
            self._known = read_json(memory)

    def sha256(self, path: str | Path) -> str:
        """The digest of a file's contents.

        Raises:
            OSError: It cannot be read.
        """
        name = os.path.abspath(path)
        stamp = file_stamp(path)
        known = self._known.get(name)
        if stamp and isinstance(known, list) and known[:-1] == list(stamp):
            return known[-1]
        digest = sha256(path)
        if stamp:
            self._known[name] = [*stamp, digest]
            self._is_new = True
        return digest

    def save(self) -> None:
        """Save the computed digests, except those of files that are gone."""
        if self._is_new:
            self._known = {name: known for name, known in self._known.items() if os.path.exists(name)}
            with suppress(OSError):  # only a cache
                write_json(self._memory, self._known)
        self._is_new = False
