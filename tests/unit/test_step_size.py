"""Polyak's step and stopping: how far a step goes, against the formula by hand, and when none is taken."""

import pytest
import torch

from smf.errors import ConfigError
from smf.experiment import Experiment
from smf.memory import RowGradient
from smf.memory.polyak import polyak_share
from smf.methods.method import language_model_loss
from smf.streams.batches import facts_batch
from tests.helpers import FACTS, MAX_LENGTH, same_bytes, start_method, tokenizer
from tests.unit.test_experiment import SCHEMA, tiny


def batch_of(fact):
    return facts_batch(tokenizer(), [fact], loss_on="answer", max_length=MAX_LENGTH)


def tables(method):
    return {block: layer.values_SV.detach().clone() for block, layer in method.model.memory_layers().items()}


def row_gradient(slots, rows):
    gradient = RowGradient()
    gradient.select(torch.tensor(slots))
    gradient.gradient_RV = torch.tensor(rows)
    return gradient


def dense_gradients(method, batch):
    """The gradient of whole tables, by autograd on a model whose layers select nothing."""
    layers = method.model.memory_layers()
    for layer in layers.values():
        layer.row_gradient = None
        layer.values_SV.requires_grad_(True)
    loss = language_model_loss(method.model, batch)
    gradients = torch.autograd.grad(loss, [layer.values_SV for layer in layers.values()])
    return loss.item(), dict(zip(layers, gradients, strict=True))


@pytest.mark.parametrize(("damping", "polyak"), [(None, 1.0), (0.3, 1.0), (0.3, 0.5)])
def test_a_polyak_step_aims_where_the_linearised_loss_is_zero(damping, polyak):
    """η = c · loss / Σ s_i |g_i|², c being the share of the step, s_i that of slot i in the trust region."""
    batch = batch_of(FACTS[0])
    options = {"selector": "none", "damping": damping, "learning_rate": 1e9}
    loss, gradients = dense_gradients(start_method("smf", **options), batch)
    method = start_method("smf", polyak=polyak, **options)
    before = tables(method)
    method.step(batch)
    moved = {block: before[block] - after for block, after in tables(method).items()}
    fallen = sum((moved[block] * gradient).sum().item() for block, gradient in gradients.items())
    assert fallen == pytest.approx(polyak * loss, rel=1e-4)  # to first order
    for block, gradient in gradients.items():
        shares_S = torch.ones(len(gradient)) if damping is None else method._regions.layers[block].shares(slice(None))
        rates_S = moved[block].norm(dim=1) / (shares_S * gradient.norm(dim=1))
        rates = rates_S[gradient.norm(dim=1) > 0]
        assert rates.max().item() == pytest.approx(rates.min().item(), rel=1e-2)


def test_a_polyak_step_is_no_longer_than_the_learning_rate_allows():
    methods = [start_method("smf", polyak=share, learning_rate=1e-6) for share in (None, 1.0)]
    for method in methods:
        method.step(batch_of(FACTS[0]))
    fixed, polyak = (method.delta() for method in methods)
    assert all(same_bytes(fixed[name], polyak[name]) for name in fixed)


def test_a_row_that_stands_there_twice_counts_once():
    loss = torch.tensor(3.0)
    rows = [[1.0, 2.0], [0.5, -1.0]]
    once, twice = row_gradient([1, 4], rows), row_gradient([1, 4, 4], [*rows, rows[1]])
    shares = [polyak_share(loss, [part], [part.gradient_RV], 10.0) for part in (once, twice)]
    assert shares[0].item() == shares[1].item() == pytest.approx(3 / (10 * 6.25))


@pytest.mark.parametrize(("loss", "expected"), [(0.0, 0.0), (5.0, 1.0)])
def test_without_a_gradient_the_share_is_a_number(loss, expected):
    nothing = row_gradient([2], [[0.0, 0.0]])
    assert polyak_share(torch.tensor(loss), [nothing], [nothing.gradient_RV], 10.0).item() == expected


def test_polyak_steps_learn_in_fewer_steps_what_a_small_rate_does_not():
    losses = {}
    for share, rate in ((None, 1.0), (1.0, 1e9)):
        method = start_method("smf", selector="none", polyak=share, learning_rate=rate)
        losses[share] = [method.step(batch_of(FACTS[0])).loss.item() for _ in range(8)][-1]
    assert losses[1.0] < losses[None] - 1


def test_a_batch_that_is_known_is_not_trained_and_costs_nothing_more():
    method = start_method("smf", selector="none", polyak=1.0, learning_rate=1e9, stop_loss=5.0)
    batch = batch_of(FACTS[0])
    reports = [method.step(batch) for _ in range(20)]
    losses = [report.loss.item() for report in reports]
    first = next(step for step, loss in enumerate(losses) if loss < 5.0)
    assert first < 15
    assert losses[first:] == [losses[first]] * (20 - first)
    assert [report.num_tokens for report in reports] == [batch.num_tokens] * (first + 1) + [0] * (19 - first)
    assert all(not report.num_slots for report in reports[first:])
    before = tables(method)
    method.step(batch)
    assert all(same_bytes(before[block], after) for block, after in tables(method).items())
    assert method.step(batch_of(FACTS[1])).loss > 5.0  # another batch is learned again
    assert any(not same_bytes(before[block], after) for block, after in tables(method).items())


@pytest.mark.parametrize("settings", [{"optimizer": "adamw"}, {"momentum": 0.9}])
def test_polyak_steps_are_along_the_gradient_only(settings):
    with pytest.raises(ConfigError, match="use sgd without momentum"):
        start_method("smf", polyak=1.0, **settings)


def test_settings_that_do_not_agree_are_refused_before_any_work():
    with pytest.raises(ConfigError, match=r"^methods\.smf_tfidf: damping shortens steps"):
        Experiment(tiny(methods={"smf_tfidf": {"damping": 0.1, "optimizer": "adamw"}}), SCHEMA)
