"""Rows of files in common containers: JSON, CSV, Parquet or plain text, compressed or not."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, TextIO

import pyarrow
import pyarrow.parquet
import zstandard

from smf.errors import DataError
from smf.rows.csv_rows import csv_rows
from smf.rows.json_rows import Record, json_rows

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CONTAINERS = "JSONL, JSON, CSV, TSV, Parquet, and .txt with one text a line; also as .gz, .bz2, .xz or .zst"

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zstd")
_ELSEWHERE = {
    b"PK\x03\x04": "is a zip archive or a spreadsheet; unpack it, or save the sheet as CSV",
    b"%PDF": "is a PDF; save its text",
    b"ARROW1": "is an Arrow file; save it as Parquet",
    b"\xff\xfe": "is UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "is UTF-16 text; save it as UTF-8",
}


def read_file(path: str | Path) -> Iterator[Record]:
    """Read the rows of a file, in order and lazily.

    The file extension tells the container: ``.csv``, ``.tsv``, ``.parquet``, ``.txt`` (one row per line, in the column
    ``text``); everything else is JSON, one object per line or in an array. Compression is detected from the content.
    Cells of CSV are texts; an empty one is left out of its row.

    Raises:
        DataError: The file is missing or damaged, or is in another container; names the file and what to do.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"cannot read {path}: it is a folder; name one of its files")
    try:
        with open(path, "rb") as file:
            yield from read_rows_of(file, path.name, str(path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}{_undecodable_line(path)} is not UTF-8 text ({error}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error


def read_rows_of(file: BinaryIO, file_name: str, name: str) -> Iterator[Record]:
    """The rows of an open file, see :func:`read_file`.

    Args:
        file: Open at its beginning, and seekable.
        file_name: Its extension tells the container.
        name: The file's name in error messages.

    Raises:
        DataError: As :func:`read_file`.
        UnicodeDecodeError: It is not UTF-8.
    """
    head = file.read(8)
    file.seek(0)
    for magic, why in _ELSEWHERE.items():
        if head.startswith(magic):
            raise DataError(f"{name} {why}. smf reads {CONTAINERS}")
    if head.startswith(b"PAR1"):
        yield from _parquet_rows(file, name)
        return
    ending = _ending(file_name)
    if ending == ".parquet":
        raise DataError(f"{name} is not Parquet, despite its name; copy or write it again")
    reader: Callable[[TextIO, str], Iterator[Record]] = _READERS.get(ending, json_rows)
    try:
        # CSV keeps line ends as they are, because cells may contain some.
        newline = "" if reader is csv_rows else None
        with io.TextIOWrapper(_plain(file, head), encoding="utf-8-sig", newline=newline) as text:
            yield from reader(text, name)
    except (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, gzip.BadGzipFile) as error:
        raise DataError(f"{name} is compressed, and damaged or cut off ({error}); copy or write it again") from error


def _plain(file: BinaryIO, head: bytes) -> IO[bytes] | gzip.GzipFile:
    """Decompress a file if its content is compressed, whatever its name."""
    if head.startswith(b"\x1f\x8b"):
        return gzip.open(file)
    if head.startswith(b"BZh"):
        return bz2.open(file)
    if head.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(file)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return io.BufferedReader(_Zstandard(file))
    return file


class _Zstandard(io.RawIOBase):
    """Reads all frames of a file; zstandard's own reader stops after the first, and silently if a file is cut off."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun, self._left, self._content = False, b"", memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        place = memoryview(buffer)
        while not self._content:
            packed = self._left or self._file.read(1 << 17)
            if not packed:
                if self._begun:
                    raise EOFError("it ends in the middle of a frame")
                return 0
            self._content = memoryview(self._frame.decompress(packed))
            self._begun, self._left = True, b""
            if self._frame.eof:
                self._left = self._frame.unused_data
                self._frame, self._begun = zstandard.ZstdDecompressor().decompressobj(), False
        size = min(len(place), len(self._content))
        place[:size], self._content = self._content[:size], self._content[size:]
        return size


def _ending(file_name: str) -> str:
    path = Path(file_name.lower())
    return path.with_suffix("").suffix if path.suffix in _COMPRESSED else path.suffix


def _text_rows(file: TextIO, name: str) -> Iterator[Record]:
    for number, line in enumerate(file, start=1):
        yield Record(f"line {number}", {"text": line.removesuffix("\n")})


def _tab_rows(file: TextIO, name: str) -> Iterator[Record]:
    return csv_rows(file, name, delimiter="\t")


def _parquet_rows(file: BinaryIO, name: str) -> Iterator[Record]:
    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=1000):
            for values in batch.to_pylist():
                number += 1
                yield Record(f"row {number}", values)
    except pyarrow.ArrowException as error:
        raise DataError(f"{name} is damaged Parquet ({error}); copy or write it again") from error


_READERS = {".csv": csv_rows, ".tsv": _tab_rows, ".txt": _text_rows}


def _undecodable_line(path: Path) -> str:
    """The first line of a file that is not UTF-8, for an error message; "" if the file is compressed."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f", line {number}," if number > 1 or line[:1] < b"\x80" else ""
    return ""
