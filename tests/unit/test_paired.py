"""Tests of every pair of methods on the same seeds."""

import math

import numpy as np
import pytest
from scipy import stats

from smf.analysis.pairs import PAIRS_COLUMNS, pairs_table
from smf.errors import DataError
from smf.scores.paired import effect_size, holm, p_values
from smf.scores.table import scores_table

STARTS = {"full": "base", "smf": "healed", "lora": "base"}
LEARNED = {"full": [0.5, 0.6, 0.7], "smf": [0.9, 0.8, 0.9], "lora": [0.1, 0.4, 0.2]}
KEPT = {"full": [0.4, 0.5, 0.3], "smf": [0.9, 0.8, 0.8], "lora": [0.2, 0.1, 0.3]}


def evaluation(method, seed, position, **values):
    scores = [{"metric": metric, "value": value, "stderr": None} for metric, value in values.items()]
    return {"method": method, "seed": seed, "position": position, "scores": scores}


def scores(learned=LEARNED, seeds=(0, 1, 2), start=0.8):
    rows = []
    for seed in seeds:
        for model in ("base", "healed"):
            rows.append(evaluation(model, seed, 0, nq_f1=start, facts_question_f1=0.0, facts_locality_f1=1.0))
        for method, values in learned.items():
            kept = {"nq_f1": KEPT[method][seed], "facts_question_f1": values[seed], "facts_locality_f1": 0.5}
            rows.append(evaluation(method, seed, 10, **kept))
    return scores_table(rows)


def pair(table, measure, one, other):
    chosen = table[(table["measure"] == measure) & (table["method_a"] == one) & (table["method_b"] == other)]
    return chosen.iloc[0]


def test_holm_equals_the_hand_worked_step_down():
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04, where the last may not fall below 0.06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def test_holm_rejects_what_the_textbook_procedure_rejects():
    rng = np.random.default_rng(0)
    for _ in range(50):
        given = rng.uniform(size=6) ** 3
        left, rejected = sorted(range(6), key=given.__getitem__), set()
        while left and given[left[0]] <= 0.05 / len(left):
            rejected.add(left.pop(0))
        assert set(np.flatnonzero(holm(given) <= 0.05)) == rejected


def test_a_pair_that_could_not_be_tested_stays_untested_and_counts_in_the_correction():
    corrected = holm([math.nan, 0.02, 0.03])  # three comparisons: 3 * 0.02, 2 * 0.03
    assert math.isnan(corrected[0])
    assert corrected[1:] == pytest.approx([0.06, 0.06])
    assert np.isnan(holm([math.nan, math.nan])).all()


def test_methods_that_agree_on_every_seed_do_not_differ_and_a_constant_difference_has_no_t_test():
    assert p_values([0.0, 0.0, 0.0]) == (1.0, 1.0)
    assert p_values([0.3 - 0.1 * 3, 0.0, 0.0]) == (1.0, 1.0)  # the first differs from 0 in its last bits
    by_t, by_flip = p_values([0.2, 0.2, 0.2])
    assert math.isnan(by_t)
    assert by_flip == pytest.approx(2 / 2**3)
    assert all(map(math.isnan, p_values([0.0, math.nan])))
    assert all(map(math.isnan, p_values([0.0])))


def test_effect_size_is_the_mean_difference_in_its_own_deviations():
    # mean 0.4, deviations -0.1, 0, 0.1: s = 0.1
    assert effect_size([0.3, 0.4, 0.5]) == pytest.approx(4.0)
    assert math.isnan(effect_size([0.4, 0.4, 0.4]))
    assert math.isnan(effect_size([0.4]))


def test_p_values_are_those_of_scipy_and_of_all_flips():
    differences = np.array([0.4, 0.2, 0.2])
    by_t, by_flip = p_values(differences)
    assert by_t == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert by_flip == pytest.approx(2 / 2**3)
    assert all(map(math.isnan, p_values([0.4])))


def test_pairs_compare_seed_by_seed_what_was_learned_forgotten_and_left_unchanged():
    table = pairs_table(scores(), STARTS, ["nq_f1"], "facts_question_f1")
    assert tuple(table.columns) == PAIRS_COLUMNS
    assert table["measure"].drop_duplicates().tolist() == ["facts_question_f1", "nq_f1_drop", "facts_locality_f1"]
    learned = pair(table, "facts_question_f1", "full", "smf")
    assert learned["difference"] == pytest.approx(-(0.4 + 0.2 + 0.2) / 3)
    expected = stats.t.interval(0.95, 2, loc=-0.8 / 3, scale=stats.sem([0.4, 0.2, 0.2]))
    assert learned[["ci95_low", "ci95_high"]].tolist() == pytest.approx(expected)
    lost = pair(table, "nq_f1_drop", "smf", "lora")
    drops = {name: (0.8 - np.array(KEPT[name])) / 0.8 for name in ("smf", "lora")}
    assert lost["difference"] == pytest.approx((drops["smf"] - drops["lora"]).mean())


def test_p_values_are_corrected_within_a_measure():
    table = pairs_table(scores(), STARTS, ["nq_f1"], "facts_question_f1")
    for _, part in table.groupby("measure"):
        assert part["p_holm"].tolist() == pytest.approx(holm(part["p_t_test"]), nan_ok=True)
    same = table[table["measure"] == "facts_locality_f1"]  # 0.5 everywhere
    assert same["p_holm"].eq(1).all()


def test_a_pair_that_agrees_does_not_ease_the_correction_of_the_others():
    """Three methods, so three pairs; full and lora learn the same on every seed."""
    table = pairs_table(scores(LEARNED | {"lora": LEARNED["full"]}), STARTS, ["nq_f1"], "facts_question_f1")
    by_t = stats.ttest_rel(LEARNED["full"], LEARNED["smf"]).pvalue
    for other in (("full", "smf"), ("smf", "lora")):
        assert pair(table, "facts_question_f1", *other)["p_holm"] == pytest.approx(min(1.0, 3 * by_t))
    assert pair(table, "facts_question_f1", "full", "lora")["p_holm"] == 1


def test_one_seed_has_differences_but_no_tests():
    table = pairs_table(scores(seeds=(1,)), STARTS, ["nq_f1"], "facts_question_f1")
    assert pair(table, "facts_question_f1", "full", "lora")["difference"] == pytest.approx(0.2)
    assert table[["ci95_low", "effect_size", "p_t_test", "p_holm", "p_sign_flip"]].isna().all(axis=None)


def test_methods_of_other_seeds_are_refused_by_name():
    rows = scores()
    rows = rows[~((rows["method"] == "lora") & (rows["seed"] == 2))]
    with pytest.raises(DataError, match=r"of the seeds \[0, 1, 2\], lora of \[0, 1\]"):
        pairs_table(rows, STARTS, ["nq_f1"], "facts_question_f1")
