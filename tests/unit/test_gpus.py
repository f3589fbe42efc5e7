"""Each job of a machine with several GPUs has one of its own."""

import logging
import os
import subprocess
import sys

import pytest

from smf.jobs import gpus
from smf.jobs.gpus import VISIBLE, take_gpu, visible_gpus
from tests.workflow.runs import ROOT

JOB = """
import sys, pathlib
from smf.jobs.gpus import take_gpu
take_gpu(pathlib.Path(sys.argv[1]))
import os
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path, request):
    """Start a process that takes a GPU of these and holds it until its input is closed."""

    def started(visible):
        process = subprocess.Popen(
            [sys.executable, "-c", JOB, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, VISIBLE: visible}, cwd=ROOT,
        )  # fmt: skip
        request.addfinalizer(process.kill)
        return process, process.stdout.readline().strip()

    return started


def test_jobs_at_a_time_have_one_each_and_what_a_dead_one_held_is_free_again(start):
    running = [start("0,1,2") for _ in range(3)]
    assert sorted(gpu for _, gpu in running) == ["0", "1", "2"]
    killed, freed = running[1]
    killed.kill()
    killed.wait()
    assert start("0,1,2")[1] == freed


def test_more_jobs_than_gpus_share_and_are_told_so(start, tmp_path, monkeypatch, caplog):
    for _ in range(2):
        start("0,1")
    monkeypatch.setenv(VISIBLE, "0,1")
    with caplog.at_level(logging.WARNING):
        assert take_gpu(tmp_path) in ("0", "1")
    assert "--resources gpu=2" in caplog.text
    assert os.environ[VISIBLE] in ("0", "1")


@pytest.mark.parametrize("visible", ["", "3", "GPU-8a56"])
def test_what_a_cluster_has_given_is_left_as_it_is(visible, monkeypatch, tmp_path):
    monkeypatch.setenv(VISIBLE, visible)
    assert take_gpu(tmp_path) is None
    assert os.environ[VISIBLE] == visible
    assert not list(tmp_path.iterdir())


def test_without_a_list_all_of_the_machine_are_there(monkeypatch):
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr(gpus.shutil, "which", lambda name: "/somewhere/nvidia-smi")
    said = "GPU 0: NVIDIA H200 (UUID: GPU-1)\nGPU 1: NVIDIA H200 (UUID: GPU-2)\n  MIG 1g.18gb Device 0\n"
    monkeypatch.setattr(gpus.subprocess, "run", lambda *args, **kwargs: subprocess.CompletedProcess(args, 0, said))
    assert visible_gpus() == ["0", "1"]


def test_a_machine_without_a_driver_has_none(monkeypatch):
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr(gpus.shutil, "which", lambda name: None)
    assert visible_gpus() == []
