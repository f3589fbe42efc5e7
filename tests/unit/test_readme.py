"""README and docs say what is there: files, rules, metrics, and commands that Snakemake accepts."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from smf.cli.models import RETROFIT_EXAMPLES
from smf.config.experiment import Experiment
from smf.data.known_rows import KNOWN
from smf.methods.registry import method_class, method_kinds
from smf.scores.metrics import COST, FACTS_DIVERGENCE, FACTS_METRICS, LOCALITY, MEASURES, PARTIAL_METRICS, metrics_of
from smf.selection.names import SELECTORS
from smf.teaching.given_files import kind_of
from tests.pages import PAGES, README, only_match
from tests.workflow.runs import ROOT, Job, copy_sources, snakemake

MOST_LINES = 180
TABLES = {
    "smollm2_cpu": ("docs/results.md", "| method | new facts, question | as taught |"),
    "nq_cpu": ("docs/reproduction.md", "| method | rate | facts, unseen question |"),
}
"""For each preset whose table has other methods than its main figure, the page and how the table begins."""
COMMANDS = sorted(
    {
        " ".join(command.split())
        for text in PAGES.values()
        for command in re.findall(r"`\.venv/bin/snakemake ?([^`]*)`", text)
        if "--report" not in command and "--unlock" not in command
    }
)


def paths_of_the_house(page):
    """The paths that the map of a page names: indented lines below its heading, the first word of each a path."""
    heading = r"^#+ (?:The house|Repository layout)\n"
    (lines,) = re.findall(heading + r"(?:.+\n|\n(?! {4}))*\n((?: {4}.*\n)+)", PAGES[page], re.MULTILINE)
    folder = ""
    for line in lines.splitlines():
        indent, name = re.match(r" {4}( *)(\S+)", line).groups()
        path = folder + name if indent else name
        folder = name if not indent else folder
        yield path


@pytest.mark.parametrize("path", sorted({*paths_of_the_house("README.md"), *paths_of_the_house("docs/house.md")}))
def test_the_maps_name_what_exists(path):
    assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file()


def test_the_readmes_map_names_every_folder_of_the_library():
    folders = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "smf").glob("*/__init__.py")}
    assert folders <= {path.rstrip("/") for path in paths_of_the_house("README.md")}


def test_the_whole_map_names_every_part_of_the_library_and_of_the_workflow():
    named = {path.rstrip("/") for path in paths_of_the_house("docs/house.md")}
    for folder in ("smf", "workflow", "tests"):
        parts = {
            path for path in (ROOT / folder).iterdir() if path.name not in ("__init__.py", "__pycache__", "helpers.py")
        }
        assert {path.relative_to(ROOT).as_posix() for path in parts} <= named


def test_the_readme_says_where_a_key_a_selector_a_probe_a_figure_and_a_rule_are():
    rows = re.search(r"^\| to find \|.*\n\|---.*\n((?:\|.*\n)+)", README, re.MULTILINE)[1].splitlines()
    assert len(rows) == 6
    for row in rows:
        paths = re.findall(r"`([^`]+)`", row.split("|")[2])
        assert paths
        assert all(list(ROOT.glob(re.sub(r"<\w+>", "*", path))) for path in paths)


def test_the_readme_is_read_in_a_minute_and_leads_to_every_page():
    assert len(README.splitlines()) <= MOST_LINES
    assert {page for page in PAGES if f"]({page})" not in README} == {"README.md"}


def test_the_readmes_results_are_those_of_the_docs():
    section = re.search(r"^## The result\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)[1]
    rows = re.findall(r"^\| `.*$", section, re.MULTILINE)
    assert rows
    pages = "".join(text for page, text in PAGES.items() if page.startswith("docs/"))
    assert [row for row in rows if row not in pages] == []


def table_of(heading):
    """The first column of the table on some page whose first heading is this."""
    rows = only_match(rf"^\| {heading} \|.*\n\|---.*\n((?:\|.*\n)+)").splitlines()
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_the_docs_name_every_section_of_the_config():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
    assert sorted(table_of("section")) == sorted(schema["properties"])


def test_the_docs_name_every_kind_of_method_its_start_model_and_every_selector():
    assert sorted(table_of("`kind`")) == method_kinds()
    starts = only_match(r"^\| `kind` \|.*\n\|---.*\n((?:\|.*\n)+)").splitlines()
    assert [row.split("|")[3].strip(" `") for row in starts] == [
        method_class(kind).starts_from for kind in table_of("`kind`")
    ]
    assert table_of("`selector`") == list(SELECTORS)


@pytest.mark.parametrize("preset", TABLES)
def test_the_command_that_is_printed_for_a_table_makes_its_rows(preset):
    page, heading = TABLES[preset]
    rows = re.search(rf"^{re.escape(heading)}.*\n\|---.*\n((?:\|.*\n)+)", PAGES[page], re.MULTILINE)[1].splitlines()
    shown = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    command = rf"results/{preset}/tables/summary\.txt --configfile presets/{preset}\.yaml --config 'methods=(.*)'"
    config = yaml.safe_load((ROOT / f"presets/{preset}.yaml").read_text(encoding="utf-8"))
    for name, changes in yaml.safe_load(only_match(command)).items():
        config["methods"][name] |= changes
    assert set(Experiment(config).starts) == shown - {"base", "healed"}


def test_the_first_command_retrofits_the_model_of_the_experiment_by_its_name_on_the_hub():
    preset = yaml.safe_load((ROOT / "presets/smollm2_cpu.yaml").read_text(encoding="utf-8"))
    named = [re.search(r"smf retrofit (\S+) -o mine", text)[1] for text in (README, RETROFIT_EXAMPLES)]
    assert named == [preset["base"]["name"]] * 2


def test_make_install_does_what_readme_and_the_page_on_installation_say(tmp_path):
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    command = ["make", "--dry-run", "-f", ROOT / "Makefile", "install"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pip install" in done.stdout
    assert "snakemake" not in done.stdout
    for page in ("README.md", "docs/installation.md"):
        assert re.search(r"^    make install\b", PAGES[page], re.MULTILINE)


def test_the_columns_of_held_out_sets_on_the_page_tell_their_kinds(tmp_path):
    table = only_match(r"^\| columns \| kind \| score \|\n\|---.*\n((?:\|.*\n)+)").splitlines()
    for row, kind in zip(table, ("questions", "choices", "texts", "completions"), strict=True):
        columns = re.findall(r"`(\w+)`", row.split("|")[1])
        (tmp_path / "set.jsonl").write_text(json.dumps(dict.fromkeys(columns, "")) + "\n", encoding="utf-8")
        assert kind_of(tmp_path / "set.jsonl") == kind
        assert f"`<file>_{MEASURES[kind][0]}`" in row


def test_the_stages_are_the_rules_of_the_workflow():
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    rules = set(re.findall(r"^(?:rule|use rule \w+ as) (\w+)", text, re.MULTILINE))
    sentence = only_match(r"(?s:- The stages are (.*?)\.\n)")
    assert set(re.findall(r"`(\w+)`", sentence)) == rules


def test_starting_over_removes_what_the_default_experiment_made_and_no_presets_folder():
    removed = only_match(r"`rm -rf results/\{(.*)\}`").split(",")
    rules = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))
    made = set(re.findall(r"<results>/(\w+/|[\w.]+)", rules))
    beside_rules = {".seals", "resume", "logs", "benchmarks", KNOWN}
    assert sorted(removed) == sorted({name.rstrip("/") for name in made} | beside_rules)
    assert not set(removed) & {path.stem for path in (ROOT / "presets").glob("*.yaml")}


def test_all_metrics_are_explained():
    table = only_match(r"^\| metric \| question \|\n((?:\|.*\n)+)")
    assert set(re.findall(r"`(\w+)`", table)) == {
        *metrics_of({"nq": "questions", "hellaswag": "choices"}),
        *FACTS_METRICS,
        *PARTIAL_METRICS,
        LOCALITY,
        FACTS_DIVERGENCE,
        f"facts_{COST}",
        f"facts_locality_{COST}",
    }


LARGEST_PICTURE = 150_000


def faults_of_pictures(text, root):
    """Pictures that a page shows and a reader would miss, wait for, or could not make again; paths from root on."""
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


@pytest.mark.parametrize("arguments", COMMANDS)
def test_snakemake_accepts_the_command(checkout, arguments):
    outcome = snakemake(checkout, checkout, "--dry-run", *shlex.split(arguments))
    assert outcome.code == 0, outcome.text
    assert Job("plan" if "plan.txt" in arguments else "base_model", "") in outcome.jobs
