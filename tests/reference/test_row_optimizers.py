"""Row optimizers against torch.optim: on rows that always train, and row by row on rows that train now and then."""

import random
from collections import Counter

import pytest
import torch

from smf.errors import CheckpointError
from smf.memory.row_optimizers import RowAdagrad, RowAdamW, RowMomentum, RowSGD
from tests.helpers import random_unique, same_bytes

NUM_SLOTS, VALUE_DIM = 12, 5
KINDS = {
    "sgd": (RowSGD, torch.optim.SGD, {"learning_rate": 0.3}),
    "sgd-decay": (RowSGD, torch.optim.SGD, {"learning_rate": 0.3, "weight_decay": 0.1}),
    "momentum": (RowMomentum, torch.optim.SGD, {"learning_rate": 0.1, "momentum": 0.9}),
    "momentum-decay": (RowMomentum, torch.optim.SGD, {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    "adamw": (RowAdamW, torch.optim.AdamW, {"learning_rate": 0.05}),
    "adamw-decay": (RowAdamW, torch.optim.AdamW, {"learning_rate": 0.05, "weight_decay": 0.2}),
    "adamw-betas": (RowAdamW, torch.optim.AdamW, {"learning_rate": 0.05, "betas": (0.5, 0.6), "epsilon": 1e-3}),
    "adagrad": (RowAdagrad, torch.optim.Adagrad, {"learning_rate": 0.2}),
    "adagrad-decay": (RowAdagrad, torch.optim.Adagrad, {"learning_rate": 0.2, "weight_decay": 0.1}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
with_state = pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("sgd")])


class TorchReference:
    """An optimizer of torch.optim on one parameter; decay is decoupled by hand where torch's own is not."""

    def __init__(self, kind, values):
        _, torch_class, settings = KINDS[kind]
        names = {"learning_rate": "lr", "epsilon": "eps"}
        settings = {names.get(name, name): value for name, value in settings.items()}
        decay = settings.pop("weight_decay", 0.0)
        own = torch_class is torch.optim.AdamW
        self.shrink = 1.0 if own else 1 - settings["lr"] * decay
        self.parameter = torch.nn.Parameter(values.clone())
        self.optimizer = torch_class([self.parameter], weight_decay=decay if own else 0.0, **settings)

    def step(self, gradient):
        self.parameter.data.mul_(self.shrink)
        self.parameter.grad = gradient.clone()
        self.optimizer.step()


def table(seed=0):
    return torch.randn(NUM_SLOTS, VALUE_DIM, generator=torch.Generator().manual_seed(seed))


def gradients(steps, seed=1):
    """Gradients of very different sizes, (steps, NUM_SLOTS, VALUE_DIM)."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 10.0 ** torch.randint(-4, 2, (steps, NUM_SLOTS, 1), generator=generator)
    return torch.randn(steps, NUM_SLOTS, VALUE_DIM, generator=generator) * sizes


@every_kind
def test_a_row_that_is_always_selected_moves_as_in_torch_optim(kind):
    row_class, _, settings = KINDS[kind]
    values, slots = table(), torch.tensor([1, 4, 5, 11])
    mine, reference = row_class(values, **settings), TorchReference(kind, values[slots])
    for gradient in gradients(steps=30):
        mine.step(slots, gradient[slots])
        reference.step(gradient[slots])
        torch.testing.assert_close(values[slots], reference.parameter.data, rtol=1e-5, atol=1e-6)


@every_kind
def test_each_row_moves_as_if_its_own_torch_optimizer_stepped_only_when_it_is_selected(kind):
    row_class, _, settings = KINDS[kind]
    values = table()
    references = [TorchReference(kind, row) for row in values]
    mine, rng = row_class(values, **settings), random.Random(0)
    for gradient in gradients(steps=60):
        slots = random_unique(rng, NUM_SLOTS, rng.randrange(0, 6))
        mine.step(slots, gradient[slots])
        for slot in slots.tolist():
            references[slot].step(gradient[slot])
        expected = torch.stack([reference.parameter.data for reference in references])
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


@with_state
def test_state_exists_only_for_rows_that_were_ever_selected_and_counts_their_steps(kind):
    row_class, _, settings = KINDS[kind]
    values = torch.zeros(10_000, VALUE_DIM)
    mine, selected = row_class(values, **settings), Counter()
    rng = random.Random(2)
    for _ in range(20):
        slots = random_unique(rng, 300, 6)
        selected.update(slots.tolist())
        mine.step(slots, torch.ones(6, VALUE_DIM))
        state = mine.state_dict()
        assert dict(zip(state["slots"].tolist(), state["steps"].tolist(), strict=True)) == selected
        assert state["moments"].shape[1:] == (len(selected), VALUE_DIM)
        sizes = [tensor.numel() for tensor in vars(mine._state).values() if isinstance(tensor, torch.Tensor)]
        assert (
            max(sizes) <= 2 * (len(selected) + 7) * VALUE_DIM * mine.num_moments
        )  # grows by doubling; no map of slots


@pytest.mark.parametrize("free", [True, False], ids=["sizes known", "on an accelerator"])
@with_state
def test_state_has_room_for_all_slots_of_the_table_and_never_for_more(kind, free, monkeypatch):
    row_class, _, settings = KINDS[kind]
    monkeypatch.setattr("smf.memory.row_state.sizes_are_free", lambda device: free)
    values = table()
    references = [TorchReference(kind, values[slot]) for slot in range(NUM_SLOTS)]
    mine, rng = row_class(values, **settings), random.Random(5)
    for gradient in gradients(steps=40):
        slots = random_unique(rng, NUM_SLOTS, rng.choice((1, 5, NUM_SLOTS)))
        mine.step(slots, gradient[slots])
        for slot in slots.tolist():
            references[slot].step(gradient[slot])
        assert mine._state.moments_MEV.shape[1] <= NUM_SLOTS + 1  # one is always free
    assert mine._state.moments_MEV.shape[1] == NUM_SLOTS + 1
    expected = torch.stack([reference.parameter.data for reference in references])
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)
    resumed = row_class(values.clone(), **settings)
    resumed.load_state_dict(mine.state_dict())
    for optimizer in (mine, resumed):
        optimizer.step(torch.arange(NUM_SLOTS), gradients(steps=1, seed=6)[0])
    assert same_bytes(mine.values_SV, resumed.values_SV)


@with_state
def test_a_repeated_slot_takes_one_step(kind):
    """On an accelerator lists of slots are filled up with their last entry."""
    row_class, _, settings = KINDS[kind]
    once, repeated = table(), table()
    mine, other = row_class(once, **settings), row_class(repeated, **settings)
    for gradient, slots in zip(gradients(steps=3), ([2, 9], [2, 5, 9], [3]), strict=True):
        mine.step(torch.tensor(slots), gradient[slots])
        more = slots + slots[-1:] * 3
        other.step(torch.tensor(more), gradient[more])
    assert same_bytes(once, repeated)
    for name, tensor in mine.state_dict().items():
        assert same_bytes(tensor, other.state_dict()[name])


@every_kind
def test_a_resumed_optimizer_goes_on_bit_for_bit(kind):
    row_class, _, settings = KINDS[kind]
    values, rng = table(), random.Random(3)
    mine = row_class(values, **settings)
    draws = [(random_unique(rng, NUM_SLOTS, rng.randrange(0, 6)), gradient) for gradient in gradients(steps=30)]
    for slots, gradient in draws[:15]:
        mine.step(slots, gradient[slots])
    copied = values.clone()
    resumed, state = row_class(copied, **settings), mine.state_dict()
    resumed.load_state_dict(state)
    for slots, gradient in draws[15:]:
        mine.step(slots, gradient[slots])
        resumed.step(slots, gradient[slots])
        assert same_bytes(values, copied)
    fresh = row_class(table(), **settings)
    fresh.load_state_dict(state)  # steps do not change a state that was given out, or taken over
    for name, tensor in fresh.state_dict().items():
        assert same_bytes(tensor, state[name])


def test_the_state_of_another_optimizer_is_refused():
    adamw, momentum = (KINDS[kind][0](table(), **KINDS[kind][2]) for kind in ("adamw", "momentum"))
    for optimizer in (adamw, momentum):
        optimizer.step(torch.tensor([1, 2]), torch.ones(2, VALUE_DIM))
    with pytest.raises(CheckpointError, match=r"state has shapes .*moments.*needs .*learn the stream again"):
        momentum.load_state_dict(adamw.state_dict())
    with pytest.raises(CheckpointError, match=r"needs"):
        momentum.load_state_dict({})
    with pytest.raises(CheckpointError, match=r"keeps no state.*moments"):
        RowSGD(table(), learning_rate=0.1).load_state_dict(adamw.state_dict())


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
