"""The workflow as a whole: what it plans and makes, what a change makes stale, and what a failure leaves behind."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

from smf.analysis.interpolation.table import INTERPOLATION_COLUMNS
from smf.analysis.tuning.rule import tuning_columns
from smf.config.experiment import Experiment
from smf.files.artifacts import read_json, sha256, write_json, write_jsonl
from smf.models.checkpoint import save_checkpoint
from smf.scores.metrics import FACTS_METRICS, metrics_of
from smf.scores.summary import SUMMARY_COLUMNS
from smf.scores.table import COLUMNS as SCORE_COLUMNS
from smf.sizing.work import Work
from tests.helpers import base_model, tokenizer
from tests.pages import PAGES, example, only_match
from tests.workflow.runs import (
    ENVIRONMENT,
    ROOT,
    TINY,
    Job,
    command,
    copy_sources,
    merged,
    snakemake,
    tiny,
    tiny_config,
)

EVERYTHING = (
    "all",
    *(
        f"results/figures/{name}.pdf"
        for name in (
            "overview",
            "tuning",
            "frontier",
            "interpolation",
            "slot_use",
            "slot_writes",
            "predictors",
            "core_sets",
            "read_overlap",
        )
    ),
    "results/tables/pairs.csv",
)
BY_DEFAULT = {"scores": 1, "summary": 1, "plot_forgetting": 1}
PREDICTORS = {"predictors": 1, "plot_predictors": 1}
TABLES = {**BY_DEFAULT, "plot_overview": 1, "pairs": 1, **PREDICTORS}
SWEEP_TABLES = {"tuning_scores": 1, "tuning": 1, "plot_tuning": 1}
FRONTIER = {"frontier_scores": 1, "frontier_tuning_scores": 1, "frontier": 1, "plot_frontier": 1}
INTERPOLATION = {"interpolation": 1, "plot_interpolation": 1}
SLOT_WRITES = {"slot_writes": 1, "plot_slot_writes": 1}
SLOT_USE = {"slot_use": 1, "plot_slot_use": 1, **SLOT_WRITES}
CORE_SETS = {"core_sets": 1, "plot_core_sets": 1}
READ_OVERLAP = {"read_overlap": 1, "plot_read_overlap": 1}
EVALUATIONS = {
    "evaluate_held_out": 2,
    "evaluate_start": 2,
    "evaluate": 3,
    "interpolate": 3,
    "trial": 4,
    "tuning_trial": 4,
}
ASKED_ANEW = {**EVALUATIONS, **TABLES, **SWEEP_TABLES, **FRONTIER, **INTERPOLATION}
ONE_RUN = {"learn": 1, "evaluate": 1, "interpolate": 1}
WHOLE = {
    "prepare_data": 1,
    "draw_stream": 2,
    "base_model": 1,
    "heal": 1,
    "count_background": 1,
    "evaluate_held_out": 2,
    "evaluate_start": 2,
    "learn": 3,
    "evaluate": 3,
    "interpolate": 3,
    "trial": 4,  # of four settings, on the reported seed
    "tuning_trial": 4,  # and on the tuning seed, whose stream is shorter
    **TABLES,
    **SWEEP_TABLES,
    **FRONTIER,
    **INTERPOLATION,
    **SLOT_USE,
    **CORE_SETS,
    **READ_OVERLAP,
}
METRICS = (*metrics_of({"nq": "questions", "hellaswag": "choices"}), *FACTS_METRICS)
OTHER = {"kind": "smf", "selector": "random", "top_t": 4, "learning_rate": 1.0}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The sources that made ``finished``; not to be edited."""
    return copy_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def finished(sources, tmp_path_factory):
    """A folder in which the whole tiny DAG has run; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    outcome = snakemake(sources, folder, *EVERYTHING, config=tiny_config(folder / "tiny.yaml"))
    assert outcome.code == 0, outcome.text
    assert outcome.counts == WHOLE
    assert "imports its packages itself" not in outcome.text  # each job was a copy, where there are copies
    # Apart from the rest: any change of the config makes another plan, leaderboard and page.
    assert snakemake(sources, folder, "results/plan.txt", config=folder / "tiny.yaml").counts == {"plan": 1}
    rows = snakemake(sources, folder, "results/tables/leaderboard.csv", config=folder / "tiny.yaml")
    assert rows.counts == {"costs": 1, "leaderboard": 1}, rows.text
    page = snakemake(sources, folder, "results/page.html", config=folder / "tiny.yaml")
    assert page.counts == {"compute": 1, "page": 1}, page.text
    return folder


def test_the_plan_counts_the_jobs_that_a_dry_run_plans(sources, tmp_path):
    config = tiny_config(tmp_path / "tiny.yaml", seeds=[0, 1])
    experiment = Experiment(yaml.safe_load(config.read_text(encoding="utf-8")))
    work = Work(experiment.config, experiment.probes, tuple(experiment.positions))
    planned = snakemake(sources, tmp_path, "--dry-run", config=config)
    assert planned.counts == Counter(work.jobs)


@pytest.fixture
def copy_of_finished(finished, tmp_path):
    """A finished folder that a test may change."""
    return shutil.copytree(finished, tmp_path / "folder")


@pytest.fixture
def replan(sources, finished, tmp_path):
    """Plan the whole DAG in the finished folder, with changes of the config."""

    def plan(*targets, **changes):
        config = tiny_config(tmp_path / "changed.yaml", **changes)
        outcome = snakemake(sources, finished, "--dry-run", *(targets or EVERYTHING), config=config)
        assert outcome.code == 0, outcome.text
        return outcome

    return plan


@pytest.fixture
def replan_after(finished, tmp_path):
    """Plan the whole DAG in the finished folder, after changes of the sources."""

    def plan(change):
        changed = copy_sources(tmp_path / "sources")
        change(changed)
        config = tiny_config(tmp_path / "tiny.yaml")
        outcome = snakemake(changed, finished, "--dry-run", *EVERYTHING, config=config)
        assert outcome.code == 0, outcome.text
        return outcome

    return plan


def branch(method, seed=0):
    """The two jobs of one run."""
    return {Job(rule, f"method={method}, seed={seed}") for rule in ("learn", "evaluate")}


def trials(run, *seeds):
    """The jobs of one setting of a sweep."""
    return {Job("tuning_trial" if seed == 100 else "trial", f"method={run}, seed={seed}") for seed in seeds}


def jobs_without_tables(outcome):
    tables = {*TABLES, *SWEEP_TABLES, *FRONTIER, *INTERPOLATION, *SLOT_USE, *CORE_SETS, *READ_OVERLAP}
    return {job for job in outcome.jobs if job.rule not in tables}


def table_bytes(folder):
    """The tables of the default target."""
    tables = (folder / "results" / "tables" / name for name in ("scores.csv", "summary.csv", "summary.txt"))
    return {path.name: path.read_bytes() for path in tables}


def append(path, text):
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


# What is planned from nothing


def test_an_empty_folder_plans_every_rule(sources, tmp_path):
    config = tiny_config(tmp_path / "tiny.yaml")
    assert snakemake(sources, tmp_path, "--dry-run", *EVERYTHING, config=config).counts == WHOLE


@pytest.mark.parametrize("weight", [0, 0.5])
def test_contrast_texts_are_counted_once_for_all_runs_and_only_if_one_weighs_them(sources, tmp_path, weight):
    data = {"contrast": {"num_facts": 4}}
    config = tiny_config(tmp_path / "tiny.yaml", data=data, methods={"smf_tfidf": {"contrast": weight}})
    outcome = snakemake(sources, tmp_path, "--dry-run", *EVERYTHING, config=config)
    assert outcome.counts == Counter({**WHOLE, "count_contrast": int(weight > 0)})
    experiment = Experiment(yaml.safe_load(config.read_text(encoding="utf-8")))
    work = Work(experiment.config, experiment.probes, tuple(experiment.positions))
    assert work.jobs["count_contrast"] == outcome.counts["count_contrast"]


def test_a_model_paraphrases_once_for_all_streams_and_only_if_it_is_to(sources, tmp_path):
    paraphrases = {"source": "model", "model": {"name": "owner/name"}}
    config = tiny_config(tmp_path / "tiny.yaml", stream={"paraphrases": paraphrases})
    assert snakemake(sources, tmp_path, "--dry-run", *EVERYTHING, config=config).counts == {**WHOLE, "paraphrase": 1}


def test_a_collection_is_planned_with_its_own_held_out_sets(sources, tmp_path):
    source = {"hub": "owner/name", "format": "text"}
    collection = {"background": source, "facts": {**source, "format": "triviaqa"}, "held_out": {"wiki": source}}
    data = {"source": "collection", "collection": collection}
    base = {"source": "hub", "name": "owner/model", "min_recall": 0.0}
    config = tiny_config(tmp_path / "tiny.yaml", data=data, base=base)
    outcome = snakemake(sources, tmp_path, "--dry-run", *EVERYTHING, config=config)
    assert outcome.counts == WHOLE
    assert "held_out/wiki.jsonl" in outcome.text
    assert "held_out/nq.jsonl" not in outcome.text


@pytest.mark.parametrize("number", [0, 5])
def test_start_models_read_the_base_beside_them_only_to_be_compared_with_it(sources, tmp_path, number):
    source = {"hub": "owner/name", "format": "text"}
    collection = {"background": source, "facts": {**source, "format": "triviaqa"}, "held_out": {"wiki": source}}
    base = {"source": "hub", "name": "owner/model", "min_recall": 0.0}
    parts = {"data": {"source": "collection", "collection": collection}, "base": base}
    config = tiny_config(tmp_path / "tiny.yaml", evaluation={"kl": {"num_texts": number}}, **parts)
    outcome = snakemake(sources, tmp_path, "--dry-run", "results/healed/evaluate/held_out.json", config=config)
    assert outcome.code == 0, outcome.text
    (job,) = (part for part in outcome.text.split("rule ") if part.startswith("evaluate_held_out:"))
    assert "results/healed/model.safetensors" in job
    assert ("results/base/model.safetensors" in job) == bool(number)


def test_a_base_is_asked_what_it_knows_before_anything_is_taught_and_only_if_it_is_to_be(sources, tmp_path):
    source = {"hub": "owner/name", "format": "nq_open"}
    sets = {"nq": source, "other": source}
    collection = {"background": {**source, "format": "text"}, "facts": source, "held_out": sets}
    data = merged({"source": "collection", "collection": collection}, yaml.safe_load(example("known"))["data"])
    base = {"source": "hub", "name": "owner/model", "min_recall": 0.0}
    config = tiny_config(tmp_path / "tiny.yaml", data=data, base=base)
    outcome = snakemake(sources, tmp_path, "--dry-run", *EVERYTHING, config=config)
    assert outcome.counts == {**WHOLE, "ask_base": 1}
    jobs = {part.split(":")[0]: part for part in re.split(r"^rule ", outcome.text, flags=re.MULTILINE)[1:]}
    for rule in ("evaluate", "evaluate_held_out", "trial"):
        assert "results/known/nq.jsonl, results/data/held_out/other.jsonl" in jobs[rule]
    assert "input: results/known/facts.jsonl" in jobs["draw_stream"]
    assert "results/known/labels.json" in jobs["plot_forgetting"]
    experiment = Experiment(yaml.safe_load(config.read_text(encoding="utf-8")))
    work = Work(experiment.config, experiment.probes, tuple(experiment.positions))
    assert snakemake(sources, tmp_path, "--dry-run", config=config).counts == Counter(work.jobs)


def test_the_default_target_leaves_out_what_is_asked_for_by_name(sources, tmp_path):
    outcome = snakemake(sources, tmp_path, "--dry-run", config=tiny_config(tmp_path / "tiny.yaml"))
    left_out = {"plot_overview", "pairs", "trial", "tuning_trial", "interpolate", *PREDICTORS}
    left_out |= {*SWEEP_TABLES, *FRONTIER, *INTERPOLATION, *SLOT_USE, *CORE_SETS, *READ_OVERLAP}
    without = {rule: number for rule, number in WHOLE.items() if rule not in left_out}
    assert outcome.counts == {**without, "draw_stream": 1, "evaluate_start": 1, "learn": 3, "evaluate": 3}


def test_what_a_choice_of_slots_reaches_needs_the_memory_model_counts_and_streams_and_no_run(sources, tmp_path):
    target = "results/figures/read_overlap.pdf"
    config = tiny_config(tmp_path / "tiny.yaml", seeds=[0, 1])
    needed = {"prepare_data": 1, "base_model": 1, "heal": 1, "count_background": 1, "draw_stream": 2, **READ_OVERLAP}
    assert snakemake(sources, tmp_path, "--dry-run", target, config=config).counts == needed
    methods = {"smf_tfidf": None, "smf_contrast": {**OTHER, "contrast": 1, "frontier_only": True}}
    config = tiny_config(
        tmp_path / "tiny.yaml",
        seeds=[0, 1],
        methods=methods,
        data={"contrast": {"num_facts": 1}},
        stream={"num_facts": 3},
    )
    weighed = snakemake(sources, tmp_path, "--dry-run", target, config=config)
    assert weighed.counts == {**needed, "count_contrast": 1}, weighed.text
    config = tiny_config(tmp_path / "tiny.yaml", methods={"smf_tfidf": None})
    refused = snakemake(sources, tmp_path, "--dry-run", target, config=config)
    assert refused.code != 0
    assert "read_overlap needs a method of kind smf or smf_replay; add one under methods" in refused.text


def test_config_yaml_is_the_default_and_plans_all_its_methods_and_seeds(tmp_path):
    checkout = copy_sources(tmp_path)
    config = yaml.safe_load((checkout / "config.yaml").read_text(encoding="utf-8"))
    outcome = snakemake(checkout, checkout, "--dry-run")
    assert outcome.code == 0, outcome.text
    assert {job for job in outcome.jobs if job.rule == "learn"} == {
        Job("learn", f"method={name}, seed={seed}")
        for name, method in config["methods"].items()
        if not method.get("frontier_only")
        for seed in config["seeds"]
    }


def test_a_preset_is_an_experiment_of_its_own(sources, tmp_path):
    """No key of config.yaml shines through: the tiny config has no LoRA here, config.yaml has."""
    config = tiny_config(tmp_path / "preset.yaml", results="results/tiny", methods={"lora": None, "smf_tfidf": None})
    target = "results/tiny/figures/forgetting.pdf"
    outcome = snakemake(sources, tmp_path, "--dry-run", target, config=config)
    assert {job for job in outcome.jobs if job.rule == "learn"} == {Job("learn", "method=full, seed=0")}
    assert "results/tiny/tables/summary.csv" in outcome.text


def test_a_wrong_config_stops_before_any_job_with_one_message(sources, tmp_path):
    config = tiny_config(tmp_path / "wrong.yaml", methods={"full": {"kind": "fulll"}})
    outcome = snakemake(sources, tmp_path, config=config)
    assert outcome.code == 1
    assert "methods.full.kind: unknown method kind 'fulll'; did you mean 'full'?" in outcome.text
    assert outcome.text.count("fulll") == 1
    assert "Traceback" not in outcome.text
    assert not outcome.jobs
    assert not (tmp_path / "results").exists()


def test_a_key_that_is_there_twice_stops_before_any_job_with_both_lines(sources, tmp_path):
    config = tiny_config(tmp_path / "tiny.yaml")
    first = config.read_text(encoding="utf-8").splitlines().index("seeds:") + 1
    config.write_text(f"{config.read_text(encoding='utf-8')}seeds: [7]\n", encoding="utf-8")
    last = len(config.read_text(encoding="utf-8").splitlines())
    outcome = snakemake(sources, tmp_path, config=config)
    assert outcome.code == 1
    assert f"tiny.yaml, lines {first} and {last}: seeds is there twice" in outcome.text
    assert "Traceback" not in outcome.text
    assert not outcome.jobs


def test_nested_settings_of_the_command_line_reach_the_jobs(sources, tmp_path):
    """A job is a process of its own, which Snakemake gives the same command line."""
    nested = ("methods={lora: null, smf_tfidf: null}", "seeds=[3, 4, 5]", "stream={num_facts: 2, snapshots: []}")
    config = tiny_config(tmp_path / "tiny.yaml")
    outcome = snakemake(sources, tmp_path, "results/plan.txt", "--config", *nested, config=config)
    assert outcome.code == 0, outcome.text
    expected = tiny(seeds=[3, 4, 5], stream={"num_facts": 2, "snapshots": []})
    expected["methods"] = {"full": expected["methods"]["full"]}
    experiment = Experiment(expected)
    work = Work(experiment.config, experiment.probes, tuple(experiment.positions))
    counts = ", ".join(f"{rule} {number}" for rule, number in work.jobs.items() if number)
    assert counts in (tmp_path / "results/plan.txt").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_clone_with_its_environment_works_in_a_folder_of_any_name(tmp_path):
    clone = copy_sources(tmp_path / "it's a $clone #é (1)&")
    python = clone / ".venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", clone / ".venv"], check=True)
    for packages in clone.glob(".venv/lib/*/site-packages"):
        (packages / "all.pth").write_text(sysconfig.get_path("purelib"))
    arguments = command(clone, "results/data/facts.jsonl", config=tiny_config(clone / "tiny.yaml"))[1:]

    def call(folder, *options):
        run = [python, *arguments[:-2], *options, *arguments[-2:]]
        return subprocess.run(run, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)

    made = call(clone)
    assert made.returncode == 0, made.stderr
    assert (clone / "results/data/facts.jsonl").is_file()
    refused = call(tmp_path, "--dry-run")  # from here the way to the interpreter has a space
    assert refused.returncode == 1
    assert f"cannot start jobs with {python}, as this path has a space" in refused.stdout + refused.stderr


def test_a_clone_in_a_folder_with_braces_is_refused_in_one_sentence(tmp_path):
    clone = copy_sources(tmp_path / "a {clone}")
    refused = snakemake(clone, tmp_path, "--dry-run", config=tiny_config(tmp_path / "tiny.yaml"))
    assert refused.code == 1
    assert f"braces, also in {clone}; rename the folder" in refused.text
    assert "Traceback" not in refused.text


# What is made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "columns", "methods"),
    [
        ("scores", SCORE_COLUMNS, {"base", "healed", "full", "lora", "smf_tfidf"}),
        ("summary", SUMMARY_COLUMNS, {"base", "healed", "full", "lora", "smf_tfidf"}),
        ("tuning", tuning_columns(["nq_f1", "hellaswag_acc_norm"]), {"smf_tfidf"}),
        ("interpolation", INTERPOLATION_COLUMNS, {"full", "lora", "smf_tfidf"}),
    ],
)
def test_tables_have_their_columns_and_all_methods(finished, table, columns, methods):
    frame = pd.read_csv(finished / f"results/tables/{table}.csv")
    assert tuple(frame.columns) == tuple(columns)
    assert set(frame["method"]) == methods


@pytest.mark.slow
def test_a_row_of_the_leaderboard_names_the_command_that_finds_it_made(sources, finished):
    rows = pd.read_csv(finished / "results/tables/leaderboard.csv")
    assert rows["method"].tolist() == ["full", "lora", "smf_tfidf"]
    words = shlex.split(rows["command"][2])
    assert words[:4] == ["snakemake", "--cores", "1", "results/runs/smf_tfidf/seed-0/evaluate/position-4.json"]
    again = snakemake(sources, finished, words[3], config=finished / words[words.index("--configfile") + 1])
    assert again.nothing_to_do, again.text


@pytest.mark.slow
def test_every_metric_of_every_snapshot_is_in_the_table(finished):
    scores = pd.read_csv(finished / "results/tables/scores.csv")
    positions = {"base": [0], "healed": [0], "full": [2, 4], "lora": [2, 4], "smf_tfidf": [2, 4]}
    expected = {
        (name, 0, place, metric) for name, places in positions.items() for place in places for metric in METRICS
    }
    assert set(scores[["method", "seed", "position", "metric"]].itertuples(index=False, name=None)) == expected
    assert len(scores) == len(expected)
    assert scores["value"].between(0, 1).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    "forgetting overview tuning interpolation slot_use slot_writes predictors core_sets read_overlap".split(),
)
def test_figures_are_pdf_and_png(finished, name):
    assert (finished / f"results/figures/{name}.pdf").read_bytes().startswith(b"%PDF")
    assert (finished / f"results/figures/{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_every_job_leaves_a_log_and_a_benchmark(finished):
    jobs = sum(WHOLE.values()) + 5  # the plan, the leaderboard and its costs, the page and what it cost
    assert len([path for path in finished.glob("results/logs/*/*.log") if path.stat().st_size >= 0]) == jobs
    assert len(list(finished.glob("results/benchmarks/*/*.jsonl"))) == jobs - 1  # what it cost is made of these


@pytest.mark.slow
def test_every_path_that_the_docs_list_is_there(finished):
    table = only_match(r"^\| path below .*\n\|---.*\n((?:\|.*\n)+)")
    spans = re.findall(r"`([^`]+)`", "".join(row.split("|")[1] for row in table.splitlines()))
    assert len(spans) > 10
    for span in spans:
        choice = re.search(r"\{([\w,]+)\}", span)
        for part in choice[1].split(",") if choice else [""]:
            pattern = re.sub(r"<\w+>", "*", span.replace(choice[0], part) if choice else span)
            assert list(finished.glob(f"results/{pattern}")), span


@pytest.mark.slow
def test_the_documented_code_loads_the_healed_model(finished):
    code = example("loading") + "\nprint(type(model).__name__, tokenizer.pad_token_id is not None)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=finished,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.stdout == "MemoryForCausalLM True\n", result.stderr


# What a change makes stale


@pytest.mark.slow
def test_the_documented_session_teaches_asks_forgets_and_asks_again(finished, tmp_path):
    (fact,) = re.findall(r'^    (\{"fact_id".*)$', PAGES["docs/patches.md"], re.MULTILINE)
    (tmp_path / "facts.jsonl").write_text(fact + "\n", encoding="utf-8")
    (tmp_path / "results").symlink_to(finished / "results")
    lines = example("teach").splitlines()
    calls = [shlex.split(line.removeprefix("$ smf ")) for line in lines if line.startswith("$ smf ")]
    assert [call[0] for call in calls] == ["teach", "ask", "patch", "ask"]
    calls.append([part for part in calls[-1] if part != "patch.safetensors"])
    said = []
    for call in calls:
        run = subprocess.run(
            [sys.executable, "-m", "smf.cli", *call],
            cwd=tmp_path,
            env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        unknown = 2 if "not known" in run.stdout else 0  # this model is too small to learn every fact
        assert run.returncode == (unknown if call[0] == "teach" else 0), run.stderr
        said.append(run.stdout)
    assert "nq_f1: " in said[0]
    assert "forgot home" in said[2]
    assert said[3] == said[4]  # as if it had never been taught


@pytest.mark.slow
def test_a_second_call_has_nothing_to_do(sources, finished):
    outcome = snakemake(sources, finished, *EVERYTHING, config=finished / "tiny.yaml")
    assert outcome.nothing_to_do, outcome.text


@pytest.mark.slow
def test_a_new_method_adds_its_own_jobs_and_the_tables(replan):
    outcome = replan("all", methods={"smf_random": OTHER})
    assert jobs_without_tables(outcome) == branch("smf_random")
    assert outcome.counts == {"learn": 1, "evaluate": 1, **BY_DEFAULT}


@pytest.mark.slow
def test_a_new_seed_adds_its_own_jobs_and_the_tables(replan):
    outcome = replan(seeds=[0, 1])
    assert all(job.wildcards.endswith("seed=1") for job in jobs_without_tables(outcome))
    jobs = {"draw_stream": 1, "evaluate_start": 1, "learn": 3, "evaluate": 3, "interpolate": 3, "trial": 4}
    frontier = {rule: number for rule, number in FRONTIER.items() if rule != "frontier_tuning_scores"}
    assert outcome.counts == {**jobs, **TABLES, **frontier, **INTERPOLATION, **SLOT_WRITES, **READ_OVERLAP}


@pytest.mark.slow
def test_another_rate_reruns_the_branches_of_its_method_alone(replan):
    outcome = replan(methods={"lora": {"learning_rate": 0.02}})
    between = Job("interpolate", "method=lora, seed=0")
    assert jobs_without_tables(outcome) == branch("lora") | trials("lora--as-configured", 0, 100) | {between}
    # The sweep's table says which rate is configured.
    jobs = {"learn": 1, "evaluate": 1, "interpolate": 1, "trial": 1, "tuning_trial": 1, "tuning": 1, "plot_tuning": 1}
    assert outcome.counts == {**jobs, **TABLES, **FRONTIER, **INTERPOLATION}


@pytest.mark.slow
def test_another_swept_rate_runs_that_rate_alone(replan):
    outcome = replan(methods={"smf_tfidf": {"sweep": [1.0, 10.0, 100.0]}})
    assert jobs_without_tables(outcome) == trials("smf_tfidf--lr-100", 0, 100)
    assert outcome.counts == {"trial": 1, "tuning_trial": 1, **SWEEP_TABLES, **FRONTIER, **READ_OVERLAP}


@pytest.mark.slow
def test_a_trial_leaves_its_log_and_its_scores_alone(finished):
    folder = finished / "results/runs/smf_tfidf--lr-1/seed-0"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"learn/facts.jsonl", "evaluate/position-3.json"}  # as far as frontier.num_facts goes


@pytest.mark.slow
def test_streams_of_tuning_seeds_are_as_long_as_tuning_says(finished):
    lengths = {
        seed: len((finished / f"results/streams/seed-{seed}.jsonl").read_text().splitlines()) for seed in (0, 100)
    }
    assert lengths == {0: 4, 100: 3}
    folder = finished / "results/runs/smf_tfidf--lr-1/seed-100"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"learn/facts.jsonl", "evaluate/position-3.json"}


@pytest.mark.slow
def test_another_setting_in_a_sweep_runs_that_setting_alone(replan):
    outcome = replan(sweeps={"smf_tfidf": {"learning_rate": [1.0, 10.0], "top_t": [8, 16]}})
    runs = [f"smf_tfidf--lr-{rate}--top_t-{top_t}" for rate in (1, 10) for top_t in (8, 16)]
    assert jobs_without_tables(outcome) == set().union(*(trials(run, 0, 100) for run in runs))


@pytest.mark.slow
def test_a_method_of_the_frontier_alone_leaves_the_main_figure_as_it_is(replan):
    outcome = replan(methods={"smf_random": {**OTHER, "frontier_only": True}})
    assert jobs_without_tables(outcome) == trials("smf_random--as-configured", 0, 100)
    assert outcome.counts == {"trial": 1, "tuning_trial": 1, **FRONTIER, **READ_OVERLAP}


@pytest.mark.slow
def test_other_shares_ask_finished_runs_and_teach_nothing(replan):
    outcome = replan(interpolation={"shares": [0.3, 0.5], "methods": ["lora", "full"]})
    assert outcome.counts == {"interpolate": 2, **INTERPOLATION}


@pytest.mark.slow
def test_recomputed_activations_learn_nothing_again(replan):
    assert replan(base={"gradient_checkpointing": True}).nothing_to_do


@pytest.mark.slow
def test_a_label_redraws_the_figures_that_show_it_alone(replan):
    redrawn = {"plot_forgetting": 1, "plot_overview": 1}
    assert replan(methods={"full": {"label": "all weights"}}).counts == redrawn


@pytest.mark.slow
def test_another_limit_of_answers_draws_the_streams_anew(replan):
    """Facts that cannot be answered within it are left out."""
    counts = replan(evaluation={"max_new_tokens": 17}).counts
    assert counts["draw_stream"] == 2
    assert not {"prepare_data", "base_model", "heal"} & set(counts)


@pytest.mark.slow
def test_other_evaluation_settings_train_nothing(replan):
    outcome = replan(evaluation={"wordings_per_fact": 1})
    assert outcome.counts == {
        "evaluate": 3,
        "interpolate": 3,
        "trial": 4,
        "tuning_trial": 4,
        "evaluate_start": 2,
        **TABLES,
        **SWEEP_TABLES,
        **FRONTIER,
        **INTERPOLATION,
    }


@pytest.mark.slow
def test_start_models_are_asked_about_held_out_sets_once_for_all_seeds(finished):
    held_out = read_json(finished / "results/base/evaluate/held_out.json")["scores"]
    for seed in (0, 100):
        assert read_json(finished / f"results/base/evaluate/seed-{seed}.json")["scores"][: len(held_out)] == held_out


@pytest.mark.slow
def test_another_headline_evaluates_nothing(replan):
    outcome = replan(evaluation={"headline": ["nq_em"]})
    redrawn = (
        "plot_forgetting",
        "plot_overview",
        "pairs",
        *PREDICTORS,
        "tuning",
        "plot_tuning",
        "frontier",
        "plot_frontier",
        "plot_interpolation",
    )
    assert outcome.counts == dict.fromkeys(redrawn, 1)


@pytest.mark.slow
def test_defaults_that_are_written_down_and_another_order_of_keys_change_nothing(sources, finished, tmp_path):
    written_down = {"device": "cpu", "memory": {"mode": "additive"}, "methods": {"lora": {"optimizer": "adamw"}}}
    config = tiny_config(tmp_path / "same.yaml", **written_down)
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()), sort_keys=True))
    assert snakemake(sources, finished, "--dry-run", *EVERYTHING, config=config).nothing_to_do


@pytest.mark.slow
def test_new_modification_times_of_all_sources_change_nothing(replan_after):
    def touch_all(sources):
        for path in sources.rglob("*"):
            os.utime(path)

    assert replan_after(touch_all).nothing_to_do


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "counts"),
    [
        ("smf/analysis/forgetting/tradeoff.py", {**TABLES, **SWEEP_TABLES, **FRONTIER}),
        ("smf/evaluation/harness.py", ASKED_ANEW),
        ("smf/evaluation/tasks/smf_nq/smf_nq.yaml", ASKED_ANEW),
        ("smf/methods/lora.py", {**ONE_RUN, "trial": 1, "tuning_trial": 1, **TABLES, **FRONTIER, **INTERPOLATION}),
        ("smf/data/world.py", WHOLE),
    ],
)
def test_an_edit_reruns_what_the_code_made_and_what_depends_on_it(replan_after, module, counts):
    edit = "EDIT = 1\n" if module.endswith(".py") else "# an edit\n"
    assert replan_after(lambda sources: append(sources / module, edit)).counts == counts


@pytest.mark.slow
def test_an_edit_of_words_reruns_nothing_wherever_it_is(replan_after):
    """Docstrings and comments of all modules, an error's text and a log line's, and code that changes no result."""

    def reword(sources):
        for path in [*sources.glob("smf/**/*.py"), *sources.glob("workflow/scripts/*.py")]:
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace('"""', '"""In other words: ', 1) + "# an edit\n", encoding="utf-8")
        for name, old, new in [
            ("streams/facts.py", 'raise DataError(f"', 'raise DataError(f"sadly, '),
            ("stages/prepare.py", "texts for pretraining", "texts to pretrain on"),
        ]:
            text = (sources / "smf" / name).read_text(encoding="utf-8")
            assert old in text
            (sources / "smf" / name).write_text(text.replace(old, new), encoding="utf-8")
        for name in ("errors", "logs", "files/seals", "jobs/job", "jobs/status", "jobs/gpus"):
            append(sources / "smf" / f"{name}.py", "EDIT = 1\n")

    assert replan_after(reword).nothing_to_do


@pytest.fixture
def own_files(tmp_path):
    """A config over the user's own data and model, in a folder of their own."""
    mine = tmp_path / "mine"
    write_jsonl(mine / "text.jsonl", [{"text": f"The {n}th house is red."} for n in range(6)])
    write_jsonl(mine / "facts.jsonl", [own_fact("Ostry")])
    write_jsonl(mine / "asked.jsonl", [{"question": f"who wrote book {n}", "answer": ["Ann"]} for n in range(3)])
    save_checkpoint(base_model(), tokenizer(), mine / "model")

    def config(name="facts.jsonl", mine=mine):
        source = {"num_rows": None}
        collection = {
            "data_root": str(mine),
            "background": {**source, "file": "text.jsonl", "format": "text"},
            "facts": {**source, "file": name, "format": "facts"},
            "held_out": {"asked": {**source, "file": "asked.jsonl", "format": "nq_open"}},
        }
        base = {"source": "checkpoint", "checkpoint": str(mine / "model"), "max_length": 64}
        return tiny_config(
            tmp_path / "own.yaml",
            data={"source": "collection", "world": None, "collection": collection},
            base={**dict.fromkeys(TINY["base"]), **base},
            stream={"num_facts": 1, "snapshots": []},
            evaluation={"headline": ["asked_f1"], "max_new_tokens": 8},
        )

    return mine, config


