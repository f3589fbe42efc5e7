"""What predicts how much a run forgets."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from smf.analysis.predictors.figure import predictors_figure
from smf.analysis.predictors.table import correlations_table, outcomes_of, predictors_of, predictors_table, written
from smf.errors import CheckpointError, DataError
from smf.scores.metrics import held_out_metric
from tests.unit.test_figures import words
from tests.unit.test_paired import KEPT, STARTS, scores

READS = {"background": {3: np.array([10, 0, 30, 60])}, "contrast": {3: np.array([0, 5, 5, 0])}}
PATCH = {3: (np.array([0, 1, 2]), np.zeros((3, 2)), np.array([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]]))}


def runs():
    """A predictor that is twice the drop of each run of smf, and half of it in another method."""
    drops = {name: [(0.8 - kept) / 0.8 for kept in KEPT[name]] for name in ("smf", "full")}
    factor = {"smf": 2.0, "full": 0.5}
    return {
        (name, seed): {"slots_written": 1.0, "change": factor[name] * drops[name][seed]}
        for name in ("smf", "full")
        for seed in range(3)
    }


def table():
    return predictors_table(runs(), scores(), STARTS, ["nq_f1"])


def test_what_was_written_is_weighed_by_who_reads_it():
    row = written(PATCH, READS)
    assert row == pytest.approx(
        {
            "slots_written": 2,  # slot 2 is in the patch, but did not change
            "change": np.sqrt(5**2 + 2**2),
            "background_reads": 10 / 100,
            "background_change": (10 * 5 + 0 * 2) / 100,
            "contrast_reads": 5 / 10,
            "contrast_change": (5 * 2) / 10,
        }
    )


def test_layers_add_up():
    reads = {"background": {3: READS["background"][3], 5: np.array([100, 0])}}
    patch = {**PATCH, 5: (np.array([0]), np.zeros((1, 1)), np.array([[1.0]]))}
    row = written(patch, reads)
    assert row["slots_written"] == 3
    assert row["change"] == pytest.approx(np.sqrt(5**2 + 2**2 + 1))
    assert row["background_change"] == pytest.approx((10 * 5 + 100 * 1) / 200)


def test_a_patch_of_slots_that_were_not_counted_is_refused():
    with pytest.raises(CheckpointError, match="slot 9 of block 3"):
        written({3: (np.array([9]), np.zeros((1, 1)), np.ones((1, 1)))}, READS)


def test_a_run_that_wrote_nothing_moved_nothing():
    assert set(written({}, READS).values()) == {0.0}


def test_a_row_is_a_run_with_what_it_changed_and_what_it_lost():
    found = table().set_index(["method", "seed"]).loc[("full", 1)]
    assert found["nq_f1_drop"] == pytest.approx((0.8 - KEPT["full"][1]) / 0.8)
    assert found["facts_locality_drop"] == pytest.approx(0.5)
    assert found["change"] == pytest.approx(0.5 * found["nq_f1_drop"])


def test_correlations_are_spearmans_and_within_methods_only_seeds_count():
    made = table()
    assert outcomes_of(made) == ["nq_f1_drop", "facts_locality_drop"]
    assert predictors_of(made) == ["slots_written", "change"]
    found = correlations_table(made).set_index(["predictor", "outcome"])
    row = found.loc[("change", "nq_f1_drop")]
    assert row["spearman"] == pytest.approx(stats.spearmanr(made["change"], made["nq_f1_drop"]).statistic)
    ranks = made.groupby("method")[["change", "nq_f1_drop"]].rank()
    assert row["spearman_within_methods"] == pytest.approx(stats.pearsonr(ranks["change"], ranks["nq_f1_drop"])[0])
    assert row["spearman_within_methods"] == pytest.approx(1.0)  # within a method the one is a multiple of the other
    assert found.loc["slots_written"].isna()["spearman"].all()  # it does not vary


KL = {"smf": [0.02, 0.01, 0.04], "full": [0.3, 0.1, 0.2], "lora": [0.9, 0.5, 0.7]}


def with_divergence():
    """Runs of smf have slots, those of full finetuning and LoRA a divergence alone."""
    rows = [
        {"method": method, "seed": seed, "position": 10, "metric": "facts_kl", "value": value, "stderr": None}
        for method, values in KL.items()
        for seed, value in enumerate(values)
    ]
    slots = {run: row for run, row in runs().items() if run[0] == "smf"}
    others = [(method, seed) for method in ("full", "lora") for seed in range(3)]
    measured = pd.concat([scores(), pd.DataFrame(rows)], ignore_index=True)
    return predictors_table(slots, measured, STARTS, ["nq_f1"], others)


def test_the_divergence_predicts_over_the_runs_of_all_methods_and_slots_over_those_that_have_any():
    made = with_divergence()
    assert len(made) == 9
    assert made["change"].isna().sum() == 6
    found = correlations_table(made).set_index(["predictor", "outcome"])
    row = found.loc[("facts_kl", "nq_f1_drop")]
    lost = [(0.8 - KEPT[method][seed]) / 0.8 for method in KL for seed in range(3)]
    every = [value for values in KL.values() for value in values]
    assert row["num_runs"] == 9
    assert row["spearman"] == pytest.approx(stats.spearmanr(every, lost).statistic)
    alone = found.loc[("change", "nq_f1_drop")]
    assert alone["num_runs"] == 3
    assert alone["spearman"] == pytest.approx(1.0)  # twice the drop


def test_runs_without_slots_are_left_out_where_no_divergence_was_measured():
    with_others = predictors_table(runs(), scores(), STARTS, ["nq_f1"], [("lora", seed) for seed in range(3)])
    pd.testing.assert_frame_equal(with_others, table())


def test_the_figure_says_which_methods_have_points_under_the_divergence_alone():
    headline = [held_out_metric("nq_f1", {"nq": "questions"})]
    text = words(predictors_figure(with_divergence(), {}, list(STARTS), headline))
    assert "full and lora have no slots, and points under KL alone." in text
    assert "9 runs of 3 methods" in text


def test_panels_of_a_row_have_one_scale_though_some_have_fewer_points():
    figure = predictors_figure(with_divergence(), {}, list(STARTS), [held_out_metric("nq_f1", {"nq": "questions"})])
    panels = [axes for axes in figure.axes if axes.get_lines() and axes.get_xlim() != (0, 1) and axes.axison]
    limits = [axes.get_ylim() for axes in panels[:3]]
    assert limits[0] == limits[1] == limits[2]
    assert [sum(np.isfinite(line.get_xdata()).sum() for line in axes.get_lines()) for axes in panels[:3]] == [3, 3, 9]


def test_no_run_of_sparse_memory_is_told():
    with pytest.raises(DataError, match="a method of kind smf must learn a stream"):
        predictors_table({}, scores(), STARTS, ["nq_f1"])


def test_the_figure_tells_each_correlation():
    headline = [held_out_metric("nq_f1", {"nq": "questions"})]
    text = words(predictors_figure(table(), {"notes": ["A note."]}, list(STARTS), headline))
    assert "Total change" in text
    assert "Old answers lost" in text
    assert "Neighbours changed" in text
    row = correlations_table(table()).set_index(["predictor", "outcome"]).loc[("change", "nq_f1_drop")]
    assert f"ρ {row['spearman']:.2f}, within {row['spearman_within_methods']:.2f}".replace("-", "−") in text
    assert "A note." in text


def test_a_table_without_runs_is_refused():
    with pytest.raises(DataError, match="holds no run"):
        predictors_figure(pd.DataFrame(columns=table().columns), {}, list(STARTS), [])
