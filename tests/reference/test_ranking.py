"""The highest values of each row against sorting tuples."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smf.memory.ranking import best_by_value

FLOATS = st.floats(width=32, allow_nan=False)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(FLOATS, st.sampled_from([0.0, -0.0, 1.0, -1.0, float("inf"), float("-inf"), 2.0**-140])), min_size=1
    ),
    st.data(),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_the_highest_values_come_first_and_of_equal_ones_the_lower_id(values, data, dtype):
    ids = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=len(values), max_size=len(values), unique=True))
    number = data.draw(st.integers(1, len(values)))
    found, found_ids = best_by_value(torch.tensor([values], dtype=dtype), number, torch.tensor([ids]))
    expected = sorted(zip(values, ids, strict=True), key=lambda pair: (-pair[0], pair[1]))[:number]
    assert found_ids.tolist() == [[identity for _, identity in expected]]
    assert found.tolist() == [[value for value, _ in expected]]


def test_by_default_ids_are_places_and_rows_are_apart():
    values = torch.tensor([[3.0, 5.0, 3.0, 5.0], [1.0, 1.0, 1.0, 0.0]])
    assert best_by_value(values, 3)[1].tolist() == [[1, 3, 0], [0, 1, 2]]
    assert values.tolist() == [[3.0, 5.0, 3.0, 5.0], [1.0, 1.0, 1.0, 0.0]]  # they stay as they were
