"""Trust region: the step that the derivation gives, its costs by plain loops, and what a method makes of it."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smf.errors import CheckpointError, ConfigError
from smf.memory import SlotReads
from smf.selection.background import LayerCounts, squared_read_weights
from smf.selection.trust_region import TrustRegion
from smf.streams.fact_batches import facts_batch
from tests.helpers import FACTS, MAX_LENGTH, memory_model, same_bytes, start_method, tokenizer


def counts(squares, accesses=None):
    squares = torch.tensor(squares, dtype=torch.double)
    accesses = torch.ones(len(squares), dtype=torch.long) if accesses is None else torch.tensor(accesses)
    return LayerCounts(accesses, accesses, 1, squares)


def region(squares, accesses=None, *, damping=0.5, disturbance="squared_weights"):
    return TrustRegion(counts(squares, accesses), damping=damping, disturbance=disturbance)


def batch_of(fact):
    return facts_batch(tokenizer(), [fact], loss_on="answer", max_length=MAX_LENGTH)


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_squared_weights_equal_plain_loops(seed, num_tokens, num_lookups):
    rng = random.Random(seed)
    reads = [[(rng.randrange(4), rng.random()) for _ in range(num_lookups)] for _ in range(num_tokens)]
    expected = [0.0] * 6
    for token in reads:
        for slot in range(4):
            expected[slot] += sum(weight for read, weight in token if read == slot) ** 2  # heads of a token add up
    slots_XL = torch.tensor([[slot for slot, _ in token] for token in reads])
    weights_XL = torch.tensor([[weight for _, weight in token] for token in reads], dtype=torch.double)
    assert squared_read_weights(slots_XL, weights_XL, 6).tolist() == pytest.approx(expected)


def test_the_squares_of_no_token_are_zero():
    empty = torch.zeros(0, 4)
    assert squared_read_weights(empty.long(), empty, 3).tolist() == [0, 0, 0]


def test_the_step_is_the_constrained_optimum():
    """Against a linear solver: d minimises g·d + 1/2 d·(C + λ)d / (ηλ) where each token reads one slot, so that
    C = E[w wᵀ], over its mean diagonal, is diagonal."""
    torch.manual_seed(0)
    num_slots, damping, rate = 7, 0.3, 2.0
    slots_X1 = torch.arange(40).remainder(num_slots - 1).unsqueeze(1)  # the last slot is never read
    weights_X1 = torch.rand(40, 1, dtype=torch.double)
    weights_XS = torch.zeros(40, num_slots, dtype=torch.double).scatter(1, slots_X1, weights_X1)
    matrix_SS = weights_XS.T @ weights_XS
    matrix_SS /= matrix_SS.diagonal().mean()
    gradient_SV = torch.randn(num_slots, 3, dtype=torch.double)
    optimum_SV = -rate * damping * torch.linalg.solve(matrix_SS + damping * torch.eye(num_slots).double(), gradient_SV)
    squares = squared_read_weights(slots_X1, weights_X1, num_slots).tolist()
    shares_S = region(squares, damping=damping).shares(torch.arange(num_slots))
    assert torch.allclose(-rate * shares_S.unsqueeze(1) * gradient_SV, optimum_SV)
    assert shares_S[-1] == 1


def test_at_equal_gain_shortened_steps_disturb_less():
    """First-order gain g·d, disturbance sum q |d|²: no scaling of whole steps reaches what shortened ones do."""
    torch.manual_seed(1)
    squares = torch.rand(50, dtype=torch.double) ** 4
    gradient_SV = torch.randn(50, 8, dtype=torch.double)
    shares_S = region(squares.tolist(), damping=0.1).shares(torch.arange(50))
    gains_S = gradient_SV.square().sum(1)
    shortened = (shares_S * gains_S).sum(), (squares * shares_S.square() * gains_S).sum()
    whole = gains_S.sum(), (squares * gains_S).sum()
    assert shortened[1] / shortened[0] ** 2 < 0.5 * whole[1] / whole[0] ** 2


def test_costs_are_relative_to_an_average_slot():
    shares = region([1.0, 3.0, 0.0, 0.0], damping=0.5).shares(torch.tensor([0, 1, 3]))
    assert shares.tolist() == pytest.approx([0.5 / 1.5, 0.5 / 3.5, 1.0])  # the mean is 1
    by_accesses = region([9.0] * 4, [1, 3, 0, 0], damping=0.5, disturbance="accesses")
    assert by_accesses.shares(torch.tensor([0, 1, 3])).tolist() == pytest.approx(shares.tolist())


def test_an_earlier_batch_weighs_as_its_weight_says():
    """Ordinary text and the batch read the same: with weight 2 the past costs twice what ordinary text does."""
    slots, weights = torch.tensor([[[[0, 1]], [[0, 2]]]]), torch.tensor([[[[0.5, 0.5]], [[0.9, 0.1]]]])
    reads, mask_BT = SlotReads(slots, weights), torch.ones(1, 2)
    squares = squared_read_weights(slots.flatten(0, 1).flatten(1), weights.flatten(0, 1).flatten(1), 4)
    layer = region(squares.tolist(), [2, 1, 1, 0])
    before_S = layer.shares(torch.arange(4))
    past_S = layer.past_with([(reads, mask_BT)], 2.0)
    assert layer.past_S.sum() == 0
    layer.past_S = past_S
    cost_S, cost_before_S = 0.5 / layer.shares(torch.arange(4)), 0.5 / before_S
    assert torch.allclose(cost_S - 0.5, 3 * (cost_before_S - 0.5))


@pytest.mark.parametrize("micro_batch_size", [None, 2])
def test_a_method_shortens_each_slots_step(micro_batch_size):
    def stepped(**settings):
        method = start_method("smf", model=memory_model(), selector="tfidf", top_t=20, **settings)
        method.micro_batch_size = micro_batch_size
        before = {block: layer.values_SV.clone() for block, layer in method.model.memory_layers().items()}
        method.step(batch_of(FACTS[0]))
        moves = {block: layer.values_SV - before[block] for block, layer in method.model.memory_layers().items()}
        return method, moves

    whole, moves = stepped()
    bounded, shorter = stepped(damping=0.2)
    slots = {name.split(".")[0]: ids for name, ids in bounded.delta().items() if name.endswith("slots")}
    for block, layer in bounded.model.memory_layers().items():
        found = slots[str(block)]
        shares_R1 = bounded._regions.layers[block].shares(found).unsqueeze(1).float()
        assert 0 < shares_R1.min() < 0.9
        assert torch.allclose(shorter[block][found], shares_R1 * moves[block][found], rtol=1e-4, atol=1e-6)
        others = torch.ones(layer.num_slots, dtype=torch.bool)
        others[found] = False
        assert not shorter[block][others].any()
    assert same_bytes(whole.delta()["0.slots"], bounded.delta()["0.slots"])


def test_what_was_just_taught_moves_less_for_the_next_fact():
    method = start_method("smf", selector="none", damping=0.2, past_weight=1.0)
    method.step(batch_of(FACTS[0]))
    everything = torch.arange(64)
    during = {block: region.shares(everything) for block, region in method._regions.layers.items()}
    changed = {block: method.delta()[f"{block}.slots"] for block in method._regions.layers}
    method.step(batch_of(FACTS[1]))
    for block, layer in method._regions.layers.items():
        after = layer.shares(everything)
        assert (after[changed[block]] < during[block][changed[block]]).all()
        never = [slot for slot in range(64) if slot not in set(changed[block].tolist())]
        assert torch.equal(after[never], during[block][never])


def test_a_stream_with_a_past_resumes_at_the_same_bits():
    options = {"selector": "tfidf", "top_t": 12, "damping": 0.2, "past_weight": 1.0}
    whole = start_method("smf", **options)
    for fact in FACTS[:2]:
        whole.step(batch_of(fact))
    resumed = start_method("smf", **options)
    resumed.load_state_dict(whole.state_dict(), whole.delta())
    for method in (whole, resumed):
        method.step(batch_of(FACTS[2]))
    for name, tensor in whole.delta().items():
        assert same_bytes(resumed.delta()[name], tensor), name
    with pytest.raises(CheckpointError, match="knows no past of block 0's 64 slots"):
        resumed.load_state_dict({"generator": whole.state_dict()["generator"]}, whole.delta())


def test_without_a_weight_there_is_no_past_to_keep():
    method = start_method("smf", damping=0.2)
    method.step(batch_of(FACTS[0]))
    assert not [name for name in method.state_dict() if name.startswith("past")]


@pytest.mark.parametrize("optimizer", ["adamw", "adagrad"])
def test_optimizers_that_make_steps_equal_again_are_refused(optimizer):
    with pytest.raises(ConfigError, match=f"optimizer {optimizer} normalises them again; use sgd"):
        start_method("smf", damping=0.1, optimizer=optimizer)