def own_fact(place):
    return {"statements": [f"Ann was born in {place}."], "question": "where was Ann born", "answers": [place]}


@pytest.mark.slow
def test_the_users_files_make_stale_what_was_made_of_what_they_held(sources, own_files, tmp_path):
    mine, config = own_files

    def plan(*options, **changes):
        targets = ("results/data/facts.jsonl", "results/base/report.json")
        return snakemake(sources, tmp_path, *options, *targets, config=config(**changes))

    made = plan()
    assert made.code == 0, made.text
    assert made.counts == {"prepare_data": 1, "base_model": 1}
    shutil.copytree(mine, tmp_path / "copy", copy_function=shutil.copyfile)
    (tmp_path / "copy/facts.jsonl").rename(tmp_path / "copy/my_facts.jsonl")
    assert plan("--dry-run", name="my_facts.jsonl", mine=tmp_path / "copy").nothing_to_do
    save_checkpoint(base_model(seed=5), tokenizer(), mine / "model")
    assert plan("--dry-run").counts == {"base_model": 1}
    write_jsonl(mine / "facts.jsonl", [own_fact("Melvik")])
    assert plan("--dry-run").counts == {"prepare_data": 1, "base_model": 1}


# The documented examples


@pytest.mark.slow
def test_the_documented_method_is_added_by_the_config_alone(replan):
    method = yaml.safe_load(example("method"))["methods"]
    (name,) = method
    outcome = replan("all", methods=method)
    assert jobs_without_tables(outcome) == branch(name)


