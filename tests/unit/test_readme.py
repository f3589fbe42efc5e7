"""The README says what is there: files, rules, metrics, and commands that Snakemake accepts."""

import re
import shlex

import pytest

from smf.evaluation.metrics import FACTS_DIVERGENCE, FACTS_METRICS, LOCALITY, metrics_of
from tests.workflow.runs import ROOT, Job, copy_sources, snakemake

README = (ROOT / "README.md").read_text(encoding="utf-8")
HOUSE = re.search(r"^## The house\n\n((?: {4}.*\n)+)", README, re.MULTILINE)[1]
COMMANDS = sorted(set(re.findall(r"`\.venv/bin/snakemake ?([^`]*)`", README)))


def paths_of_the_house():
    folder = ""
    for line in HOUSE.splitlines():
        indent, name = re.match(r" {4}( *)(\S+)", line).groups()
        path = folder + name if indent else name
        folder = name if not indent else folder
        yield path


@pytest.mark.parametrize("path", list(paths_of_the_house()))
def test_the_map_names_what_exists(path):
    assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file()


def test_the_map_names_every_part_of_the_library_and_of_the_workflow():
    named = {path.rstrip("/") for path in paths_of_the_house()}
    for folder in ("smf", "workflow", "tests"):
        parts = {
            path for path in (ROOT / folder).iterdir() if path.name not in ("__init__.py", "__pycache__", "helpers.py")
        }
        assert {path.relative_to(ROOT).as_posix() for path in parts} <= named


def test_the_stages_are_the_rules_of_the_workflow():
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    rules = set(re.findall(r"^(?:rule|use rule \w+ as) (\w+)", text, re.MULTILINE))
    (sentence,) = re.findall(r"- The stages are (.*?)\.\n", README, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", sentence)) == rules


def test_all_metrics_are_explained():
    table = README.split("| metric | question |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) == {
        *metrics_of({"nq": "questions", "hellaswag": "choices"}),
        *FACTS_METRICS,
        LOCALITY,
        FACTS_DIVERGENCE,
    }


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the sources in which the preset takes its data from the hub."""
    folder = copy_sources(tmp_path_factory.mktemp("checkout"))
    (folder / "presets").mkdir()
    for preset in (ROOT / "presets").glob("*.yaml"):
        text = re.sub(r"data_root: .*", "data_root: null", preset.read_text(encoding="utf-8"))
        (folder / "presets" / preset.name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("arguments", [command for command in COMMANDS if "--report" not in command])
def test_snakemake_accepts_the_command(checkout, arguments):
    outcome = snakemake(checkout, checkout, "--dry-run", *shlex.split(arguments))
    assert outcome.code == 0, outcome.text
    assert Job("plan" if "plan.txt" in arguments else "base_model", "") in outcome.jobs
