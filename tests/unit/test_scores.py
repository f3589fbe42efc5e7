"""The table of scores, and what forgotten and retained mean."""

import math

import pandas as pd
import pytest

from smf.errors import DataError
from smf.scores.table import (
    COLUMNS,
    end_values,
    final_position,
    forgetting,
    relative_loss,
    retained,
    scores_table,
    start_values,
)

STARTS = {"full": "base", "smf": "healed"}


def evaluation(method, seed, position, **values):
    scores = [{"metric": metric, "value": value, "stderr": 0.01} for metric, value in values.items()]
    return {"method": method, "seed": seed, "position": position, "scores": scores}


@pytest.fixture
def evaluations():
    return [
        evaluation("smf", 1, 100, nq_f1=0.6, facts_question_f1=0.9),
        evaluation("smf", 0, 100, nq_f1=0.72, facts_question_f1=0.8),
        evaluation("smf", 0, 10, nq_f1=0.75, facts_question_f1=1.0),
        evaluation("smf", 1, 10, nq_f1=0.75, facts_question_f1=1.0),
        evaluation("full", 0, 100, nq_f1=0.25, facts_question_f1=0.3),
        evaluation("full", 1, 100, nq_f1=0.5, facts_question_f1=0.1),
        evaluation("base", 0, 0, nq_f1=1.0, facts_question_f1=0.0),
        evaluation("base", 1, 0, nq_f1=1.0, facts_question_f1=0.0),
        evaluation("healed", 0, 0, nq_f1=0.8, facts_question_f1=0.0),
        evaluation("healed", 1, 0, nq_f1=0.75, facts_question_f1=0.0),
    ]


def test_table_is_tidy_sorted_and_the_same_for_any_order_of_the_files(evaluations):
    table = scores_table(evaluations)
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 20
    assert table.equals(table.sort_values(["method", "seed", "position", "metric"], ignore_index=True))
    assert table.equals(scores_table(reversed(evaluations)))


def test_a_missing_standard_error_becomes_an_empty_cell():
    result = evaluation("base", 0, 0, nq_f1=1)
    result["scores"][0]["stderr"] = None
    assert math.isnan(scores_table([result])["stderr"].item())


def test_retained_is_the_score_of_the_last_snapshot_by_seed(evaluations):
    table = scores_table(evaluations)
    assert final_position(table) == 100
    assert retained(table, "smf").to_dict() == {0: 0.8, 1: 0.9}
    assert end_values(table, "healed", "nq_f1").to_dict() == {0: 0.8, 1: 0.75}


def test_forgetting_is_relative_to_the_start_model_and_paired_by_seed(evaluations):
    table = scores_table(evaluations)
    assert forgetting(table, "smf", "nq_f1", STARTS).to_dict() == pytest.approx({0: 0.1, 1: 0.2})
    assert forgetting(table, "full", "nq_f1", STARTS).to_dict() == pytest.approx({0: 0.75, 1: 0.5})
    assert forgetting(table, "healed", "nq_f1", STARTS).to_dict() == pytest.approx({0: 0.2, 1: 0.25})


def test_a_rise_is_a_negative_drop_and_a_start_at_zero_has_none():
    assert relative_loss("nq_f1", 0.5, 0.6) == pytest.approx(-0.2)
    assert relative_loss("nq_f1", 0.4, 0.4) == 0
    assert math.isnan(relative_loss("nq_f1", 0.0, 0.3))


@pytest.mark.parametrize("end", [-0.10, -0.02, 0.0, 0.3])
def test_of_a_score_below_zero_no_share_is_lost_or_won(end):
    """A correlation can start there: from -0.02 to -0.10 it fell, but (start - end) / start is -4."""
    assert math.isnan(relative_loss("cola_mcc", -0.02, end))
    assert math.isnan(relative_loss("cola_mcc", math.nan, end))
    table = scores_table([evaluation("base", 0, 0, cola_mcc=-0.02), evaluation("full", 0, 10, cola_mcc=end)])
    assert forgetting(table, "full", "cola_mcc", STARTS).isna().all()


@pytest.mark.parametrize("metric", ["stories_nll", "wikitext_perplexity", "wikitext_word_perplexity"])
def test_of_a_loss_the_relative_rise_is_forgotten(metric):
    assert relative_loss(metric, 2.0, 2.5) == pytest.approx(0.25)
    assert relative_loss(metric, 2.0, 1.5) == pytest.approx(-0.25)
    results = [
        evaluation("base", 0, 0, **{metric: 1.6}),
        evaluation("full", 0, 10, **{metric: 2.4}),
    ]
    assert forgetting(scores_table(results), "full", metric, STARTS).to_dict() == pytest.approx({0: 0.5})


