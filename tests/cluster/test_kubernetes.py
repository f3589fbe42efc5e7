"""The tiny experiment through Snakemake's Kubernetes plugin, with pods that are processes of this machine.

One pod is killed in the middle, another is lost with its node: the same results, byte for byte.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import time

import pytest
import yaml

from smf.jobs.status import job_states
from tests.cluster.kubernetes_api import Cluster
from tests.workflow.runs import ENVIRONMENT, ROOT, command, copy_sources, snakemake, tiny_config

PLUGINS = ("snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_fs")
PROGRAMS = ("git", "rsync")
MISSING = [name for name in PLUGINS if importlib.util.find_spec(name) is None]
MISSING += [name for name in PROGRAMS if shutil.which(name) is None]
PROFILE = yaml.safe_load((ROOT / "profiles/kubernetes/config.yaml").read_text(encoding="utf-8"))
KEPT = "results/resume/base_model/base_model"
FOR_THE_TEST = {
    "jobs": 2,
    "seconds-between-status-checks": 1,
    "set-resources": ["base_model:mem_mb=2000", "base_model:gpu=1"],
    "set-threads": ["draw_stream=2"],
}
HOW_IT_WENT = ("logs", "benchmarks", ".seals")  # times, hosts and folders are in these
OF_THE_CLONE = "this smf is the clone's\n"
WITH_TIMES = (".pdf", ".png", "learn/facts.jsonl")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}")]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A folder in which the experiment has run without a cluster."""
    folder = tmp_path_factory.mktemp("local")
    outcome = snakemake(copy_sources(folder / "sources"), folder, config=config_in(folder))
    assert outcome.code == 0, outcome.text
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder in which it has run through the plugin, the cluster as it is then, and what Snakemake said."""
    claim = copy_sources(tmp_path_factory.mktemp("kubernetes") / "claim")
    config = config_in(claim)
    with open(claim / "smf/jobs/job.py", "a", encoding="utf-8") as file:
        file.write(f"\nimport sys\nsys.stderr.write({OF_THE_CLONE!r})\n")
    for call in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *call], cwd=claim, check=True)
    profile = claim.parent / "profile"
    profile.mkdir()
    where = {"kubernetes-persistent-volumes": [f"smf:{claim}"], "default-storage-prefix": str(claim)}
    (profile / "config.yaml").write_text(yaml.safe_dump({**PROFILE, **FOR_THE_TEST, **where}), encoding="utf-8")
    call = command(claim, "--workflow-profile", str(profile), config=config)
    call = [part for part in call if part not in ("--cores", "1")]
    with Cluster(claim.parent / "cluster", image_programs(claim.parent / "bin"), ENVIRONMENT) as cluster:
        with open(claim.parent / "snakemake.log", "wb") as log:
            environment = {**ENVIRONMENT, "KUBECONFIG": str(cluster.kubeconfig)}
            process = subprocess.Popen(call, cwd=claim, env=environment, stdout=log, stderr=log)
            disturb(cluster, process, claim / KEPT)
            code = process.wait(900)
        said = (claim.parent / "snakemake.log").read_text(encoding="utf-8", errors="replace")
        assert code == 0, said[-20000:]
        return claim, cluster, said


def config_in(folder):
    """One method is enough; pretraining is long enough that a pod can die in it."""
    methods = {"full": None, "lora": None}
    pretraining = {"num_steps": 400}
    return tiny_config(folder / "tiny.yaml", resume_interval=1, methods=methods, base={"pretraining": pretraining})


def image_programs(folder):
    """What a pod finds in its image: the Python of these tests, and a pip that has nothing to do."""
    folder.mkdir()
    expected = "install --target .snakemake/pip-deployments snakemake-storage-plugin-fs"
    programs = {"python": f'exec "{sys.executable}" "$@"', "pip": f'test "$*" = "{expected}"'}
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def disturb(cluster, process, kept):
    """Kill the pod that pretrains the base model once it has kept a state; lose the first one that learns."""
    killed = lost = False
    while process.poll() is None and not (killed and lost):
        if not killed and any(kept.glob("*/pretraining.safetensors")) and (pods := cluster.of_rule("base_model")):
            pods[0].kill()
            killed = True
        if not lost and (pods := cluster.of_rule("learn")):
            cluster.lose(pods[0])
            lost = True
        time.sleep(0.1)


def files(results):
    """The results, without how they came about."""
    paths = {path.relative_to(results): path for path in results.rglob("*") if path.is_file()}
    return {str(name): path for name, path in paths.items() if name.parts[0] not in HOW_IT_WENT}


def container_of(run, rule):
    return run[1].of_rule(rule)[0].container


def test_a_pod_that_is_killed_goes_on_in_another_from_its_resume_state(run):
    killed, again = run[1].of_rule("base_model")
    assert (killed.exit_code, again.exit_code) == (137, 0)
    log = (run[0] / "results/logs/base_model/base_model.log").read_text(encoding="utf-8")
    assert re.search(rf"resuming from {run[0] / KEPT}/\w+/pretraining\.safetensors", log)
    assert not (run[0] / "results/resume").exists()


def test_a_pod_that_is_lost_with_its_node_is_made_again(run):
    lost, again = run[1].of_rule("learn")
    assert lost.lost
    assert again.exit_code == 0


def test_each_job_runs_in_a_pod_and_only_the_disturbed_ones_twice(run):
    steps = int(re.findall(r"of (\d+) steps \(100%\) done", run[2])[-1])
    assert len(run[1].pods) == steps - 1 + 2  # `all` runs where Snakemake does
    assert run[1].deleted | {run[1].of_rule("learn")[0].job["metadata"]["name"]} == set(run[1].pods)
    assert not run[1].secrets
    assert not run[1].unknown


def test_all_jobs_say_that_they_are_done(run):
    assert {state["state"] for state in job_states(run[0] / "results")} == {"done"}


def test_pods_mount_the_claim_and_start_in_an_empty_folder(run):
    for pod in run[1].pods.values():
        (workdir, claim), container = pod.spec["volumes"], pod.container
        assert (workdir["name"], workdir["emptyDir"]) == ("workdir", {})
        assert claim["persistentVolumeClaim"]["claimName"] == "smf"
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/workdir", str(run[0])]
        assert container["workingDir"] == "/workdir"
        assert container["image"] == PROFILE["container-image"]
        assert container["command"] == ["/bin/sh"]


def test_pods_run_the_library_of_the_clone(run):
    assert all(OF_THE_CLONE in pod.log for pod in run[1].pods.values() if pod.exit_code == 0)


def test_memory_disk_and_threads_are_asked_for_and_are_the_limit(run):
    asked = container_of(run, "draw_stream")["resources"]
    assert asked["requests"] == {"cpu": "1900m", "memory": "4000M", "ephemeral-storage": "10000M"}
    assert asked["limits"] == {"cpu": "2000m", "memory": "4000M", "ephemeral-storage": "10000M"}


def test_a_rule_that_asks_for_a_gpu_gets_one(run):
    asked = container_of(run, "base_model")["resources"]
    assert asked["requests"] == {
        "cpu": "950m",
        "memory": "2000M",
        "ephemeral-storage": "10000M",
        "nvidia.com/gpu": "1",
    }
    assert asked["limits"]["nvidia.com/gpu"] == "1"
    assert {pod.container["resources"]["limits"].get("nvidia.com/gpu", "0") for pod in run[1].of_rule("heal")} == {"0"}


def test_every_file_is_that_of_a_local_run(local, run):
    expected, found = files(local / "results"), files(run[0] / "results")
    assert found.keys() == expected.keys()
    assert {"tables/scores.csv", "tables/summary.csv", "tables/summary.txt"} <= found.keys()
    for name in found:
        if not name.endswith(WITH_TIMES):
            assert found[name].read_bytes() == expected[name].read_bytes(), name


def test_every_output_is_sealed_where_it_is_kept(local, run):
    seals = [
        {path.relative_to(folder) for path in folder.rglob("*.json")}
        for folder in (local / "results/.seals", run[0] / "results/.seals")
    ]
    assert seals[0] == seals[1]
