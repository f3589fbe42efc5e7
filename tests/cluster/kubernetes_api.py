"""As much of a Kubernetes API as Snakemake's plugin calls, on loopback; its pods are processes of this machine.

Each pod gets an empty working folder of its own, which is gone when the pod ends, and sees of the others what lies in
the mounted claims. It is not Kubernetes: nothing is scheduled, pulled or confined. Two rules of the real thing that
decide whether a run comes through are kept: a GPU needs a limit that is equal to the request, and the log of a
"previous" container exists only where a container was restarted.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import yaml

_KILLED = 128 + signal.SIGKILL


@dataclass
class Pod:
    """A job and its only pod."""

    job: dict
    folder: Path
    process: subprocess.Popen
    lost: bool = False

    @property
    def spec(self) -> dict:
        return self.job["spec"]["template"]["spec"]

    @property
    def container(self) -> dict:
        return self.spec["containers"][0]

    @property
    def rule(self) -> str:
        """The rule that Snakemake is called for in it."""
        return re.search(r"--allowed-rules '?(\w+)", self.container["args"][-1])[1]

    @property
    def exit_code(self) -> int | None:
        code = self.process.poll()
        return _KILLED if code is not None and code < 0 else code

    @property
    def log(self) -> str:
        return self.folder.with_suffix(".log").read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """Its container is killed, with all that it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.process.wait()


@dataclass
class Cluster:
    """The API and its pods.

    Args:
        folder: For working folders, logs and the kubeconfig.
        programs: What comes first in the pods' PATH, in place of what their image has.
        environment: Of the pods.
    """

    folder: Path
    programs: Path
    environment: dict[str, str]
    pods: dict[str, Pod] = field(default_factory=dict)
    """Every one that ever was, by its job's name."""
    secrets: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    """Jobs that were cleaned up."""
    unknown: list[str] = field(default_factory=list)
    """Calls that mean nothing here."""

    def __enter__(self) -> "Cluster":
        self.folder.mkdir(parents=True)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": self}))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.kubeconfig.write_text(yaml.safe_dump(self._kubeconfig()), encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        for pod in self.pods.values():
            pod.kill()
        self._server.shutdown()
        self._server.server_close()

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def of_rule(self, rule: str) -> list[Pod]:
        """The pods of a rule, in the order in which they were made."""
        return [pod for pod in list(self.pods.values()) if pod.rule == rule]

    def lose(self, pod: Pod) -> None:
        """The pod's node is gone: the job has failed, and there is no pod any more that could tell why."""
        pod.lost = True
        pod.kill()

    def create(self, job: dict) -> dict:
        """Start a job's pod.

        Raises:
            ValueError: The real API would refuse it.
        """
        name, (container,) = job["metadata"]["name"], job["spec"]["template"]["spec"]["containers"]
        limits = container["resources"].get("limits", {})
        for resource, asked in container["resources"]["requests"].items():
            if "/" in resource and limits.get(resource) != asked:
                raise ValueError(f"{resource}: Limit must be set for non overcommitable resources")
        folder = self.folder / name
        folder.mkdir()
        with open(folder.with_suffix(".log"), "wb") as log:
            process = subprocess.Popen(
                [*container["command"], *container["args"]],
                cwd=folder,
                env={**self.environment, **self._environment_of(folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pods[name] = Pod(job, folder, process)
        return job

    def delete(self, name: str) -> None:
        """A job and what its pod left in its working folder."""
        self.pods[name].kill()
        shutil.rmtree(self.pods[name].folder)
        self.deleted.add(name)

    def _environment_of(self, folder: Path) -> dict[str, str]:
        """As in profiles/kubernetes/Dockerfile: the library is that of the sources which Snakemake deploys."""
        path = f"{self.programs}:{self.environment['PATH']}"
        return {"PATH": path, "PYTHONPATH": f"{folder}:{self.environment.get('PYTHONPATH', '')}"}

    def _kubeconfig(self) -> dict:
        server = f"http://127.0.0.1:{self._server.server_port}"
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": server}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster

    def do_POST(self):
        body = self._body()
        match self._parts():
            case [*_, "secrets"]:
                self.cluster.secrets.add(body["metadata"]["name"])
                self._answer(201, body)
            case [*_, "jobs"]:
                try:
                    self._answer(201, self.cluster.create(body))
                except ValueError as error:
                    self._refuse(422, str(error))
            case _:
                self._do_not_know()

    def do_GET(self):
        query = parse_qs(urlparse(self.path).query)
        match self._parts():
            case [*_, "jobs", name, "status"] if self._is_known(name):
                self._answer(200, {**self.cluster.pods[name].job, "status": _job_status(self.cluster.pods[name])})
            case [*_, "pods"]:
                name = query["labelSelector"][0].removeprefix("job-name=")
                pods = [_pod(name, self.cluster.pods[name])] if self._is_known(name) else []
                found = [pod for pod in pods if not self.cluster.pods[name].lost]
                self._answer(200, {"apiVersion": "v1", "kind": "PodList", "items": found})
            case [*_, "pods", name, "log"] if query.get("previous", [""])[0].lower() == "true":
                self._refuse(400, f'previous terminated container "snakemake" in pod "{name}" not found')
            case [*_, "pods", name, "log"]:
                self._answer(200, self.cluster.pods[name].log)
            case _:
                self._do_not_know()

    def do_DELETE(self):
        self._body()
        match self._parts():
            case [*_, "secrets", name]:
                self.cluster.secrets.discard(name)
            case [*_, "jobs", name] if self._is_known(name):
                self.cluster.delete(name)
            case [*_, "pods", _]:
                pass  # goes with its job
            case _:
                return self._do_not_know()
        return self._answer(200, {"apiVersion": "v1", "kind": "Status", "status": "Success"})

    def log_message(self, *_: object) -> None:
        """Not on the terminal."""

    def _parts(self) -> list[str]:
        return urlparse(self.path).path.strip("/").split("/")

    def _is_known(self, name: str) -> bool:
        return name in self.cluster.pods and name not in self.cluster.deleted

    def _body(self) -> dict:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return json.loads(content) if content else {}

    def _do_not_know(self) -> None:
        self.cluster.unknown.append(f"{self.command} {self.path}")
        self._refuse(404, "not found")

    def _refuse(self, code: int, why: str) -> None:
        self._answer(code, {"apiVersion": "v1", "kind": "Status", "status": "Failure", "message": why, "code": code})

    def _answer(self, code: int, content: dict | str) -> None:
        is_text = isinstance(content, str)
        body = (content if is_text else json.dumps(content)).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if is_text else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _job_status(pod: Pod) -> dict:
    if pod.exit_code is None:
        return {"active": 1}
    return {"succeeded": 1} if pod.exit_code == 0 else {"failed": 1}


def _pod(name: str, pod: Pod) -> dict:
    state = {"running": {}} if pod.exit_code is None else {"terminated": {"exitCode": pod.exit_code}}
    status = {"name": "snakemake", "state": state, "ready": False, "restartCount": 0, "image": "", "imageID": ""}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"job-name": name}},
        "spec": pod.spec,
        "status": {"containerStatuses": [status]},
    }
