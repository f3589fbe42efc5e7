"""The one rule by which every method's learning rate is chosen."""

import logging

import pandas as pd
import pytest

from smf.analysis.tuning.rule import tuning_columns, tuning_table
from smf.config.experiment import Experiment
from smf.errors import DataError
from smf.scores.table import scores_table
from tests.workflow.runs import tiny

STARTS = {"smf": "healed", "full": "base"}
HEADLINE = ["nq_f1", "hellaswag_acc_norm"]
RATES = {"smf": 10.0, "full": 1e-4}
BY_THE_RULE = None


def evaluation(method, seed, position, unseen, nq, question=0.5):
    values = {"facts_unseen_f1": unseen, "facts_question_f1": question, "nq_f1": nq, "hellaswag_acc_norm": 0.5}
    scores = [{"metric": metric, "value": value, "stderr": None} for metric, value in values.items()]
    return {"method": method, "seed": seed, "position": position, "scores": scores}


def sweep(ends, seeds=(100, 101)):
    """Scores and runs, from ``(method, rate): [(unseen, nq) for each seed]``; base nq_f1 1.0, healed 0.8."""
    results = []
    for seed in seeds:
        results += [evaluation("base", seed, 0, 0, 1.0), evaluation("healed", seed, 0, 0, 0.8)]
    runs = {}
    for number, ((method, rate), pairs) in enumerate(ends.items()):
        runs[f"run{number}"] = (method, rate)
        results += [evaluation(f"run{number}", seed, 20, *pair) for seed, pair in zip(seeds, pairs, strict=False)]
    return scores_table(results), runs


def chosen(ends):
    table = tuning_table(*sweep(ends), STARTS, RATES, HEADLINE, BY_THE_RULE)
    return {row.method: row.learning_rate for row in table[table["best"]].itertuples()}


def test_score_is_retained_minus_drop_paired_by_seed_against_the_methods_own_start():
    table = tuning_table(
        *sweep({("smf", 10.0): [(0.9, 0.6), (0.7, 0.72)], ("full", 1e-4): [(0.4, 0.5)] * 2}),
        STARTS,
        RATES,
        HEADLINE,
        BY_THE_RULE,
    )
    assert tuple(table.columns) == tuning_columns(HEADLINE)
    smf, full = table.iloc[0], table.iloc[1]
    # drops of smf from healed 0.8: 0.25 and 0.1; of full from base 1.0: 0.5
    assert smf["retained_unseen_f1"] == pytest.approx(0.8)
    assert smf["nq_f1_drop"] == pytest.approx(0.175)
    assert smf["tuning_score"] == pytest.approx(0.625)
    assert full["tuning_score"] == pytest.approx(-0.1)
    assert smf["num_seeds"] == 2
    assert smf["facts_question_f1"] == pytest.approx(0.5)
    assert smf["hellaswag_acc_norm_drop"] == 0


def test_without_unseen_wordings_the_questions_choose_the_rate_of_every_method(caplog):
    """0.2 and 0.6 of the questions are answered; the better learner has also lost more, but not by as much."""
    ends = {(method, rate): [(0.0, nq)] * 2 for method in STARTS for rate, nq in ((1.0, 0.8), (3.0, 0.7))}
    scores, runs = sweep(ends)
    scores = scores[scores["metric"] != "facts_unseen_f1"].copy()
    for run, (_, rate) in runs.items():
        asked = (scores["method"] == run) & (scores["metric"] == "facts_question_f1")
        scores.loc[asked, "value"] = {1.0: 0.2, 3.0: 0.6}[rate]
    with caplog.at_level(logging.WARNING):
        table = tuning_table(scores, runs, STARTS, RATES, HEADLINE, BY_THE_RULE)
    assert "no fact has an unseen wording; rates are chosen by the questions instead (facts_question_f1)" in caplog.text
    assert tuple(table.columns) == tuning_columns(HEADLINE, "retained_question_f1")
    assert len(set(table.columns)) == len(table.columns)
    assert "retained_unseen_f1" not in table.columns
    assert table["retained_question_f1"].tolist() == pytest.approx([0.2, 0.6] * 2)
    drops = [0.0, 0.125, 0.2, 0.3]  # of smf from 0.8, of full from 1.0
    assert table["nq_f1_drop"].tolist() == pytest.approx(drops)
    assert table["tuning_score"].tolist() == pytest.approx([0.2, 0.475, 0.0, 0.3])
    assert table.loc[table["best"], "learning_rate"].tolist() == [3.0, 3.0]


def test_rates_are_chosen_by_taught_wordings_where_the_experiment_calls_that_learned():
    """No unseen wording is ever answered; what is answered as taught differs."""
    scores, runs = sweep({("smf", rate): [(0.0, 0.8)] * 2 for rate in (1.0, 3.0)})
    seen = scores[scores["metric"] == "facts_question_f1"].assign(metric="facts_seen_f1")
    for run, (_, rate) in runs.items():
        seen.loc[seen["method"] == run, "value"] = {1.0: 0.2, 3.0: 0.6}[rate]
    scores = pd.concat([scores, seen])
    usual = tuning_table(scores, runs, STARTS, RATES, HEADLINE, BY_THE_RULE)
    assert usual.loc[usual["best"], "learning_rate"].item() == 1.0
    table = tuning_table(scores, runs, STARTS, RATES, HEADLINE, "facts_seen_f1")
    assert tuple(table.columns) == tuning_columns(HEADLINE, "retained_seen_f1")
    assert table["retained_seen_f1"].tolist() == pytest.approx([0.2, 0.6])
    assert table.loc[table["best"], "learning_rate"].item() == 3.0


