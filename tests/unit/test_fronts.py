"""One front: what no other setting beats, the area below it, and what a retained level costs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from smf.analysis.frontier.bootstrap import percentile_interval, resampled_seeds
from smf.analysis.frontier.fronts import forgetting_at, hypervolume, on_front
from smf.errors import DataError

SHARES = st.integers(0, 20).map(lambda number: number / 20)  # coarse, so that ties are common
FORGOTTEN = st.integers(-4, 20).map(lambda number: number / 20)
POINTS = st.lists(st.tuples(SHARES, FORGOTTEN), min_size=1, max_size=8)
REFERENCES = st.integers(1, 20).map(lambda number: number / 20)


def arrays(points):
    return np.array(points, dtype=float).T


def beaten(points, index):
    """By definition: another point, or doing nothing, is no worse in both and better in one, or stands there first."""
    kept, lost = points[index][0], max(0.0, points[index][1])
    others = [(other, max(0.0, forgot), place) for place, (other, forgot) in enumerate(points) if place != index]
    return any(
        other >= kept and forgot <= lost and (other > kept or forgot < lost or place < index)
        for other, forgot, place in [*others, (0.0, 0.0, -1)]
    )


def retained_within(points, budget):
    return max([0.0, *(kept for kept, lost in points if lost <= budget)])


@given(POINTS)
def test_front_is_what_nothing_beats_by_the_definition(points):
    assert on_front(*arrays(points)).tolist() == [not beaten(points, index) for index in range(len(points))]


@given(POINTS, REFERENCES)
def test_hypervolume_is_what_is_retained_averaged_over_a_grid_of_budgets(points, reference):
    # all steps are at twentieths, so the middles of a grid of twentieths meet every stair
    grid = (np.arange(round(reference * 20)) + 0.5) / 20
    expected = np.mean([retained_within(points, budget) for budget in grid])
    assert hypervolume(*arrays(points), reference) == pytest.approx(expected)


def test_hypervolume_is_the_share_of_random_darts_below_the_front():
    random = np.random.default_rng(0)
    kept, lost = random.uniform(0, 1, 6), random.uniform(-0.05, 0.4, 6)
    darts = random.uniform(0, (1, 0.25), (200_000, 2))
    hit = ((darts[:, :1] <= kept) & (darts[:, 1:] >= lost)).any(axis=1)
    assert hypervolume(kept, lost, 0.25) == pytest.approx(hit.mean(), abs=0.005)


@given(POINTS, REFERENCES, st.randoms())
def test_a_dominated_point_changes_nothing(points, reference, random):
    kept, lost = random.choice(points)
    worse = (round(kept * random.random(), 6), max(0.0, lost) + random.random())
    for added in (worse, (kept, lost), (0.0, 0.0)):
        more = [*points, added]
        assert hypervolume(*arrays(more), reference) == pytest.approx(hypervolume(*arrays(points), reference))
        for level in (0.25, 0.5, 0.8):
            assert forgetting_at(*arrays(more), level) == pytest.approx(forgetting_at(*arrays(points), level))


@given(POINTS, st.tuples(SHARES, FORGOTTEN), REFERENCES)
def test_another_point_never_lowers_the_hypervolume(points, added, reference):
    assert hypervolume(*arrays([*points, added]), reference) >= hypervolume(*arrays(points), reference) - 1e-12


@given(POINTS, REFERENCES, REFERENCES)
def test_hypervolume_lies_between_0_and_1_and_never_falls_with_the_largest_budget(points, one, other):
    low, high = (hypervolume(*arrays(points), reference) for reference in sorted((one, other)))
    assert 0 <= low <= high + 1e-12 <= 1 + 2e-12


@given(POINTS, st.randoms())
def test_the_order_of_settings_does_not_matter(points, random):
    mixed = random.sample(points, len(points))
    assert hypervolume(*arrays(mixed), 0.3) == pytest.approx(hypervolume(*arrays(points), 0.3))
    assert forgetting_at(*arrays(mixed), 0.5) == pytest.approx(forgetting_at(*arrays(points), 0.5))


@given(POINTS, SHARES, SHARES)
def test_more_is_never_retained_for_less(points, one, other):
    low, high = sorted((one, other))
    assert forgetting_at(*arrays(points), low) <= forgetting_at(*arrays(points), high)


@pytest.mark.parametrize(
    ("points", "level", "expected"),
    [
        ([(0.8, 0.1)], 0.8, 0.1),
        ([(0.8, 0.1)], 0.4, 0.05),  # half way from doing nothing
        ([(0.8, 0.1)], 0.9, math.inf),
        ([(0.4, 0.02), (0.8, 0.1)], 0.7, 0.08),
        ([(0.8, 0.1), (0.4, 0.02)], 0.2, 0.01),
        ([(0.4, 0.02), (0.5, 0.5), (0.8, 0.1)], 0.7, 0.08),  # the one between is dominated
        ([(0.4, 0.02), (0.5, 0.02), (0.8, 0.08)], 0.65, 0.05),  # of equals in forgetting the best leads on
        ([(0.6, -0.1), (0.8, 0.1)], 0.5, 0.0),  # an improvement counts as nothing forgotten
        ([(0.6, -0.1), (0.8, 0.1)], 0.7, 0.05),
        ([(0.0, 0.0)], 0.5, math.inf),
        ([(0.0, 0.3)], 0.0, 0.0),
        ([(0.1 + 0.7 - 1e-16, 0.3)], 0.8, 0.3),  # the last bit of a mean decides nothing
        ([(0.2, 0.9), (1.0, 1.7)], 0.6, 1.3),  # a loss can more than double
    ],
)
def test_forgetting_at_a_level_is_read_off_the_line_between_neighbours(points, level, expected):
    assert forgetting_at(*arrays(points), level) == pytest.approx(expected)


def test_hypervolume_by_hand():
    # 0.4 from 0.02 to 0.1, 0.8 from there to 0.2
    assert hypervolume(*arrays([(0.8, 0.1), (0.4, 0.02)]), 0.2) == pytest.approx((0.4 * 0.08 + 0.8 * 0.1) / 0.2)
    assert hypervolume(*arrays([(1.0, -0.3)]), 0.2) == 1
    assert hypervolume(*arrays([(1.0, 0.2)]), 0.2) == 0
    assert hypervolume(*arrays([(0.0, 0.0)]), 0.2) == 0


def test_many_fronts_at_once_are_the_same_as_one_by_one():
    random = np.random.default_rng(0)
    kept, lost = random.integers(0, 9, (4, 7, 5)) / 8, random.integers(-2, 9, (4, 7, 5)) / 20
    for index in np.ndindex(4, 7):
        assert hypervolume(kept, lost, 0.3)[index] == hypervolume(kept[index], lost[index], 0.3)
        assert forgetting_at(kept, lost, 0.6)[index] == forgetting_at(kept[index], lost[index], 0.6)
        assert on_front(kept, lost)[index].tolist() == on_front(kept[index], lost[index]).tolist()


@pytest.mark.parametrize("reference", [0.0, -0.1, math.nan, math.inf])
def test_a_reference_that_is_no_budget_is_refused(reference):
    with pytest.raises(DataError, match=f"reference forgetting is {reference}; give the largest budget"):
        hypervolume(np.array([0.5]), np.array([0.1]), reference)


def test_resamples_are_the_same_at_every_call_and_draw_every_seed_alike():
    drawn = resampled_seeds(5)
    assert drawn.shape == (10_000, 5)
    assert np.array_equal(drawn, resampled_seeds(5))
    assert np.bincount(drawn.ravel()) / drawn.size == pytest.approx(0.2, abs=0.01)


def test_percentile_interval_of_a_mean_is_near_the_normal_one():
    values = np.random.default_rng(0).normal(size=40)
    low, high = percentile_interval(values[resampled_seeds(40)].mean(axis=1))
    half = 1.96 * stats.sem(values)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


def test_an_end_among_resamples_without_end_is_open():
    values = np.arange(1000.0)
    values[-10:] = math.inf  # 1 %
    low, high = percentile_interval(values)
    assert (low, high) == (24, 975)
    values[-30:] = math.inf
    low, high = percentile_interval(values)
    assert low == 24
    assert math.isnan(high)
    values[-30:] = math.nan  # undefined: open on both sides
    assert np.isnan(percentile_interval(values)).all()
