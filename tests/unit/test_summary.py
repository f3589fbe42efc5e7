"""The stream's end over seeds, as a table and as text."""

import math

import numpy as np
import pytest
from scipy import stats

from smf.errors import DataError
from smf.files.artifacts import write_json, write_table
from smf.scores.metrics import FACTS_METRICS, held_out_metric, metrics_of
from smf.scores.summary import SUMMARY_COLUMNS, WIDTH, mean_interval, rounded, summary_table, terminal_summary
from smf.scores.table import scores_table
from smf.stages.report import draw_forgetting
from smf.stages.shown import Shown

KINDS = {"nq": "questions", "hellaswag": "choices"}
HEADLINE = [held_out_metric(name, KINDS) for name in ("nq_f1", "hellaswag_acc_norm")]
METRICS = (*metrics_of(KINDS), *FACTS_METRICS)
LABELS = {
    "held_out": {
        "nq": "NaturalQuestions-style questions (generated world)",
        "hellaswag": "HellaSwag-style (generated world)",
    },
    "chance": {"hellaswag": 0.25},
    "facts": "invented people",
    "notes": ["A note."],
}


def evaluation(method, seed, position, nq_f1, question_f1):
    values = dict.fromkeys(METRICS, 1.0) | {"nq_f1": nq_f1, "facts_question_f1": question_f1}
    scores = [{"metric": metric, "value": value, "stderr": None} for metric, value in values.items()]
    return {"method": method, "seed": seed, "position": position, "scores": scores}


def table(seeds=(0, 1, 2), methods=("smf", "full"), end=(0.6, 0.72, 0.7)):
    results = []
    for seed in seeds:
        results += [evaluation("base", seed, 0, 0.9, 0.0), evaluation("healed", seed, 0, 0.8, 0.0)]
        for method in methods:
            results += [
                evaluation(method, seed, 10, 0.8, 1.0),
                evaluation(method, seed, 20, end[seed], 0.8 + 0.1 * seed),
            ]
    return scores_table(results)


def row(summary, method, metric):
    return summary[(summary["method"] == method) & (summary["metric"] == metric)].iloc[0]


def test_interval_equals_the_hand_worked_student_t():
    # s = 0.1, t(0.975, 2) = 4.302653, so half = 4.302653 * 0.1 / sqrt(3) = 0.248414
    assert mean_interval([0.8, 0.9, 1.0]) == pytest.approx((0.9, 0.651586, 1.148414), abs=1e-6)


@pytest.mark.parametrize("size", [2, 3, 5, 12])
def test_interval_equals_scipy(size):
    values = np.random.default_rng(size).uniform(size=size)
    expected = stats.t.interval(0.95, size - 1, loc=values.mean(), scale=stats.sem(values))
    assert mean_interval(values)[1:] == pytest.approx(expected)


def test_one_seed_has_a_mean_and_no_interval():
    mean, low, high = mean_interval([0.5])
    assert mean == 0.5
    assert math.isnan(low)
    assert math.isnan(high)


def test_summary_takes_the_end_of_the_stream_and_the_methods_own_start():
    summary = summary_table(table(), {"smf": "healed", "full": "base"}, KINDS)
    assert tuple(summary.columns) == SUMMARY_COLUMNS
    assert list(dict.fromkeys(summary["method"])) == ["base", "healed", "smf", "full"]
    assert list(summary[summary["method"] == "smf"]["metric"]) == list(METRICS)
    assert row(summary, "smf", "facts_question_f1")["mean"] == pytest.approx(0.9)
    assert row(summary, "smf", "facts_question_f1")["ci95_low"] == pytest.approx(0.651586, abs=1e-6)
    # from healed: (0.25 + 0.1 + 0.125) / 3; from base: (0.3 + 0.18 + 0.2) / 0.9 / 3
    assert row(summary, "smf", "nq_f1")["relative_drop"] == pytest.approx(0.475 / 3)
    assert row(summary, "full", "nq_f1")["relative_drop"] == pytest.approx(0.68 / 2.7)
    assert row(summary, "healed", "nq_f1")["relative_drop"] == pytest.approx(0.1 / 0.9)


