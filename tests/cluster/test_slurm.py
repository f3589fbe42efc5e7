"""The tiny experiment on a Slurm cluster with a cancelled job and a dying node: the same tables, byte for byte."""

import re
import subprocess
import time

import pytest
import yaml

from tests.cluster.slurm import Cluster, why_not
from tests.workflow.runs import ENVIRONMENT, ROOT, command, copy_sources, snakemake, tiny_config

KEPT = "results/resume/base_model/base_model"
TABLES = ("scores.csv", "summary.csv", "summary.txt")
FOR_THE_TEST = {
    "jobs": 4,
    "latency-wait": 10,
    "slurm-no-account": True,
    "slurm-status-command": "squeue",  # sacct needs a data base
    "slurm-init-seconds-before-status-checks": 2,
    "seconds-between-status-checks": 2,
    "default-resources": ["mem_mb=1000", "runtime=20", "slurm_partition=debug"],
    "set-resources": ["base_model:mem_mb=1000"],  # the nodes are small
}

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.skipif(bool(why_not()), reason=why_not() or "Slurm")]


def test_the_tables_are_those_of_a_local_run_though_a_job_is_cancelled_and_a_node_dies(tmp_path):
    sources = copy_sources(tmp_path / "sources")
    # Long enough that a node can die in it.
    pretraining = {"num_steps": 600}
    config = tiny_config(tmp_path / "tiny.yaml", resume_interval=1, base={"pretraining": pretraining})
    local = tmp_path / "local"
    local.mkdir()
    outcome = snakemake(sources, local, config=config)
    assert outcome.code == 0, outcome.text
    profile = tmp_path / "profile"
    profile.mkdir()
    shipped = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    (profile / "config.yaml").write_text(yaml.safe_dump({**shipped, **FOR_THE_TEST}), encoding="utf-8")
    folder = tmp_path / "slurm"
    folder.mkdir()
    with Cluster(tmp_path / "cluster") as cluster:
        call = list(command(sources, "--workflow-profile", str(profile), config=config))
        call = [part for part in call if part not in ("--cores", "1")]
        with open(tmp_path / "slurm.log", "wb") as log:
            run = subprocess.Popen(call, cwd=folder, env=ENVIRONMENT, stdout=log, stderr=log)
            cancelled, node = disturb(cluster, run, folder / KEPT)
            code = run.wait(1800)
        said = (tmp_path / "slurm.log").read_text(encoding="utf-8", errors="replace")
        assert code == 0, said[-20000:]
        assert cancelled, said[-20000:]
        assert node, said[-20000:]
        assert len([state for state in cluster.states() if state.startswith("down")]) == 1
    log = (folder / "results/logs/base_model/base_model.log").read_text(encoding="utf-8")
    assert re.search(rf"resuming from {KEPT}/\w+/pretraining\.safetensors", log)
    for name in TABLES:
        found = (folder / "results/tables" / name).read_bytes()
        assert found == (local / "results/tables" / name).read_bytes(), name


def disturb(cluster, run, kept):
    """Cancel the first job that runs; kill the node that pretrains the base model once it has kept a state.

    Returns the job and the node.
    """
    cancelled = node = None
    while run.poll() is None and node is None:
        running = cluster.running()
        if cancelled is None and running:
            cancelled = next(iter(running))
            cluster.cancel(cancelled)
        elif (found := [where for where, comment in running.values() if "base_model" in comment]) and any(
            kept.glob("*/pretraining.safetensors")
        ):
            node = found[0]
            cluster.kill_node(node)
        time.sleep(0.2)
    return cancelled, node