@pytest.mark.slow
def test_the_documented_kind_is_added_by_one_file(copy_of_finished, tmp_path):
    changed = copy_sources(tmp_path / "sources")
    (changed / "smf/methods/bitfit.py").write_text(example("kind"), encoding="utf-8")
    method = yaml.safe_load(example("method of the new kind"))["methods"]
    (name,) = method
    config = tiny_config(tmp_path / "tiny.yaml", methods=method)
    target = f"results/runs/{name}/seed-0/evaluate/position-4.json"
    outcome = snakemake(changed, copy_of_finished, target, config=config)
    assert outcome.code == 0, outcome.text
    assert set(outcome.jobs) == branch(name)


# Failures


@pytest.mark.slow
def test_a_healed_model_that_is_refused_leaves_its_report_and_nothing_goes_on(sources, copy_of_finished, tmp_path):
    """Nor is the model of the earlier run left in its place."""
    config = tiny_config(tmp_path / "tiny.yaml", healing={"max_loss_rise": -100.0, "num_steps": 11})
    outcome = snakemake(sources, copy_of_finished, config=config)
    results = copy_of_finished / "results"
    assert outcome.code == 1
    assert "above the base's" in outcome.text
    assert "healing.max_loss_rise allows -100.0. Raise healing.num_steps" in outcome.text
    assert "Traceback" not in outcome.text
    assert {job.rule for job in outcome.jobs} == {"heal"}
    assert not (results / "healed/model.safetensors").exists()
    assert "loss_after" in (results / "logs/heal/report.json").read_text()