def test_drop_is_empty_for_new_facts_and_for_the_base():
    summary = summary_table(table(), {"smf": "healed", "full": "base"}, KINDS)
    held_out = ~summary["metric"].str.startswith("facts_") & (summary["method"] != "base")
    assert summary.loc[~held_out, "relative_drop"].isna().all()
    assert summary.loc[held_out, "relative_drop"].notna().all()


def test_drop_is_the_mean_of_paired_drops_not_the_drop_of_means():
    results = [evaluation("base", 0, 0, 1.0, 0), evaluation("base", 1, 0, 0.5, 0)]
    results += [evaluation("full", 0, 5, 0.5, 0), evaluation("full", 1, 5, 0.5, 0)]
    summary = summary_table(scores_table(results), {"full": "base"}, KINDS)
    assert row(summary, "full", "nq_f1")["relative_drop"] == pytest.approx(0.25)  # of means: 1/3


def test_a_method_that_was_not_evaluated_or_not_declared_is_named():
    with pytest.raises(DataError, match="nothing of lora"):
        summary_table(table(), {"smf": "healed", "full": "base", "lora": "base"}, KINDS)
    with pytest.raises(DataError, match="no start model is given for full"):
        summary_table(table(), {"smf": "healed"}, KINDS)


def test_a_summary_of_an_older_version_is_refused_by_the_column_that_it_lacks(tmp_path):
    starts = {"smf": "healed", "full": "base"}
    write_table(tmp_path / "summary.csv", summary_table(table(), starts, KINDS).drop(columns="num_seeds"))
    write_json(tmp_path / "labels.json", LABELS)
    shown = Shown(tmp_path / "labels.json", starts, {}, ["nq_f1"], KINDS)
    with pytest.raises(DataError, match="the summary table has no column num_seeds; make it again"):
        draw_forgetting(
            shown, "facts_question_f1", tmp_path / "scores.csv", tmp_path / "summary.csv", [], tmp_path / "t"
        )


def test_terminal_summary_fits_100_columns_whatever_the_names_and_says_which_data():
    long = "smf_tfidf_with_a_very_long_name_indeed"
    starts = {long: "healed", "full": "base"}
    text = terminal_summary(summary_table(table(methods=tuple(starts)), starts, KINDS), starts, LABELS, HEADLINE)
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    assert "smf_tfidf_with_a_ve…" in text
    for label in ("NaturalQuestions-style questions", "HellaSwag-style", "invented people", "A note."):
        assert label in " ".join(text.split())


def test_terminal_summary_shows_means_intervals_and_drops():
    starts = {"smf": "healed", "full": "base"}
    line = next(
        line
        for line in terminal_summary(summary_table(table(), starts, KINDS), starts, LABELS, HEADLINE).splitlines()
        if "smf" in line
    )
    # 0.673 ± 4.302653 * 0.064291 / sqrt(3)
    assert line.split() == "smf 0.90 ±0.25 1.00 ±0.00 1.00 ±0.00 0.673 ±0.160 15.8 % 1.000 ±0.000 0.0 %".split()


def test_terminal_summary_of_one_seed_has_no_intervals_and_of_a_rise_a_minus():
    starts = {"full": "base"}
    text = terminal_summary(
        summary_table(table(seeds=(0,), methods=("full",), end=(0.99,)), starts, KINDS), starts, LABELS, HEADLINE
    )
    assert next(line for line in text.splitlines() if line.startswith("full")).split() == (
        "full 0.80 1.00 1.00 0.990 -10.0 % 1.000 0.0 %".split()
    )


@pytest.mark.parametrize(
    ("value", "decimals", "shown"),
    [
        (0.975, 2, "0.97"),
        (0.235, 2, "0.23"),
        (0.125, 2, "0.12"),
        (-0.004, 2, "0.00"),
        (-0.006, 2, "-0.01"),
        (-0.0, 1, "0.0"),
    ],
)
def test_numpys_numbers_are_shown_as_pythons_and_zero_has_no_sign(value, decimals, shown):
    """As the figure shows what the table in the terminal shows: numpy rounds 0.975 to 0.98."""
    assert rounded(value, decimals) == rounded(np.float64(value), decimals) == shown
