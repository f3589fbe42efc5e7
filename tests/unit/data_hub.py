"""A server on the loopback that gives data sets as the hub does, from folders ``owner/name/revision``."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, unquote, urlsplit

import datasets

from smf.rows.hub_sets import Found

MISSING = (404, "EntryNotFound")
# Sets that the hub does not give: what it says when asked for the set, and when asked for one of its files.
REFUSED = {
    "closed/hidden": ((401, "RepoNotFound"), MISSING),
    "closed/gated": (None, (403, "GatedRepo")),
    "closed/broken": ((500, ""), MISSING),
}

NO_COMMIT = "some/mirrored"
"""The set whose commit the hub does not say."""


def commit_of(name: str, revision: str) -> str:
    """The commit of a branch of a set."""
    return hashlib.sha1(f"{name} {revision}".encode()).hexdigest()


class DataHub(BaseHTTPRequestHandler):
    """The addresses that datasets asks for."""

    protocol_version = "HTTP/1.1"
    folder: Path
    asked: list[str]

    def do_GET(self):
        self.answer()

    def do_HEAD(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        wanted = parse_qs(self.rfile.read(length).decode()).get("paths", [])
        self.asked.append(f"{self.command} {unquote(self.path)}")
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[0] == "w":  # the hub of this test is an encyclopaedia too
            title = parse_qs(urlsplit(self.path).query)["titles"][0]
            return self.reply_json({"query": {"pages": [{"extract": f"An article.\n\n{title} is of Ostry."}]}})
        is_api = parts[0] == "api"
        parts = parts[2 if is_api else 1 :]
        name, rest = "/".join(parts[:2]), parts[2:]
        what = rest[0] if rest else "revision"
        refused = REFUSED.get(name, (None, None))[0 if is_api and what == "revision" else 1]
        if refused:
            return self.refuse(*refused)
        if not (self.folder / name).is_dir():
            return self.refuse(404, "RepoNotFound")
        revision = rest[1] if len(rest) > 1 else "main"
        branches = {commit_of(name, branch): branch for branch in ("main", "refs/convert/parquet")}
        place = self.folder / name / branches.get(revision, revision).replace("/", "_")
        if not place.is_dir():
            return self.refuse(404, "RevisionNotFound")
        commit = commit_of(name, branches.get(revision, revision))
        if what == "revision":
            files = [{"rfilename": str(path.relative_to(place))} for path in place.rglob("*") if path.is_file()]
            return self.reply_json({"id": name, "sha": None if name == NO_COMMIT else commit, "siblings": files})
        if what == "tree":
            top = place.joinpath(*rest[2:])
            if not top.is_dir():
                return self.refuse(*MISSING)
            found = top.rglob("*") if "recursive=true" in self.path.lower() else top.iterdir()
            return self.reply_json([self.entry(path, place) for path in sorted(found)])
        if what == "paths-info":
            return self.reply_json([self.entry(place / path, place) for path in wanted if (place / path).exists()])
        path = place.joinpath(*rest[2:])
        return self.reply_file(path, commit) if path.is_file() else self.refuse(*MISSING)

    @staticmethod
    def entry(path: Path, place: Path) -> dict:
        kind = {"path": str(path.relative_to(place)), "oid": hashlib.sha1(path.name.encode()).hexdigest()}
        if path.is_dir():
            return {"type": "directory", **kind}
        return {"type": "file", **kind, "size": path.stat().st_size}

    def refuse(self, status: int, code: str):
        self.reply(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "refused"})

    def reply_json(self, value: object):
        self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def reply_file(self, path: Path, commit: str):
        content = path.read_bytes()
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        if bounds := self.headers.get("Range"):
            first, last = bounds.removeprefix("bytes=").split("-")
            first, last = int(first), min(int(last or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            return self.reply(206, content[first : last + 1], headers)
        return self.reply(200, content, headers)

    def reply(self, status: int, content: bytes, headers: dict[str, str]):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub with the sets below ``folder``, and the list of what it is asked."""
    handler = type("Handler", (DataHub,), {"folder": folder, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
    finally:
        server.shutdown()
        server.server_close()


class FakeBuilder:
    """What datasets makes of a set of Parquet, with rows of our own."""

    name = "parquet"
    config = SimpleNamespace(data_files=None)
    info = SimpleNamespace(splits=None)

    def __init__(self, rows: list[dict], commit: str):
        self._rows, self.hash = rows, commit

    def download_and_prepare(self):
        pass

    def as_dataset(self, split: str) -> datasets.Dataset:
        return datasets.Dataset.from_list(self._rows)

    def as_streaming_dataset(self, split: str) -> datasets.IterableDataset:
        return self.as_dataset(split).to_iterable_dataset()


def fake_sets(monkeypatch, rows_of: Callable[[str], list[dict]]) -> list[tuple]:
    """Sets with the rows that ``rows_of`` gives for a name, without a hub; returns what is asked for."""
    asked = []

    def load(name, config, *, revision, **options):
        asked.append((name, config, options))
        return FakeBuilder(rows_of(name), revision)

    def find(source):
        return Found(commit_of(source["hub"], source.get("revision") or "main"), is_cached=False)

    monkeypatch.setattr("smf.rows.hub_sets.find_on_hub", find)
    monkeypatch.setattr(datasets, "load_dataset_builder", load)
    return asked
