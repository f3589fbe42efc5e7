"""Row optimizers against torch.optim: on rows that always train, and row by row on rows that train now and then."""

import random

import pytest
import torch

from smf.memory.row_optimizers import RowAdamW, RowSGD
from tests.helpers import random_unique, same_bytes

NUM_SLOTS, VALUE_DIM = 12, 5
KINDS = {
    "sgd": (RowSGD, torch.optim.SGD, {"learning_rate": 0.3}),
    "sgd-decay": (RowSGD, torch.optim.SGD, {"learning_rate": 0.3, "weight_decay": 0.1}),
    "momentum": (RowSGD, torch.optim.SGD, {"learning_rate": 0.1, "momentum": 0.9}),
    "momentum-decay": (RowSGD, torch.optim.SGD, {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    "adamw": (RowAdamW, torch.optim.AdamW, {"learning_rate": 0.05}),
    "adamw-decay": (RowAdamW, torch.optim.AdamW, {"learning_rate": 0.05, "weight_decay": 0.2}),
    "adamw-betas": (RowAdamW, torch.optim.AdamW, {"learning_rate": 0.05, "betas": (0.5, 0.6), "epsilon": 1e-3}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def torch_settings(settings):
    names = {"learning_rate": "lr", "epsilon": "eps"}
    return {"weight_decay": 0.0, **{names.get(name, name): value for name, value in settings.items()}}


def table(seed=0):
    return torch.randn(NUM_SLOTS, VALUE_DIM, generator=torch.Generator().manual_seed(seed))


def gradients(steps, seed=1):
    """Gradients of very different sizes, (steps, NUM_SLOTS, VALUE_DIM)."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 10.0 ** torch.randint(-4, 2, (steps, NUM_SLOTS, 1), generator=generator)
    return torch.randn(steps, NUM_SLOTS, VALUE_DIM, generator=generator) * sizes


@every_kind
def test_a_row_that_is_always_selected_moves_as_in_torch_optim(kind):
    row_class, torch_class, settings = KINDS[kind]
    values, slots = table(), torch.tensor([1, 4, 5, 11])
    parameter = torch.nn.Parameter(values[slots].clone())
    mine, reference = row_class(values, **settings), torch_class([parameter], **torch_settings(settings))
    for gradient in gradients(steps=30):
        mine.step(slots, gradient[slots])
        parameter.grad = gradient[slots].clone()
        reference.step()
        torch.testing.assert_close(values[slots], parameter.data, rtol=1e-5, atol=1e-6)


@every_kind
def test_each_row_moves_as_if_its_own_torch_optimizer_stepped_only_when_it_is_selected(kind):
    row_class, torch_class, settings = KINDS[kind]
    values = table()
    parameters = [torch.nn.Parameter(row.clone()) for row in values]
    references = [torch_class([parameter], **torch_settings(settings)) for parameter in parameters]
    mine, rng = row_class(values, **settings), random.Random(0)
    for gradient in gradients(steps=60):
        slots = random_unique(rng, NUM_SLOTS, rng.randrange(0, 6))
        mine.step(slots, gradient[slots])
        for slot in slots.tolist():
            parameters[slot].grad = gradient[slot].clone()
            references[slot].step()
        expected = torch.stack([parameter.data for parameter in parameters])
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)


@every_kind
def test_rows_that_are_not_selected_keep_their_bits(kind):
    row_class, _, settings = KINDS[kind]
    values, rng = table(), random.Random(1)
    values[0, 0], values[0, 1] = -0.0, 1e-42  # a negative zero and a denormal number: adding 0.0 would change the first
    mine = row_class(values, **settings)
    for gradient in gradients(steps=40):
        before = values.clone()
        slots = random_unique(rng, NUM_SLOTS, rng.randrange(0, 5))
        mine.step(slots, gradient[slots])
        others = [slot for slot in range(NUM_SLOTS) if slot not in slots.tolist()]
        assert same_bytes(values[others], before[others])
        assert all(not torch.equal(values[slot], before[slot]) for slot in slots.tolist())


@every_kind
def test_the_order_of_selection_does_not_mix_up_the_state_of_rows(kind):
    """Rows get their state in the order in which they are first selected; here that order is not ascending."""
    row_class, _, settings = KINDS[kind]
    together, apart = table(), table()
    mine, other = row_class(together, **settings), row_class(apart, **settings)
    for gradient in gradients(steps=10):
        for slots in ([7], [2, 9], [0]):
            mine.step(torch.tensor(slots), gradient[slots])
        other.step(torch.tensor([0, 2, 7, 9]), gradient[[0, 2, 7, 9]])
    assert same_bytes(together, apart)


@pytest.mark.parametrize("kind", ["momentum", "adamw-decay"])
def test_state_exists_only_for_rows_that_were_ever_selected(kind):
    row_class, _, settings = KINDS[kind]
    values = torch.zeros(10_000, VALUE_DIM)
    mine, selected = row_class(values, **settings), set()
    rng = random.Random(2)
    for _ in range(20):
        slots = random_unique(rng, 300, 6)
        selected |= set(slots.tolist())
        mine.step(slots, torch.ones(6, VALUE_DIM))
        state = mine._state
        rows = state._row_of_slot_S
        assert set((rows >= 0).nonzero().flatten().tolist()) == selected
        assert sorted(rows[rows >= 0].tolist()) == list(range(len(selected)))
        assert len(selected) <= state.moments_MEV.shape[1] <= 2 * len(selected)  # grows by doubling


def test_plain_sgd_keeps_no_state():
    assert RowSGD(table(), learning_rate=0.1)._state is None


@every_kind
def test_an_empty_selection_changes_nothing(kind):
    row_class, _, settings = KINDS[kind]
    values = table()
    mine = row_class(values, **settings)
    for slots in ([], [3], []):
        before = values.clone()
        mine.step(torch.tensor(slots, dtype=torch.long), torch.ones(len(slots), VALUE_DIM))
        assert same_bytes(values, before) == (not slots)


@every_kind
def test_a_bfloat16_table_keeps_its_type_and_the_bits_of_other_rows(kind):
    row_class, _, settings = KINDS[kind]
    values = table().bfloat16()
    before, mine = values.clone(), row_class(values, **settings)
    for gradient in gradients(steps=5):
        mine.step(torch.tensor([2, 3]), gradient[[2, 3]].bfloat16())
    others = [slot for slot in range(NUM_SLOTS) if slot not in (2, 3)]
    assert values.dtype == torch.bfloat16
    assert torch.equal(values[others].view(torch.int16), before[others].view(torch.int16))
    assert not torch.equal(values[[2, 3]], before[[2, 3]])
