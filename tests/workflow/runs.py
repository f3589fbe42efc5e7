"""Runs of the workflow in a folder of its own, from a copy of the sources that a test may edit."""

import copy
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SOURCES = ("Snakefile", "config.yaml", "environment.yml", "profiles", "smf", "workflow")
TINY = yaml.safe_load((Path(__file__).parent / "tiny.yaml").read_text(encoding="utf-8"))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Job:
    """A job that Snakemake plans or runs: its rule and the values of its wildcards, ``"method=lora, seed=0"``."""

    rule: str
    wildcards: str


@dataclass(frozen=True)
class Outcome:
    """How a call of Snakemake ended."""

    code: int
    text: str

    @property
    def jobs(self) -> list[Job]:
        """The jobs that the call planned or ran, without ``all``."""
        jobs = []
        for part in re.split(r"^(?:local)?rule (?=\w+:$)", self.text, flags=re.MULTILINE)[1:]:
            wildcards = re.search(r"^    wildcards: (.+)$", part, re.MULTILINE)
            jobs.append(Job(part.partition(":")[0], wildcards[1] if wildcards else ""))
        return [job for job in jobs if job.rule != "all"]

    @property
    def counts(self) -> Counter:
        """Number of jobs by rule."""
        return Counter(job.rule for job in self.jobs)

    @property
    def nothing_to_do(self) -> bool:
        return self.code == 0 and not self.jobs and "Nothing to be done" in self.text


def copy_sources(folder: Path) -> Path:
    """A copy of everything that a run reads."""
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    return folder


def tiny_config(path: Path, **changes: object) -> Path:
    """Write the tiny config with changes, see :func:`tiny`."""
    path.write_text(yaml.safe_dump(tiny(**changes), sort_keys=False), encoding="utf-8")
    return path


def tiny(**changes: object) -> dict:
    """The tiny config with changes: mappings are merged, None removes a key, everything else replaces."""
    return merged(TINY, changes)


def command(sources: Path, *arguments: str, config: Path | None) -> list[str]:
    """The command line of a call; ``config`` comes last, because it takes every word that follows it."""
    options = ["--snakefile", str(sources / "Snakefile"), "--cores", "1", "--nocolor"]
    configfile = ["--configfile", str(config)] if config else []
    return [sys.executable, "-m", "snakemake", *options, *arguments, *configfile]


def snakemake(sources: Path, folder: Path, *arguments: str, config: Path | None = None) -> Outcome:
    """Call Snakemake in a folder and wait."""
    result = subprocess.run(
        command(sources, *arguments, config=config),
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Outcome(result.returncode, result.stdout)


def merged(old: object, new: object) -> object:
    """``old`` with changes: mappings are merged, None removes a key, everything else replaces."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return copy.deepcopy(new)
    changed = copy.deepcopy(old)
    for key, value in new.items():
        if value is None:
            changed.pop(key, None)
        else:
            changed[key] = merged(old.get(key), value)
    return changed
