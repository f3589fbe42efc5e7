"""All methods of all experiments on one page."""

import json
import re
import subprocess

import pandas as pd
import pytest

from smf.analysis.leaderboard.page import measure_words
from smf.analysis.leaderboard.table import About, command, leaderboard_table, measures_of
from smf.cli.app import main
from smf.errors import DataError
from smf.files.artifacts import write_table
from smf.stages.comparisons import write_costs, write_leaderboard_page
from tests.unit.test_paired import KEPT, LEARNED, STARTS, scores

ABOUT = About(
    "results/mine", "Tiny-1M", {"smf": "ours </script> & more"}, {"nq": "questions"}, ("--configfile", "my config.yaml")
)
COSTS = pd.DataFrame(
    [(name, seed, 10, 100.0 * (seed + 1), 2.0, 5.0) for name in STARTS for seed in range(3)],
    columns=["method", "seed", "num_facts", "tokens_per_fact", "seconds_per_fact", "bytes_per_fact"],
)


def rows(about=ABOUT):
    return leaderboard_table(scores(), COSTS, STARTS, about)


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.fixture
def experiment(tmp_path):
    """A folder with the rows of an experiment."""
    folder = tmp_path / "mine"
    write_table(folder / "tables/leaderboard.csv", rows())
    return folder


def test_a_row_holds_what_was_learned_lost_and_spent():
    row = rows().set_index("method").loc["smf"]
    assert row["facts_question_f1"] == pytest.approx(sum(LEARNED["smf"]) / 3)
    assert row["nq_f1_drop"] == pytest.approx(sum((0.8 - kept) / 0.8 for kept in KEPT["smf"]) / 3)
    assert row["facts_locality_f1"] == pytest.approx(0.5)
    assert row["tokens_per_fact"] == pytest.approx(200.0)
    assert (row["seeds"], row["num_facts"]) == (3, 10)


def test_new_facts_come_first_and_costs_last():
    assert measures_of(rows()) == [
        "facts_question_f1",
        "facts_locality_f1",
        "nq_f1_drop",
        "tokens_per_fact",
        "seconds_per_fact",
        "bytes_per_fact",
    ]


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        ("facts_question_f1", "question"),
        ("nq_f1_drop", "nq f1: drop"),
        ("web_nll_drop", "web nll: rise"),
        ("web_kl", "KL on web"),
        ("facts_retrieved_tokens", "tokens retrieved: facts"),
        ("bytes_per_fact", "bytes per fact"),
    ],
)
def test_a_heading_says_what_is_measured(measure, words):
    assert measure_words(measure) == words


def test_a_shell_expands_a_rows_command_to_every_seed_of_the_method():
    words = command(ABOUT, "smf", [0, 2], 10).removeprefix("snakemake ")
    told = subprocess.run(["bash", "-c", f"printf '%s\\n' {words}"], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == [
        "--cores",
        "1",
        "results/mine/runs/smf/seed-0/evaluate/position-10.json",
        "results/mine/runs/smf/seed-2/evaluate/position-10.json",
        "--configfile",
        "my config.yaml",
    ]


def test_costs_are_means_per_fact_with_the_size_of_what_is_kept(tmp_path):
    facts, delta = tmp_path / "facts.jsonl", tmp_path / "delta.safetensors"
    facts.write_text('{"tokens": 10, "seconds": 1.0}\n{"tokens": 30, "seconds": 2.0}\n')
    delta.write_bytes(b"x" * 500)
    write_costs({("smf", 0): facts}, {("smf", 0): delta}, tmp_path / "costs.csv")
    assert (tmp_path / "costs.csv").read_text().splitlines()[1] == "smf,0,2,20,1.5,250"


def test_the_page_holds_the_rows_of_all_experiments(experiment, tmp_path):
    write_table(tmp_path / "other/tables/leaderboard.csv", rows(About("results/other", "Big", {}, {"nq": "questions"})))
    assert write_leaderboard_page([experiment, tmp_path / "other"], tmp_path / "page.html") == 6
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    found = data_of(page)
    assert [row["model"] for row in found["rows"]] == ["Tiny-1M"] * 3 + ["Big"] * 3
    assert found["rows"][1]["values"]["facts_question_f1"][0] == pytest.approx(sum(LEARNED["smf"]) / 3)
    assert "6 rows of 2 experiments" in page


def test_text_of_users_cannot_end_the_script_that_holds_it(experiment, tmp_path):
    write_leaderboard_page([experiment], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert data_of(page)["rows"][1]["label"] == "ours </script> & more"
    assert page.count("</script>") == 2


def test_the_page_needs_no_other_file(experiment, tmp_path):
    write_leaderboard_page([experiment], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


def test_the_command_names_the_page_and_its_rows(experiment, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["leaderboard", str(experiment), "-o", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}: 3 rows\n"


def test_an_experiment_without_rows_is_refused_with_the_command_that_makes_them(tmp_path, capsys):
    assert main(["leaderboard", str(tmp_path), "-o", str(tmp_path / "page.html")]) == 1
    told = capsys.readouterr().err
    assert f"snakemake --cores 1 {tmp_path}/tables/leaderboard.csv" in told.replace("\n", " ")
    assert not (tmp_path / "page.html").exists()


def test_a_table_that_is_no_leaderboard_is_refused(tmp_path):
    write_table(tmp_path / "tables/leaderboard.csv", COSTS)
    with pytest.raises(DataError, match="the leaderboard has no column experiment, model"):
        write_leaderboard_page([tmp_path], tmp_path / "page.html")
