"""The README says what is there: files, rules, metrics, and commands that Snakemake accepts."""

import re
import shlex
import subprocess
from pathlib import Path

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


LARGEST_PICTURE = 150_000


def faults_of_pictures(text, root):
    """Pictures that a README shows and a reader would miss, wait for, or could not make again."""
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        if not (root / path).is_file():
            yield f"{path} is missing"
        elif (root / path).stat().st_size > LARGEST_PICTURE:
            yield f"{path} is too large"
        if not re.search(rf"make readme-figure RESULTS=\S*\b{re.escape(Path(path).stem)}(?=[`\s])", text):
            yield f"{path} is not said to be made by make readme-figure"


def test_pictures_are_there_small_and_said_to_be_made_by_a_make_target():
    assert not list(faults_of_pictures(README, ROOT))


def test_a_picture_that_is_missing_large_or_made_by_nobody_is_found(tmp_path):
    (tmp_path / "large.png").write_bytes(bytes(LARGEST_PICTURE + 1))
    (tmp_path / "good.png").write_bytes(bytes(LARGEST_PICTURE))
    text = "![A](large.png) ![B](good.png) ![C](none.png)\n`make readme-figure RESULTS=results/good`"
    assert list(faults_of_pictures(text, tmp_path)) == [
        "large.png is too large",
        "large.png is not said to be made by make readme-figure",
        "none.png is missing",
        "none.png is not said to be made by make readme-figure",
    ]


def make_readme_figure(folder, *arguments):
    command = ["make", "--no-print-directory", "-f", ROOT / "Makefile", "readme-figure", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("results", ["results/smollm2_cpu", "results/smollm2_cpu/"])
def test_make_readme_figure_keeps_the_overview_under_the_name_of_the_run(tmp_path, results):
    figures = tmp_path / "results/smollm2_cpu/figures"
    figures.mkdir(parents=True)
    (figures / "overview.png").write_bytes(bytes(LARGEST_PICTURE))
    done = make_readme_figure(tmp_path, f"RESULTS={results}")
    assert (done.returncode, done.stdout) == (0, "docs/figures/smollm2_cpu.png\n"), done.stderr
    assert (tmp_path / "docs/figures/smollm2_cpu.png").stat().st_size == LARGEST_PICTURE


@pytest.mark.parametrize(
    ("arguments", "size", "message"),
    [
        ([], 1, "Name a folder of results: make readme-figure RESULTS=results/smollm2_cpu"),
        (["RESULTS=results/other"], 1, "There is no results/other/figures/overview.png; ask Snakemake for it"),
        (["RESULTS=results"], LARGEST_PICTURE + 1, "has 150001 bytes; a picture that the repository keeps has at most"),
    ],
    ids=["no run", "no picture", "too large"],
)
def test_make_readme_figure_says_why_it_keeps_nothing(tmp_path, arguments, size, message):
    (tmp_path / "results/figures").mkdir(parents=True)
    (tmp_path / "results/figures/overview.png").write_bytes(bytes(size))
    done = make_readme_figure(tmp_path, *arguments)
    assert done.returncode != 0
    assert message in done.stdout
    assert not (tmp_path / "docs").exists()


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
