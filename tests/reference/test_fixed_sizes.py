"""Steps as they run on an accelerator, where the host never waits for a result: tried on the CPU.

There lists have a size that is known beforehand and are filled up at the end. The same steps must come out, bit for
bit, and no operation may ask for a value or a size that depends on data.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from smf.memory import bags, ranking, row_sparse, row_state
from smf.selection import select
from smf.selection.names import SELECTORS
from smf.streams.fact_batches import facts_batch
from smf.training.row_sparse_optimizer import RowSparseOptimizer
from tests.helpers import (
    FACTS,
    MAX_LENGTH,
    background_counts,
    copy_of_state,
    memory_model,
    same_bytes,
    start_method,
    tokenizer,
)

OPTIMIZERS = {
    "sgd": {"optimizer": "sgd", "learning_rate": 1.0},
    "polyak": {"learning_rate": None},
    "momentum": {"optimizer": "sgd", "learning_rate": 1.0, "momentum": 0.9, "weight_decay": 0.1},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    "adagrad": {"optimizer": "adagrad", "learning_rate": 0.01},
}


def batch_of(fact):
    return facts_batch(tokenizer(), [fact], loss_on="text", max_length=MAX_LENGTH)


@pytest.fixture
def fixed_sizes(monkeypatch):
    """The paths of an accelerator, on the CPU. In place of the Triton kernel: sums over all lookups, bag by bag."""

    def bags_of_known_sizes(table, rows, weights, starts):
        """Each bag is made as ``embedding_bag`` makes it, so that its bits are the same."""
        return torch.cat(
            [
                bags.weighted_bags(
                    table,
                    rows[starts[bag] : starts[bag + 1]],
                    weights[starts[bag] : starts[bag + 1]],
                    starts[[bag, bag + 1]] - starts[bag],
                )
                for bag in range(len(starts) - 1)
            ]
        )

    for module in (ranking, row_sparse, row_state, select):
        monkeypatch.setattr(module, "sizes_are_free", lambda device: False)
    monkeypatch.setattr(row_sparse, "weighted_bags", bags_of_known_sizes)
    return monkeypatch


def learned(**settings):
    """The state after two steps on each of two facts, and on the first again; what the reports say; the method."""
    model = memory_model(num_keys=40)
    method = start_method("smf", model=model, **settings)
    reports = []
    for batch in map(batch_of, (FACTS[0], FACTS[1], FACTS[0])):
        reports += [method.step(batch), method.step(batch)]
    numbers = [{block: int(number) for block, number in report.num_slots.items()} for report in reports]
    return copy_of_state(model), numbers, method


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("selector", [selector for selector in SELECTORS if selector != "random"])
@pytest.mark.parametrize("top_t", [5, 10**5], ids=["few", "more than are read"])
def test_lists_of_known_size_give_the_same_steps(selector, optimizer, top_t, request):
    settings = {"selector": selector, "top_t": top_t, **OPTIMIZERS[optimizer]}
    expected, expected_numbers, reference = learned(**settings)
    request.getfixturevalue("fixed_sizes")
    found, numbers, method = learned(**settings)
    assert numbers == expected_numbers
    for name, tensor in expected.items():
        assert same_bytes(found[name], tensor), name
    for name, tensor in reference.state_dict().items():
        assert same_bytes(method.state_dict()[name], tensor), name
    for name, tensor in reference.delta().items():
        assert same_bytes(method.delta()[name], tensor), name


OPTIONS = {
    "weights": {"count_by": "weights"},
    "share": {"score_share": 0.5},
    "past": {"past_writes": 2.0},
    "all": {"count_by": "weights", "score_share": 0.5, "past_writes": 0.3, "document": "sequence"},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("selector", ["tfidf", "kl", "tf"])
@pytest.mark.parametrize("top_t", [5, 10**5], ids=["few", "more than are read"])
def test_options_of_the_selection_give_the_same_steps(selector, options, top_t, request):
    settings = {"selector": selector, "top_t": top_t, "learning_rate": 1.0, **OPTIONS[options]}
    expected, expected_numbers, reference = learned(**settings)
    request.getfixturevalue("fixed_sizes")
    found, numbers, method = learned(**settings)
    assert numbers == expected_numbers
    for name, tensor in expected.items():
        assert same_bytes(found[name], tensor), name
    for name, tensor in (reference.state_dict() | reference.delta()).items():
        assert same_bytes((method.state_dict() | method.delta())[name], tensor), name


class NothingWaits(TorchDispatchMode):
    """Refuses operations whose result, or its size, the host must wait for."""

    WAITING = (
        "nonzero",
        "_local_scalar_dense",
        "unique",
        "_unique2",
        "unique_consecutive",
        "masked_select",
        "bincount",
    )

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        assert name not in self.WAITING, f"the host waits for {name}"
        if name in ("index", "index_put", "index_put_"):
            masks = [index for index in args[1] if index is not None and index.dtype == torch.bool]
            assert not masks, f"the host waits for the size of a mask in {name}"
        return function(*args, **(kwargs or {}))


def sums_without_waiting(table, rows, weights, starts):
    """As many sums as the Triton kernel makes; what they hold does not matter here."""
    bag = torch.searchsorted(starts, torch.arange(len(rows)), right=True).clamp(max=len(starts) - 1) - 1
    return torch.zeros(len(starts) - 1, table.shape[1]).index_add_(0, bag, weights[:, None] * table[rows])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize(("layers", "positions"), [((1, 2), 10_000), ((0, 2), 5)], ids=str)
def test_nothing_in_a_step_waits_for_the_device(selector, optimizer, layers, positions, fixed_sizes):
    """All but the first step on a batch, in which masks and positions are made and optimizer state finds room."""
    fixed_sizes.setattr(row_sparse, "weighted_bags", sums_without_waiting)
    fixed_sizes.setattr("smf.models.logits.positions_at_once", lambda vocab_size: positions)  # at once, and in slices
    model = memory_model(num_keys=40, layers=layers)
    method = start_method("smf", model=model, selector=selector, top_t=5, **OPTIMIZERS[optimizer])
    batch = batch_of(FACTS[0])
    assert (batch.attention_mask_BT == 0).any()
    for _ in range(3):
        method.step(batch)
    with NothingWaits():
        method.step(batch)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("selector", ["tfidf", "kl"])
def test_nothing_waits_with_options_of_the_selection(selector, options, fixed_sizes):
    fixed_sizes.setattr(row_sparse, "weighted_bags", sums_without_waiting)
    model = memory_model(num_keys=40)
    method = start_method("smf", model=model, selector=selector, top_t=5, learning_rate=1.0, **OPTIONS[options])
    for batch in map(batch_of, FACTS[:2]):  # so that there is a past
        for _ in range(3):
            method.step(batch)
    with NothingWaits():
        method.step(batch)


WAITING = {
    "nonzero": lambda x: x.nonzero(),
    "bool": lambda x: bool(x.any()),
    "unique": lambda x: x.unique(),
    "mask": lambda x: x[x > 0],
}


@pytest.mark.parametrize("call", WAITING)
def test_the_probe_notices_what_waits(call):
    with pytest.raises(AssertionError, match="the host waits"), NothingWaits():
        WAITING[call](torch.ones(3))


@pytest.mark.parametrize("selector", ["none", "tfidf"])
def test_lists_of_known_size_give_the_same_steps_in_loops_of_others(selector, request):
    background = background_counts(memory_model(num_keys=40))

    def taught():
        model = memory_model(num_keys=40)
        optimizer = RowSparseOptimizer(model, lr=0.1, optimizer="adamw", selector=selector, background=background)
        for batch in map(batch_of, FACTS):
            mask_BT = batch.attention_mask_BT
            model(input_ids=batch.input_ids_BT, attention_mask=mask_BT, labels=batch.labels_BT).loss.backward()
        optimizer.step()
        return copy_of_state(model)

    expected = taught()
    request.getfixturevalue("fixed_sizes")
    found = taught()
    assert all(same_bytes(found[name], tensor) for name, tensor in expected.items())
    assert not all(same_bytes(found[name], tensor) for name, tensor in copy_of_state(memory_model(num_keys=40)).items())
