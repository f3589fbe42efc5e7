"""Models from the hub: a server on the loopback answers as the hub does; every failure says what to do."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from smf.models.checkpoint import save_checkpoint
from tests.helpers import base_model, tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# What the hub says: status, error code in a header, and what our message must hold.
REFUSALS = {
    "no/model": (404, "RepoNotFound", r"base.name: .* has no model no/model, or hides it; check the name"),
    "no/revision": (404, "RevisionNotFound", r"base.revision: no/revision has no revision 'main' on .*look under"),
    "no/entry": (401, "GatedRepo", r"no/entry is gated: accept its terms on .*/no/entry, then log in with `hf auth"),
    "no/luck": (500, "", r"does not give no/luck: .*500.*set HF_HUB_OFFLINE=1.*`base.source: checkpoint`"),
}


class Hub(BaseHTTPRequestHandler):
    """The few addresses of the hub that a download asks for."""

    folder = None

    def do_GET(self):
        self.answer(body=True)

    def do_HEAD(self):
        self.answer(body=False)

    def answer(self, *, body):
        path = unquote(self.path.split("?")[0])
        for name, (status, code, _) in REFUSALS.items():
            if name in path:
                return self.reply(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "refused"}, body=body)
        if "/resolve/" in path:
            content = (self.folder / path.rsplit("/", 1)[1]).read_bytes()
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            return self.reply(200, content, headers, body=body)
        if "/tree/" in path:
            files = [
                {
                    "type": "file",
                    "path": file.name,
                    "size": file.stat().st_size,
                    "oid": hashlib.sha1(file.name.encode()).hexdigest(),
                }
                for file in sorted(self.folder.iterdir())
            ]
            return self.reply(200, json.dumps(files).encode(), {}, body=body)
        info = {
            "id": "some/model",
            "sha": COMMIT,
            "siblings": [{"rfilename": file.name} for file in self.folder.iterdir()],
        }
        return self.reply(200, json.dumps(info).encode(), {}, body=body)

    def reply(self, status, content, headers, *, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    save_checkpoint(base_model(), tokenizer(), folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that nobody wants")
    Hub.folder = folder
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()


def download(endpoint, cache, name, revision="main", **environment):
    """Run in a process of its own: huggingface_hub reads the environment once."""
    code = (
        "import sys\nfrom smf.errors import SmfError\nfrom smf.models.hub import download_model\n"
        "try:\n    print('got', *download_model(*sys.argv[1:]))\nexcept SmfError as error:\n    print('refused', error)"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        **environment,
    }
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        environment.pop(proxy, None)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, name, revision], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), time.monotonic() - started


def test_a_model_is_downloaded_without_pickles_and_then_found_offline(hub, tmp_path):
    endpoint, folder = hub
    answer, _ = download(endpoint, tmp_path, "some/model")
    word, where, commit = answer.split()
    assert (word, commit) == ("got", COMMIT)
    found = {file.name: file.read_bytes() for file in Path(where).iterdir()}
    assert found == {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != ".bin"}
    assert download(endpoint, tmp_path, "some/model", HF_HUB_OFFLINE="1")[0] == answer
    assert download(endpoint, tmp_path, "some/model", COMMIT, HF_HUB_OFFLINE="1")[0] == answer


@pytest.mark.parametrize("name", REFUSALS)
def test_what_the_hub_refuses_is_explained(name, hub, tmp_path):
    answer, _ = download(hub[0], tmp_path, name)
    assert answer.startswith("refused")
    assert re.search(REFUSALS[name][2], answer), answer


def test_a_hub_that_cannot_be_reached_is_reported_within_seconds(tmp_path):
    with socket.socket() as unused:  # bound, but nobody listens
        unused.bind(("127.0.0.1", 0))
        answer, seconds = download(f"http://127.0.0.1:{unused.getsockname()[1]}", tmp_path, "some/model")
    assert "does not give some/model" in answer
    assert "set HF_HUB_OFFLINE=1" in answer
    assert seconds < 25  # most of it imports


def test_what_the_cache_does_not_hold_is_explained_when_offline(tmp_path):
    answer, _ = download("http://127.0.0.1:9", tmp_path, "some/model", HF_HUB_OFFLINE="1")
    assert answer.startswith("refused HF_HUB_OFFLINE is set, and the cache in")
    assert "does not hold some/model at revision 'main'; fetch it once with network" in answer


def test_a_name_that_cannot_be_one_is_explained(hub, tmp_path):
    assert "'some//model' is not a hub model name" in download(hub[0], tmp_path, "some//model")[0]