def test_locality_starts_at_one_whatever_the_row_of_the_start_model_compares_it_with():
    results = [
        evaluation("base", 0, 0, facts_locality_f1=1.0),
        evaluation("healed", 0, 0, facts_locality_f1=0.8),  # agreement of the healed model with the base
        evaluation("smf", 0, 10, facts_locality_f1=0.9),  # agreement with the healed model
    ]
    table = scores_table(results)
    assert forgetting(table, "smf", "facts_locality_f1", STARTS).item() == pytest.approx(0.1)
    assert forgetting(table, "healed", "facts_locality_f1", STARTS).item() == pytest.approx(0.2)


def test_start_values_cover_only_the_seeds_of_the_method(evaluations):
    table = scores_table([*evaluations, evaluation("base", 7, 0, nq_f1=0.5)])
    assert start_values(table, "full", "nq_f1", STARTS).index.tolist() == [0, 1]


def test_a_missing_start_row_names_model_metric_and_seed(evaluations):
    table = scores_table([row for row in evaluations if (row["method"], row["seed"]) != ("healed", 1)])
    with pytest.raises(DataError, match=r"no nq_f1 of the healed model \(position 0\) for seed 1, which smf"):
        forgetting(table, "smf", "nq_f1", STARTS)


@pytest.mark.parametrize("start", ["bse", None])
def test_an_unknown_start_model_is_refused(evaluations, start):
    with pytest.raises(DataError, match="'base' or 'healed'"):
        forgetting(scores_table(evaluations), "smf", "nq_f1", {"smf": start} if start else {})


def test_a_repeated_result_is_named(evaluations):
    with pytest.raises(DataError, match="nq_f1 of smf, seed 1, position 100 appears twice|facts_question_f1 of smf"):
        scores_table([*evaluations, evaluations[0]])


def test_an_unknown_metric_is_named():
    with pytest.raises(DataError, match="unknown metric facts_sen_f1 in the scores; known of the facts are facts_seen"):
        scores_table([evaluation("base", 0, 0, facts_sen_f1=0.5)])


@pytest.mark.parametrize("value", [1.5, -0.1, math.nan, None, "0.5"])
def test_a_value_that_is_no_share_is_refused(value):
    with pytest.raises(DataError, match="nq_f1 of base, seed 0, position 0 is .*, not a share"):
        scores_table([evaluation("base", 0, 0, nq_f1=value)])


def test_a_loss_may_be_any_finite_number():
    assert scores_table([evaluation("base", 0, 0, stories_nll=7.5)])["value"].item() == 7.5
    for value in (math.inf, math.nan, None):
        with pytest.raises(DataError, match="stories_nll of base, seed 0, position 0 is .*, not a finite number"):
            scores_table([evaluation("base", 0, 0, stories_nll=value)])


def test_an_incomplete_result_and_no_results_are_refused(evaluations):
    with pytest.raises(DataError, match="incomplete"):
        scores_table([{"method": "base", "seed": 0, "position": 0}])
    with pytest.raises(DataError, match="no evaluation results"):
        scores_table([])


def test_methods_that_end_at_different_positions_are_not_compared(evaluations):
    with pytest.raises(DataError, match=r"full, seed 0 ends at position 50, but .* at 100"):
        final_position(
            scores_table(
                row | ({"position": 50} if (row["method"], row["seed"]) == ("full", 0) else {}) for row in evaluations
            )
        )


def test_start_models_alone_have_no_end_of_the_stream(evaluations):
    with pytest.raises(DataError, match="start models only"):
        final_position(scores_table(row for row in evaluations if row["position"] == 0))


def test_each_quantity_takes_only_its_own_metrics(evaluations):
    table = scores_table(evaluations)
    with pytest.raises(DataError, match="does not measure the new facts"):
        retained(table, "smf", "nq_f1")
    with pytest.raises(DataError, match="is not a held-out score"):
        forgetting(table, "smf", "facts_question_f1", STARTS)
    with pytest.raises(DataError, match="no hellaswag_acc of smf"):
        forgetting(table, "smf", "hellaswag_acc", STARTS)


def test_a_table_read_back_from_csv_gives_the_same_quantities(evaluations, tmp_path):
    table = scores_table(evaluations)
    table.to_csv(tmp_path / "scores.csv", index=False, float_format="%.10g")
    again = pd.read_csv(tmp_path / "scores.csv")
    assert forgetting(again, "smf", "nq_f1", STARTS).equals(forgetting(table, "smf", "nq_f1", STARTS))