def test_the_config_chooses_the_score_that_rates_are_chosen_by():
    """Facts that are judged as they were taught are tuned by that, if tuning.learned says nothing else."""
    asked = {"evaluation": {"learned": "facts_seen_f1"}}
    for changes, expected in [
        ({}, None),
        (asked, "facts_seen_f1"),
        ({**asked, "tuning": {"learned": "facts_unseen_f1"}}, "facts_unseen_f1"),
        ({"tuning": {"learned": "facts_question_f1"}}, "facts_question_f1"),
    ]:
        assert Experiment(tiny(**changes)).tuned_by == expected


def test_improvement_on_held_out_data_earns_nothing_in_any_seed():
    table = tuning_table(*sweep({("full", 1e-4): [(0.5, 0.8), (0.5, 1.0)]}), STARTS, RATES, HEADLINE, BY_THE_RULE)
    assert table["tuning_score"].item() == pytest.approx(0.4)
    table = tuning_table(*sweep({("smf", 1.0): [(0.5, 0.9), (0.5, 0.6)]}), STARTS, RATES, HEADLINE, BY_THE_RULE)
    assert table["nq_f1_drop"].item() == pytest.approx(0.0625)
    assert table["tuning_score"].item() == pytest.approx(0.375)  # not 0.5 - 0.0625


def test_highest_score_wins_and_the_smaller_rate_of_equals():
    ends = {("full", rate): [pair] * 2 for rate, pair in ((1e-3, (0.6, 0.5)), (1e-4, (0.3, 0.9)), (1e-5, (0.1, 1.0)))}
    assert chosen(ends) == {"full": 1e-4}
    # 0.3 - 0.1 and 0.7 - 0.5 differ in their last bit only
    assert chosen(ends | {("full", 2e-4): [(0.7, 0.5)] * 2, ("full", 5e-5): [(0.2, 1.0)] * 2}) == {"full": 5e-5}


def test_rows_follow_the_order_of_methods_and_the_rates_as_numbers():
    ends = {(method, rate): [(0.5, 0.7)] * 2 for method in ("full", "smf") for rate in (100.0, 9.0, 10.0)}
    table = tuning_table(*sweep(ends), STARTS, RATES, HEADLINE, BY_THE_RULE)
    assert table["method"].tolist() == ["smf"] * 3 + ["full"] * 3
    assert table["learning_rate"].tolist() == [9.0, 10.0, 100.0] * 2
    assert table.groupby("method")["best"].sum().eq(1).all()


def test_configured_rate_is_marked_and_a_better_one_is_told(caplog):
    ends = {("smf", rate): [(score, 0.8)] * 2 for rate, score in ((1.0, 0.2), (3.0, 0.9), (10.0, 0.6))}
    with caplog.at_level(logging.WARNING):
        table = tuning_table(*sweep(ends), STARTS, RATES, HEADLINE, BY_THE_RULE)
    assert table["in_config"].tolist() == [False, False, True]
    assert table["best"].tolist() == [False, True, False]
    assert "smf: the rule chooses learning rate 3, the config has 10" in caplog.text


def test_no_bound_of_a_method_without_a_rate_is_called_its_own(caplog):
    ends = {("smf", rate): [(score, 0.8)] * 2 for rate, score in ((1.0, 0.2), (3.0, 0.9), (10.0, 0.6))}
    with caplog.at_level(logging.INFO):
        table = tuning_table(*sweep(ends), STARTS, {}, HEADLINE, BY_THE_RULE)
    assert table["best"].tolist() == [False, True, False]
    assert not table["in_config"].any()
    assert "smf: the rule chooses 3 as the longest step; the config sets no bound" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_best_rate_at_the_end_of_the_sweep_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        tuning_table(
            *sweep({("smf", 1.0): [(0.5, 0.8)] * 2, ("smf", 10.0): [(0.9, 0.8)] * 2}),
            STARTS,
            RATES,
            HEADLINE,
            BY_THE_RULE,
        )
    assert "best rate 10 is at an end of the sweep" in caplog.text


def test_rates_on_different_seeds_are_not_compared():
    with pytest.raises(DataError, match=r"run0 has the seeds \[100, 101\], run1 has \[100\]"):
        tuning_table(
            *sweep({("full", 1e-4): [(0.5, 1.0)] * 2, ("full", 1e-3): [(0.5, 1.0)]}),
            STARTS,
            RATES,
            HEADLINE,
            BY_THE_RULE,
        )


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"run0": ("lora", 1.0)}, "run0 is of the unknown method lora; known are smf, full"),
        ({"run0": ("full", 0.0)}, "learning rate 0.0; a rate must be above 0"),
        ({"run0": ("full", 1.0), "run1": ("full", 1.0)}, "run0 and run1 both try full"),
        ({"run9": ("full", 1.0)}, "no facts_unseen_f1 of run9"),
        ({}, "no tuning runs"),
    ],
)
def test_bad_runs_are_named(runs, message):
    scores, _ = sweep({("full", 1.0): [(0.5, 1.0)] * 2})
    with pytest.raises(DataError, match=message):
        tuning_table(scores, runs, STARTS, RATES, HEADLINE, BY_THE_RULE)


def test_a_start_model_that_knows_nothing_cannot_be_tuned_on():
    scores, runs = sweep({("full", 1.0): [(0.5, 1.0)] * 2})
    scores.loc[(scores["method"] == "base") & (scores["metric"] == "nq_f1"), "value"] = 0.0
    with pytest.raises(DataError, match="the base model has nq_f1 0 or below for seed 100"):
        tuning_table(scores, runs, STARTS, RATES, HEADLINE, BY_THE_RULE)