@pytest.mark.slow
def test_what_changes_no_bit_of_a_model_resumes_an_unfinished_one_and_leaves_a_finished_one_alone(sources, tmp_path):
    """Limits are compared when training has ended, and recomputed activations have the same bits."""
    model, limits = "results/healed/model.safetensors", {"max_loss_rise": -100.0}
    (tmp_path / "folder").mkdir()

    def made(base, healing):
        config = tiny_config(tmp_path / "tiny.yaml", base=base, healing=healing)
        return snakemake(sources, tmp_path / "folder", model, config=config)

    refused = made({"min_recall": 1.0, "pretraining": {"num_steps": 20}}, limits)
    assert refused.code == 1
    assert "base.min_recall is 1.0" in refused.text
    refused = made({"min_recall": 0.0, "pretraining": {"num_steps": 20}}, limits)
    assert refused.code == 1
    assert refused.counts == {"base_model": 1, "heal": 1}
    assert "healing.max_loss_rise allows -100.0" in refused.text
    accepted = made({"min_recall": 0.0, "pretraining": {"num_steps": 20}}, {"max_loss_rise": 100.0})
    assert accepted.counts == {"heal": 1}, accepted.text
    for rule in ("base_model", "heal"):
        assert "resuming from" in (tmp_path / f"folder/results/logs/{rule}/{rule}.log").read_text()
    recomputed = {"min_recall": 1.0, "gradient_checkpointing": True, "pretraining": {"num_steps": 20}}
    assert made(recomputed, limits).nothing_to_do


