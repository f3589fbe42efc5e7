"""Product-key search against brute force over all N * N slots."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smf.memory.product_keys import top_slots_by_key


def all_scores(query_2C, keys_2NC):
    """The score of every slot, one by one: slot i * N + j has the key (sub-key i, sub-key j)."""
    num_keys = keys_2NC.shape[1]
    scores = []
    for slot in range(num_keys**2):
        first, second = divmod(slot, num_keys)
        key = torch.cat([keys_2NC[0, first], keys_2NC[1, second]])
        scores.append(float(torch.dot(torch.cat([query_2C[0], query_2C[1]]), key)))
    return scores


@st.composite
def searches(draw, values):
    """Queries (T, H, 2, C), keys (H, 2, N, C) and top_k, of any shape."""
    num_tokens, num_heads, half_dim = (draw(st.integers(1, most)) for most in (3, 2, 3))
    num_keys = draw(st.integers(1, 7))
    top_k = draw(st.integers(1, num_keys**2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    if values == "distinct":
        queries = torch.randn(num_tokens, num_heads, 2, half_dim, generator=generator, dtype=torch.double)
        keys = torch.randn(num_heads, 2, num_keys, half_dim, generator=generator, dtype=torch.double)
    else:  # few different whole numbers: many slots with exactly equal scores
        dtype = draw(st.sampled_from([torch.double, torch.float32, torch.bfloat16]))
        queries = torch.randint(-1, 2, (num_tokens, num_heads, 2, half_dim), generator=generator).to(dtype)
        keys = torch.randint(-1, 2, (num_heads, 2, num_keys, half_dim), generator=generator).to(dtype)
    return queries, keys, top_k


def assert_same_as_brute_force(queries_TH2C, keys_H2NC, top_k):
    """The same slots in the same order: by score, of equal scores the lower slot first."""
    slots_THK, scores_THK = top_slots_by_key(queries_TH2C, keys_H2NC, top_k)
    num_tokens, num_heads = queries_TH2C.shape[:2]
    assert slots_THK.shape == scores_THK.shape == (num_tokens, num_heads, top_k)
    for token in range(num_tokens):
        for head in range(num_heads):
            expected = all_scores(queries_TH2C[token, head], keys_H2NC[head])
            best = sorted(range(len(expected)), key=lambda slot: (-expected[slot], slot))[:top_k]
            assert slots_THK[token, head].tolist() == best
            assert scores_THK[token, head].tolist() == pytest.approx([expected[slot] for slot in best], abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(searches("distinct"))
def test_search_equals_brute_force_over_all_slots(search):
    assert_same_as_brute_force(*search)


@settings(max_examples=200, deadline=None)
@given(searches("equal"))
def test_of_equal_scores_the_lower_slot_is_found_first(search):
    assert_same_as_brute_force(*search)


@pytest.mark.parametrize("num_keys", [300, 512, 1100, 2048])
@pytest.mark.parametrize("kind", ["distinct", "equal"])
def test_long_rows_of_scores_are_searched_as_short_ones(num_keys, kind):
    """Long enough for blocks, and for blocks of blocks; more tokens than are searched at once."""
    torch.manual_seed(num_keys)
    queries, keys = torch.randn(130, 1, 2, 4), torch.randn(1, 2, num_keys, 4)
    if kind == "equal":
        queries, keys = queries.round(), keys.round()
    slots_THK, scores_THK = top_slots_by_key(queries, keys, 24)
    for token in (0, 1, 127, 128, 129):
        first, second = (keys[0, half] @ queries[token, 0, half] for half in (0, 1))
        all_S = (first[:, None] + second).flatten()
        expected, slots = all_S.sort(descending=True, stable=True)
        torch.testing.assert_close(scores_THK[token, 0], expected[:24])
        if kind == "equal":  # whole numbers: the sums are exact
            assert slots_THK[token, 0].tolist() == slots[:24].tolist()
        else:
            torch.testing.assert_close(all_S[slots_THK[token, 0]], expected[:24])


@pytest.mark.parametrize("num_keys", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("top_k", [1, 2, 3, 5, 16])
def test_top_k_may_be_smaller_equal_or_larger_than_num_keys(num_keys, top_k):
    torch.manual_seed(num_keys)
    queries = torch.randn(2, 1, 2, 4, dtype=torch.double)
    assert_same_as_brute_force(queries, torch.randn(1, 2, num_keys, 4, dtype=torch.double), min(top_k, num_keys**2))


def test_staircases_are_searched_to_the_last_candidate():
    """Halves built so that the best pairs are exactly those with (i + 1) (j + 1) <= top_k, the bound of the search."""
    for top_k in range(1, 17):
        for first in range(1, top_k + 1):
            second = top_k // first  # the best `first` of one half, paired with the best `second` of the other
            num_keys = max(first, second) + 1
            halves = torch.full((2, num_keys), -100.0, dtype=torch.double)
            halves[0, :first] = torch.arange(first, 0, -1) * 0.001
            halves[1, :second] = torch.arange(second, 0, -1) * 0.01
            slots, _ = top_slots_by_key(torch.ones(1, 1, 2, 1).double(), halves.view(1, 2, num_keys, 1), first * second)
            assert sorted(slots.flatten().tolist()) == [i * num_keys + j for i in range(first) for j in range(second)]


def test_scores_carry_the_gradient_to_queries_and_keys():
    torch.manual_seed(0)
    queries = torch.randn(2, 2, 2, 3, dtype=torch.double, requires_grad=True)
    keys = torch.randn(2, 2, 4, 3, dtype=torch.double, requires_grad=True)
    slots, scores = top_slots_by_key(queries, keys, 5)
    weights = torch.rand_like(scores)
    found = torch.autograd.grad((scores * weights).sum(), (queries, keys))
    total = 0.0
    for token in range(2):
        for head in range(2):
            for place, slot in enumerate(slots[token, head].tolist()):
                key = torch.cat([keys[head, 0, slot // 4], keys[head, 1, slot % 4]])
                total = total + weights[token, head, place] * torch.dot(queries[token, head].flatten(), key)
    expected = torch.autograd.grad(total, (queries, keys))
    for mine, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, reference)


def test_a_search_in_inference_mode_does_not_spoil_later_training():
    queries, keys = torch.randn(1, 1, 2, 3), torch.randn(1, 2, 40, 3, requires_grad=True)
    with torch.inference_mode():
        top_slots_by_key(queries, keys, 37)  # a size that no other test has used
    top_slots_by_key(queries, keys, 37)[1].sum().backward()
    assert keys.grad.abs().sum() > 0
