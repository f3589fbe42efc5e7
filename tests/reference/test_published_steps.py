"""Steps on selected slots against the published way, written from its description: dense gradient, mask, optimizer."""

import pytest
import torch

from benchmarks.layers import DENSE, DENSE_SGD, OURS, OURS_SGD, STEPS, Sizes, StepInputs, whole_step

SIZES = Sizes(num_keys=24, value_dim=16, num_heads=2, top_k=4, key_dim=8, top_t=20, num_tokens=30)


def same_layers(ours, published):
    """Two steps whose layers have the same weights."""
    torch.manual_seed(0)
    mine, theirs = STEPS[ours](SIZES), STEPS[published](SIZES)
    layer, memory = mine.layer, theirs.memory
    with torch.no_grad():
        for target, source in (
            (memory.query.weight, layer.query.weight),
            (memory.query.bias, layer.query.bias),
            (memory.keys_H2NC, layer.keys_H2NC),
            (memory.gate.weight, layer.gate.weight),
            (memory.output.weight, layer.output.weight),
            (memory.values.weight, layer.values_SV),
        ):
            target.copy_(source)
    return mine, theirs


def test_with_sgd_both_ways_make_the_same_steps():
    mine, theirs = same_layers(OURS_SGD, DENSE_SGD)
    for seed in range(5):
        inputs = StepInputs.draw(SIZES, seed)
        before = mine.table_SV.clone()
        chosen = whole_step(mine, inputs)
        ties = whole_step(theirs, inputs)
        # Where scores are equal the published way leaves the choice to chance; compare what both have chosen.
        common = torch.tensor(sorted(set(chosen.tolist()) & set(ties.tolist())))
        assert len(chosen) == len(ties) == SIZES.top_t
        assert len(common) > SIZES.top_t // 2
        assert (mine.table_SV[common] != before[common]).any()
        torch.testing.assert_close(mine.table_SV[common], theirs.table_SV[common])
        with torch.no_grad():
            theirs.table_SV.copy_(mine.table_SV)


def test_with_adamw_a_first_step_is_the_same_and_later_ones_move_more_slots_the_published_way():
    mine, theirs = same_layers(OURS, DENSE)
    inputs = StepInputs.draw(SIZES, 0)
    chosen, ties = whole_step(mine, inputs), whole_step(theirs, inputs)
    common = torch.tensor(sorted(set(chosen.tolist()) & set(ties.tolist())))
    torch.testing.assert_close(mine.table_SV[common], theirs.table_SV[common])
    for step, expected in ((mine, False), (theirs, True)):
        before = step.table_SV.detach().clone()
        selected = whole_step(step, StepInputs.draw(SIZES, 1))
        changed = (step.table_SV.detach() != before).any(1)
        changed[selected] = False
        assert bool(changed.any()) is expected


@pytest.mark.parametrize("name", STEPS)
def test_every_compared_step_moves_slots(name):
    torch.manual_seed(0)
    step = STEPS[name](SIZES)
    before = step.table_SV.detach().clone()
    whole_step(step, StepInputs.draw(SIZES, 0))
    assert (step.table_SV.detach() != before).any()