@pytest.mark.slow
def test_damaged_inputs_are_all_named_before_anything_is_deleted(sources, copy_of_finished):
    results, config = copy_of_finished / "results", copy_of_finished / "tiny.yaml"
    stream, background = results / "streams/seed-0.jsonl", results / "background/counts.safetensors"
    content = stream.read_bytes()
    stream.write_bytes(content[:-1])
    background.write_bytes(background.read_bytes() + b" ")
    before = digests(results)
    refused = snakemake(sources, copy_of_finished, "--config", "resume_interval=17", config=config)
    assert refused.code == 1
    assert "seed-0.jsonl has" in refused.text
    assert "counts.safetensors has" in refused.text
    assert not refused.jobs
    assert "Traceback" not in refused.text
    assert digests(results) == before
    (remedy,) = re.findall(r"^    snakemake (--cores 1 --force .*)$", refused.text, re.MULTILINE)
    assert "--configfile tiny.yaml --config resume_interval=17" in remedy
    assert snakemake(sources, copy_of_finished, *shlex.split(remedy)).counts == {
        "draw_stream": 1,
        "count_background": 1,
    }
    assert stream.read_bytes() == content
    assert snakemake(sources, copy_of_finished, config=config).nothing_to_do


def digests(folder):
    """The bytes of all results, without what tells how jobs stand."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".digests.json"]
    return {path: sha256(path) for path in paths if folder / "logs" not in path.parents}


@pytest.mark.slow
def test_what_a_forced_job_has_cost_is_made_again_by_the_plain_command(sources, copy_of_finished):
    """But not by a command whose target is not made of it; and what somebody removed to save space stays away."""
    results, config = copy_of_finished / "results", copy_of_finished / "tiny.yaml"
    shutil.rmtree(results / "runs/lora/seed-0/learn")
    assert snakemake(sources, copy_of_finished, "--dry-run", config=config).nothing_to_do
    state = results / "logs/learn/lora.seed-0.state.json"
    write_json(state, {**read_json(state), "state": "interrupted"})
    planned = snakemake(sources, copy_of_finished, "--dry-run", config=config)
    assert planned.counts == {"learn": 1, "evaluate": 1, **BY_DEFAULT}
    other = snakemake(sources, copy_of_finished, "--dry-run", "results/base/report.json", config=config)
    assert other.nothing_to_do


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_its_own_branch_only(sources, copy_of_finished, tmp_path):
    broken = {"kind": "full", "learning_rate": 1e30}
    config = tiny_config(tmp_path / "tiny.yaml", methods={"broken": broken, "smf_random": OTHER})
    outcome = snakemake(sources, copy_of_finished, config=config)
    runs = copy_of_finished / "results/runs"
    assert outcome.code == 1
    assert re.search(
        r"TrainingError: the loss is (nan|inf) at step 2 of fact 1 \('.+'\); lower the method's", outcome.text
    )
    assert "Traceback" not in outcome.text
    assert "Traceback" in (copy_of_finished / "results/logs/learn/broken.seed-0.log").read_text()
    assert not list(runs.glob("broken/**/*.safetensors"))
    assert (runs / "smf_random/seed-0/evaluate/position-4.json").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_after_a_kill_the_rest_is_done_and_the_tables_are_the_same_bytes(sources, finished, tmp_path):
    config = tiny_config(tmp_path / "tiny.yaml")
    killed = kill_while_learning(sources, tmp_path, config)
    locked = snakemake(sources, tmp_path, config=config)
    assert locked.code == 1
    assert "--unlock" in locked.text
    assert snakemake(sources, tmp_path, "--unlock", config=config).code == 0

    outcome = snakemake(sources, tmp_path, config=config)
    assert outcome.code == 0, outcome.text
    assert killed in outcome.jobs
    assert table_bytes(tmp_path) == table_bytes(finished)


def kill_while_learning(sources: Path, folder: Path, config: Path) -> Job:
    """Start the tiny DAG, kill everything when a run has written one of its two deltas; returns that run's job."""
    process = subprocess.Popen(
        command(sources, config=config),
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not (written := list(folder.glob("results/runs/*/seed-*/learn/position-2.safetensors"))):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    seed, method = written[0].parents[1].name.removeprefix("seed-"), written[0].parents[2].name
    return Job("learn", f"method={method}, seed={seed}")


# Form


@pytest.mark.parametrize("tool", [("snakemake", "--lint"), ("snakefmt", "--check", "Snakefile", "workflow")])
def test_the_workflow_is_lint_clean_and_formatted(tool, tmp_path):
    checkout = copy_sources(tmp_path)
    shutil.copy2(ROOT / "pyproject.toml", checkout)  # snakefmt's settings
    result = subprocess.run([sys.executable, "-m", *tool], cwd=checkout, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
