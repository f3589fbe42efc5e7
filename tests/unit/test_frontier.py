"""Methods at several settings: the tables of runs, of settings and of fronts, and the stages that write them."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from smf.analysis.frontier import summary as front_summary
from smf.analysis.frontier.bootstrap import percentile_interval, resampled_seeds
from smf.analysis.frontier.fronts import forgetting_at, hypervolume
from smf.analysis.frontier.summary import pair_columns, paired_tests, summary, summary_columns
from smf.analysis.frontier.table import FRONTIER_COLUMNS, frontier_table, settings_columns, settings_table
from smf.analysis.tuning.rule import tuning_table
from smf.errors import DataError
from smf.files.artifacts import read_table, write_jsonl, write_table
from smf.scores.table import scores_table
from smf.stages.frontier import Compared, write_frontier

STARTS = {"smf": "healed", "full": "base"}
HEADLINE = ["nq_f1", "hellaswag_acc_norm"]
LEARNED = "facts_question_f1"
POINTS = {
    "full_low": ("full", "learning_rate 1e-05"),
    "smf_low": ("smf", "learning_rate 1000"),
    "smf_high": ("smf", "learning_rate 3000"),
}


def evaluation(method, seed, position, nq, question, unseen=0.5):
    values = {"facts_question_f1": question, "facts_unseen_f1": unseen, "nq_f1": nq, "hellaswag_acc_norm": 0.5}
    scores = [
        {"metric": metric, "value": value, "stderr": None} for metric, value in values.items() if value is not None
    ]
    return {"method": method, "seed": seed, "position": position, "scores": scores}


def scores_of(ends, seeds=(0, 1), unseen=0.5):
    """Scores from ``run: [(nq, question) for each seed]``; base nq_f1 1.0, healed 0.8."""
    results = []
    for seed in seeds:
        results += [evaluation("base", seed, 0, 1.0, 0.0, unseen), evaluation("healed", seed, 0, 0.8, 0.0, unseen)]
    for run, pairs in ends.items():
        results += [evaluation(run, seed, 20, *pair, unseen) for seed, pair in zip(seeds, pairs, strict=False)]
    return scores_table(results)


ENDS = {
    "full_low": [(0.5, 0.9), (0.7, 0.7)],
    "smf_low": [(0.8, 0.4), (0.88, 0.5)],
    "smf_high": [(0.6, 0.8), (0.72, 1.0)],
}
COSTS = {(run, seed): (100.0 + seed, 0.5) for run in POINTS for seed in (0, 1, 2, 100, 101)}


def frontier_of(**values):
    """A table of runs from ``method=[[(retained, forgetting) for each seed] for each setting]``."""
    rows = [
        (method, f"setting {number}", seed, *pair, 100.0, 2.0)
        for method, settings in values.items()
        for number, pairs in enumerate(settings)
        for seed, pair in enumerate(pairs)
    ]
    return pd.DataFrame(rows, columns=list(FRONTIER_COLUMNS))


def pairs_of(frontier, reference=0.2):
    """The pairs, each method at its first setting."""
    return paired_tests(frontier, dict.fromkeys(frontier["method"], "setting 0"), reference)


def random_frontier(num_methods=3, num_settings=4, num_seeds=5):
    random = np.random.default_rng(0)
    return frontier_of(
        **{
            f"method{number}": [
                list(zip(random.uniform(0, 1, num_seeds), random.uniform(-0.05, 0.4, num_seeds), strict=True))
                for _ in range(num_settings)
            ]
            for number in range(num_methods)
        }
    )


def test_frontier_has_a_row_a_run_and_seed_against_the_methods_own_start():
    table = frontier_table(scores_of(ENDS), POINTS, STARTS, HEADLINE, LEARNED, COSTS)
    assert tuple(table.columns) == FRONTIER_COLUMNS
    assert table["method"].tolist() == ["smf"] * 4 + ["full"] * 2  # the order of starts, then of points
    assert (
        table["setting"].tolist()
        == ["learning_rate 1000"] * 2 + ["learning_rate 3000"] * 2 + ["learning_rate 1e-05"] * 2
    )
    assert table["seed"].tolist() == [0, 1] * 3
    assert table["retained"].tolist() == pytest.approx([0.4, 0.5, 0.8, 1.0, 0.9, 0.7])
    # smf from healed 0.8, full from base 1.0; below 0: improved
    assert table["forgetting"].tolist() == pytest.approx([0.0, -0.1, 0.25, 0.1, 0.5, 0.3])
    assert table["tokens_per_fact"].tolist() == [100.0, 101.0] * 3
    assert table["seconds_per_fact"].tolist() == [0.5] * 6


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({}, "no points"),
        ({"run": ("lora", "a")}, "run run is of the unknown method lora; known are smf, full"),
        ({"smf_low": ("smf", "a"), "smf_high": ("smf", "a")}, "smf_low and smf_high are both smf at a"),
        ({"base": ("smf", "a")}, "a run is named base, as a start model is"),
        ({"smf_low": ("smf", "")}, "run smf_low has no setting"),
        ({"run9": ("smf", "a")}, "f1 of run9; evaluate it"),
    ],
)
def test_bad_points_are_named(points, message):
    with pytest.raises(DataError, match=message):
        frontier_table(scores_of(ENDS), points, STARTS, HEADLINE, LEARNED, COSTS)
    with pytest.raises(DataError, match=message):
        settings_table(scores_of(ENDS), scores_of(ENDS, (100, 101)), points, STARTS, HEADLINE, LEARNED, None)


def test_runs_without_costs_or_on_other_seeds_or_from_a_start_that_knows_nothing_are_refused():
    with pytest.raises(DataError, match="no costs are given for run smf_low, seed 0"):
        frontier_table(scores_of(ENDS), POINTS, STARTS, HEADLINE, LEARNED, {})
    fewer = ENDS | {"smf_high": ENDS["smf_high"][:1]}
    with pytest.raises(DataError, match=r"at learning_rate 1000 has the seeds \[0, 1\], smf at .* 3000 has \[0\]"):
        frontier_table(scores_of(fewer), POINTS, STARTS, HEADLINE, LEARNED, COSTS)
    scores = scores_of(ENDS)
    scores.loc[(scores["method"] == "healed") & (scores["metric"] == "nq_f1"), "value"] = 0.0
    with pytest.raises(DataError, match="the healed model has nq_f1 0 or below for seed 0, .* smf has no front"):
        frontier_table(scores, POINTS, STARTS, HEADLINE, LEARNED, COSTS)


def test_settings_have_means_intervals_and_every_headline_drop():
    table = settings_table(scores_of(ENDS), scores_of(ENDS, (100, 101)), POINTS, STARTS, HEADLINE, LEARNED, None)
    assert tuple(table.columns) == settings_columns(HEADLINE)
    row = table.iloc[1]
    assert (row["method"], row["setting"], row["num_seeds"]) == ("smf", "learning_rate 3000", 2)
    assert row["retained"] == pytest.approx(0.9)
    expected = stats.t.interval(0.95, 1, loc=0.9, scale=0.1)
    assert (row["retained_ci95_low"], row["retained_ci95_high"]) == pytest.approx(expected)
    assert row["forgetting"] == row["nq_f1_drop"] == pytest.approx(0.175)
    expected = stats.t.interval(0.95, 1, loc=0.175, scale=0.075)
    assert (row["forgetting_ci95_low"], row["forgetting_ci95_high"]) == pytest.approx(expected)
    assert row["hellaswag_acc_norm_drop"] == 0
    assert row["retained_unseen_f1"] == 0.5


def test_chosen_is_what_the_tuning_rule_chooses_on_tuning_seeds_alone():
    """On the seeds shown the high rate is better, on those of tuning the low one."""
    tuning = ENDS | {"smf_high": [(0.1, 0.8), (0.1, 1.0)]}
    # in this rule facts are asked in unseen wordings, which are 0.5 for all
    table = settings_table(scores_of(ENDS), scores_of(tuning, (100, 101)), POINTS, STARTS, HEADLINE, LEARNED, None)
    assert table["chosen"].tolist() == [True, False, True]
    runs = {"full_low": ("full", 1e-5), "smf_low": ("smf", 1000.0), "smf_high": ("smf", 3000.0)}
    rule = tuning_table(scores_of(tuning, (100, 101)), runs, STARTS, {}, HEADLINE, None)
    assert table["tuning_score"].tolist() == pytest.approx(rule["tuning_score"].tolist())
    assert table["chosen"].tolist() == rule["best"].tolist()


def test_of_equally_good_settings_the_first_of_the_points_is_chosen():
    points = {run: POINTS[run] for run in ("smf_high", "smf_low")}
    # 0.5 - 0.4 and 0.2 - 0.1 differ in their last bit only
    tuning = {"smf_low": [(0.72, 0.2)] * 2, "smf_high": [(0.48, 0.5)] * 2}
    for order in (points, dict(reversed(points.items()))):
        table = settings_table(
            scores_of(ENDS, unseen=None),
            scores_of(tuning, (100, 101), unseen=None),
            order,
            STARTS,
            HEADLINE,
            LEARNED,
            None,
        )
        assert table["chosen"].tolist() == [True, False]
        assert table["retained_unseen_f1"].isna().all()


def test_tuning_on_a_seed_that_is_shown_or_on_different_seeds_is_refused():
    with pytest.raises(DataError, match="seed 1 is in the scores and in the tuning scores"):
        settings_table(scores_of(ENDS), scores_of(ENDS, (1, 100)), POINTS, STARTS, HEADLINE, LEARNED, None)
    fewer = ENDS | {"smf_high": ENDS["smf_high"][:1]}
    with pytest.raises(DataError, match=r"smf_low has the seeds \[100, 101\], smf_high has \[100\]"):
        settings_table(scores_of(ENDS), scores_of(fewer, (100, 101)), POINTS, STARTS, HEADLINE, LEARNED, None)


def test_summary_begins_with_the_columns_that_results_are_compared_by():
    table = summary(random_frontier(), 0.2)
    assert tuple(table.columns) == summary_columns()
    assert list(table.columns[:7]) == [
        "method", "hypervolume", "hypervolume_ci95_low", "hypervolume_ci95_high", "forgetting_at_0.5",
        "forgetting_at_0.7", "forgetting_at_0.8",
    ]  # fmt: skip
    assert list(table.columns[7:13:2]) == [f"forgetting_at_{level}_ci95_low" for level in (0.5, 0.7, 0.8)]
    assert list(table.columns[13:]) == ["tokens_per_fact", "seconds_per_fact", "reference", "num_seeds"]
    assert table["method"].tolist() == ["method0", "method1", "method2"]
    assert table["reference"].eq(0.2).all()
    assert table["tokens_per_fact"].eq(100).all()


def test_the_front_is_that_of_means_not_of_the_luckiest_runs():
    """Each seed shines at another setting; on average neither retains more than half."""
    lucky = frontier_of(smf=[[(1.0, 0.0), (0.0, 0.0)], [(0.0, 0.0), (1.0, 0.0)]])
    assert summary(lucky, 0.2)["hypervolume"].item() == pytest.approx(0.5)
    assert math.isnan(summary(lucky, 0.2)["forgetting_at_0.8"].item())


def test_forgetting_is_averaged_before_improvement_counts_as_nothing():
    mixed = frontier_of(smf=[[(0.8, -0.1), (0.8, 0.1)]])
    assert summary(mixed, 0.2)["forgetting_at_0.8"].item() == 0
    assert summary(mixed, 0.2)["hypervolume"].item() == pytest.approx(0.8)


def test_forgetting_at_a_level_is_not_cut_off_at_the_reference():
    assert summary(frontier_of(full=[[(0.8, 0.7)]]), 0.2)["forgetting_at_0.8"].item() == pytest.approx(0.7)


def test_bootstrap_equals_a_plain_loop_over_the_same_resamples(monkeypatch):
    draws = resampled_seeds(5, 60)
    monkeypatch.setattr(front_summary, "resampled_seeds", lambda num_seeds: draws)
    frontier = random_frontier()
    table = summary(frontier, 0.2).set_index("method")
    resampled = {}
    for method, part in frontier.groupby("method"):
        areas, costs = [], []
        for draw in draws:
            means = [
                tuple(
                    np.mean([rows.loc[rows["seed"] == seed, name].item() for seed in draw])
                    for name in FRONTIER_COLUMNS[3:5]
                )
                for _, rows in part.groupby("setting")
            ]
            areas.append(float(hypervolume(*np.array(means).T, 0.2)))
            costs.append(float(forgetting_at(*np.array(means).T, 0.5)))
        resampled[method] = np.array(areas)
        for name, values in (("hypervolume", areas), ("forgetting_at_0.5", costs)):
            found = table.loc[method, [f"{name}_ci95_low", f"{name}_ci95_high"]].to_list()
            assert found == pytest.approx(percentile_interval(values), nan_ok=True)
    pair = pairs_of(frontier).iloc[0]
    ends = percentile_interval(resampled["method0"] - resampled["method1"])
    found = (pair["hypervolume_difference_ci95_low"], pair["hypervolume_difference_ci95_high"])
    assert found == pytest.approx(ends)


def test_an_interval_is_open_upwards_where_resamples_miss_the_level():
    table = summary(frontier_of(smf=[[(1.0, 0.1), (1.0, 0.1), (0.5, 0.1)]]), 0.2).iloc[0]
    assert table["forgetting_at_0.8"] == pytest.approx(0.096)
    assert table["forgetting_at_0.8_ci95_low"] == pytest.approx(0.08)
    assert math.isnan(table["forgetting_at_0.8_ci95_high"])
    assert table["forgetting_at_0.5_ci95_high"] == pytest.approx(0.1)


def test_one_seed_has_a_front_and_no_interval_and_no_test():
    frontier = frontier_of(smf=[[(0.8, 0.1)]], full=[[(0.4, 0.1)]])
    table = summary(frontier, 0.2)
    assert table["hypervolume"].tolist() == pytest.approx([0.4, 0.2])
    assert table["forgetting_at_0.5"].iloc[0] == pytest.approx(0.0625)
    assert table.filter(like="ci95").isna().all(axis=None)
    pair = pairs_of(frontier).iloc[0]
    assert pair["hypervolume_difference"] == pytest.approx(0.2)
    assert pair.filter(like="p_").isna().all()
    assert pair.filter(like="ci95").isna().all()


def test_pairs_are_tested_by_the_hypervolumes_of_their_chosen_settings_on_the_same_seeds():
    frontier = random_frontier()
    chosen = {"method0": "setting 2", "method1": "setting 0", "method2": "setting 3"}
    table = paired_tests(frontier.sample(frac=1, random_state=0).sort_values("method"), chosen, 0.2)
    assert tuple(table.columns) == pair_columns()
    assert list(zip(table["method_a"], table["method_b"], strict=True)) == [
        ("method0", "method1"), ("method0", "method2"), ("method1", "method2"),
    ]  # fmt: skip
    # of one setting alone: what it retains, for the share of the budgets up to 0.2 that it fits into
    area = (frontier["retained"] * (1 - frontier["forgetting"].clip(0, 0.2) / 0.2)).groupby(
        [frontier["method"], frontier["setting"], frontier["seed"]]
    )
    areas = {method: area.first()[method, setting].to_numpy() for method, setting in chosen.items()}
    pair = table.iloc[0]
    differences = areas["method0"] - areas["method1"]
    assert pair["chosen_difference"] == pytest.approx(differences.mean())
    ends = stats.t.interval(0.95, 4, loc=differences.mean(), scale=stats.sem(differences))
    assert pair[["chosen_difference_ci95_low", "chosen_difference_ci95_high"]].tolist() == pytest.approx(ends)
    assert pair["p_t_test"] == pytest.approx(stats.ttest_rel(areas["method0"], areas["method1"]).pvalue)
    flips = np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, -1).T @ differences
    tails = [(flips <= differences.sum() + 1e-9).mean(), (flips >= differences.sum() - 1e-9).mean()]
    assert pair["p_sign_flip"] == pytest.approx(min(1.0, 2 * min(tails)))
    means = summary(frontier, 0.2).set_index("method")
    expected = means.loc["method0", "hypervolume"] - means.loc["method1", "hypervolume"]
    assert pair["hypervolume_difference"] == pytest.approx(expected)


def test_a_method_is_not_called_better_for_having_more_settings(monkeypatch):
    """Two methods, all of whose settings are equally good; one has two of them, the other seven."""
    monkeypatch.setattr(front_summary, "resampled_seeds", lambda num_seeds: resampled_seeds(num_seeds, 10))
    random, p_values, by_own_fronts = np.random.default_rng(0), [], []
    for _ in range(100):
        methods = {
            name: np.stack([random.normal(0.7, 0.06, (number, 5)), random.normal(0.1, 0.03, (number, 5))], axis=-1)
            for name, number in (("few", 2), ("many", 7))
        }
        chosen = {"few": f"setting {random.integers(2)}", "many": f"setting {random.integers(7)}"}
        p_values.append(paired_tests(frontier_of(**methods), chosen, 0.2)["p_t_test"].item())
        own = [hypervolume(values[..., 0].T, values[..., 1].T, 0.2) for values in methods.values()]
        by_own_fronts.append(stats.ttest_rel(*own).pvalue)
    assert np.mean(np.array(p_values) <= 0.05) < 0.1
    assert np.mean(np.array(by_own_fronts) <= 0.05) > 0.3


def test_a_method_without_a_run_at_its_chosen_setting_is_named():
    frontier = random_frontier(2, 2, 3)
    with pytest.raises(DataError, match="method1 has no run at its chosen setting 'setting 5'"):
        paired_tests(frontier, {"method0": "setting 0", "method1": "setting 5"}, 0.2)
    with pytest.raises(DataError, match="method0 has no run at its chosen setting None"):
        paired_tests(frontier, {"method1": "setting 0"}, 0.2)


def test_five_seeds_that_all_agree_have_a_sign_flip_p_of_one_sixteenth():
    better, worse = ([(base + 0.01 * seed**2, 0.05) for seed in range(5)] for base in (0.8, 0.5))
    worse[0] = (0.45, 0.05)
    pair = pairs_of(frontier_of(smf=[better], full=[worse])).iloc[0]
    assert pair["p_sign_flip"] == pytest.approx(0.0625)
    assert pair["p_t_test"] < 1e-4
    assert pair["hypervolume_difference_ci95_low"] > 0


def test_methods_that_are_the_same_differ_by_nothing_and_both_tests_say_so():
    pairs = [[(0.5 + 0.1 * seed, 0.1) for seed in range(3)]]
    pair = pairs_of(frontier_of(smf=pairs, full=pairs)).iloc[0]
    assert pair["hypervolume_difference"] == pair["hypervolume_difference_ci95_high"] == 0
    assert pair["p_sign_flip"] == pair["p_t_test"] == pair["p_holm"] == 1


def test_a_level_that_one_of_a_pair_never_reaches_has_no_difference():
    pair = pairs_of(frontier_of(smf=[[(0.9, 0.1)] * 3], full=[[(0.4, 0.1)] * 3])).iloc[0]
    assert pair.filter(like="forgetting").isna().all()
    assert len(pairs_of(frontier_of(smf=[[(0.9, 0.1)] * 3]))) == 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table.drop(columns="retained"), "no column retained"),
        (lambda table: table.iloc[:0], "the frontier table is empty"),
        (lambda table: table.iloc[1:], r"setting 0 has the seeds \[1, 2\], method0 at setting 1 has \[0, 1, 2\]"),
        (lambda table: table[(table["method"] != "method1") | (table["seed"] > 0)], "compared on the same seeds"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "method0 at setting 0, seed 0 appears twice"),
        (lambda table: table.assign(retained=1.5), r"retained 1.5 for method0 at setting 0, seed 0, not a share"),
        (lambda table: table.assign(forgetting=math.nan), "forgetting nan for method0 .* not a finite number"),
    ],
)
def test_a_frontier_that_is_incomplete_is_refused(spoil, message):
    table = spoil(random_frontier(2, 2, 3))
    for made in (summary, pairs_of):
        with pytest.raises(DataError, match=message):
            made(table, 0.2)


def test_a_reference_that_is_no_budget_is_refused():
    for made in (summary, pairs_of):
        with pytest.raises(DataError, match="the reference forgetting is 0"):
            made(random_frontier(1, 1, 2), 0)


def write_inputs(folder):
    write_table(folder / "scores.csv", scores_of(ENDS))
    write_table(folder / "tuning_scores.csv", scores_of(ENDS, (100, 101)))
    facts = {}
    for number, run in enumerate(POINTS):
        for seed in (0, 1):
            facts[run, seed] = folder / run / f"seed-{seed}" / "facts.jsonl"
            rows = [{"tokens": 10.0 * number + fact, "seconds": 1} for fact in (0, 1, 2)]
            write_jsonl(facts[run, seed], rows)
    return facts


def write(folder, facts, **changed):
    options = {
        "points": POINTS,
        "starts": STARTS,
        "headline": HEADLINE,
        "learned": LEARNED,
        "tuned_by": None,
        "reference": 0.2,
    }
    paths = [folder / "tables" / f"{name}.csv" for name in ("frontier", "settings", "fronts", "pairs")]
    write_frontier(
        Compared(**(options | changed)), folder / "scores.csv", folder / "tuning_scores.csv", facts,
        table_path=paths[0], settings_path=paths[1], summary_path=paths[2], tests_path=paths[3],
    )  # fmt: skip
    return paths


def test_the_stage_writes_four_tables_with_costs_from_the_facts(tmp_path):
    paths = write(tmp_path, write_inputs(tmp_path))
    frontier, settings, fronts, pairs = (read_table(path) for path in paths)
    assert tuple(frontier.columns) == FRONTIER_COLUMNS
    assert frontier.groupby("setting", sort=False)["tokens_per_fact"].first().tolist() == [11.0, 21.0, 1.0]
    assert frontier["seconds_per_fact"].eq(1).all()
    assert tuple(settings.columns) == settings_columns(HEADLINE)
    assert settings["chosen"].dtype == bool
    assert tuple(fronts.columns) == summary_columns()
    assert tuple(pairs.columns) == pair_columns()
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write(tmp_path, write_inputs(tmp_path))] == before


def test_the_stage_names_a_file_of_facts_without_costs(tmp_path):
    facts = write_inputs(tmp_path)
    write_jsonl(facts["smf_low", 1], [{"tokens": 1.0}])
    with pytest.raises(DataError, match=r"seed-1/facts.jsonl, line 1: no column 'seconds'"):
        write(tmp_path, facts)
    write_jsonl(facts["smf_low", 1], [{"tokens": -1.0, "seconds": 1.0}])
    with pytest.raises(
        DataError, match=r"seed-1/facts.jsonl, line 1: tokens of a fact is -1.0, but a cost cannot be negative"
    ):
        write(tmp_path, facts)
    del facts["smf_low", 1]
    with pytest.raises(DataError, match="no costs are given for run smf_low, seed 1"):
        write(tmp_path, facts)
