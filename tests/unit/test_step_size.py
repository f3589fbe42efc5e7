"""Polyak's step and stopping: how far a step goes, against the formula by hand, and when none is taken."""

import re

import pytest
import torch
import yaml

from smf.config.experiment import Experiment
from smf.errors import ConfigError, TrainingError
from smf.memory import RowGradient
from smf.memory.polyak import LONGEST, StepShares, polyak_rate, polyak_share
from smf.methods.loss import language_model_loss
from smf.methods.method import StepReport
from smf.selection.names import SELECTORS
from smf.streams.fact_batches import facts_batch
from smf.training.learn import StreamSettings, learn_with
from tests.helpers import (
    FACTS,
    MAX_LENGTH,
    memory_model,
    method_settings,
    same_bytes,
    start_method,
    tokenizer,
)
from tests.unit.test_experiment import CONFIGS, tiny


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


@pytest.mark.parametrize("bound", [None, 1e9], ids=["no bound", "a bound out of reach"])
@pytest.mark.parametrize(("damping", "polyak"), [(None, 1.0), (0.3, 1.0), (0.3, 0.5)])
def test_a_polyak_step_aims_where_the_linearised_loss_is_zero(damping, polyak, bound):
    """η = c · loss / Σ s_i |g_i|², c being the share of the step, s_i that of slot i in the trust region."""
    batch = batch_of(FACTS[0])
    options = {"selector": "none", "damping": damping, "learning_rate": bound}
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


def test_a_step_without_a_bound_is_that_under_a_bound_that_is_not_reached():
    moved = []
    for rate in (None, 1e4):
        method = start_method("smf", selector="tfidf", polyak=1.0, learning_rate=rate)
        before = tables(method)
        method.step(batch_of(FACTS[0]))
        moved.append({block: after - before[block] for block, after in tables(method).items()})
    free, bounded = moved
    assert all(free[block].any() for block in free)
    for block in free:
        torch.testing.assert_close(free[block], bounded[block], rtol=1e-4, atol=1e-6)


def test_without_a_bound_the_rate_is_the_loss_over_the_sum_of_gradients_times_directions():
    """Two layers: ⟨(1, 2), (0.5, 1)⟩ + ⟨(0.5, -1), (0.5, -1)⟩ + ⟨(3, 0), (0.25, 4)⟩ = 2.5 + 1.25 + 0.75 = 4.5."""
    gradients = [row_gradient([1, 4, 4], [[1.0, 2.0], [0.5, -1.0], [0.5, -1.0]]), row_gradient([2], [[3.0, 0.0]])]
    directions = [torch.tensor([[0.5, 1.0], [0.5, -1.0], [0.5, -1.0]]), torch.tensor([[0.25, 4.0]])]
    assert polyak_rate(torch.tensor(3.0), gradients, directions).item() == pytest.approx(3.0 / 4.5)


def test_a_schedule_scales_a_step_without_a_bound():
    moved = {}
    for share in (1.0, 0.25, 0.0):
        method = start_method("smf", learning_rate=None)
        before, method.rate_share = tables(method), share
        method.step(batch_of(FACTS[0]))
        moved[share] = torch.cat([(after - before[block]).flatten() for block, after in tables(method).items()])
    torch.testing.assert_close(moved[0.25], 0.25 * moved[1.0], rtol=1e-3, atol=1e-6)
    assert moved[1.0].any()
    assert not moved[0.0].any()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("gate", [0.0, 1e-44, 1e-30, 1e-15])
def test_a_shut_output_gives_no_step_that_is_not_finite(gate, dtype):
    """Gradients of 1e-15 still tell a direction; much smaller ones are rounding, and nothing moves."""
    model = memory_model(value_dtype=dtype)
    for layer in model.memory_layers().values():
        layer.output.weight.data.mul_(gate)
    method = start_method("smf", model=model, learning_rate=None)
    before = tables(method)
    for _ in range(3):
        assert method.step(batch_of(FACTS[0])).loss.isfinite()
    assert all(after.isfinite().all() for after in tables(method).values())
    stayed = all(same_bytes(before[block], after) for block, after in tables(method).items())
    assert stayed == (gate < 1e-20)


@pytest.mark.parametrize("loss", [0.0, 5.0, float("inf"), float("nan")])
@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-25])
def test_without_a_direction_the_rate_is_zero(size, loss):
    nothing = row_gradient([2], [[size, 0.0]])
    assert polyak_rate(torch.tensor(loss), [nothing], [nothing.gradient_RV]).item() == 0.0


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
    for share, rate in ((None, 1.0), (1.0, None)):
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
    with pytest.raises(ConfigError, match="use sgd without momentum, or polyak: null and a learning_rate"):
        start_method("smf", polyak=1.0, **settings)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("selector", SELECTORS)
def test_every_selector_learns_without_a_rate(selector, dtype):
    model = memory_model(value_dtype=dtype)
    method = start_method("smf", model=model, selector=selector, top_t=20, learning_rate=None)
    batch = batch_of(FACTS[0])
    losses = [method.step(batch).loss.item() for _ in range(12)]
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize(
    ("given", "polyak"),
    [
        ({}, 1.0),
        ({"learning_rate": None, "optimizer": "sgd", "momentum": 0.0}, 1.0),
        ({"polyak": 0.5}, 0.5),
        ({"learning_rate": 3000}, None),
        ({"learning_rate": 3000, "polyak": 1}, 1),
        ({"learning_rate": 3, "optimizer": "adamw"}, None),
        ({"learning_rate": 3, "momentum": 0.9}, None),
        ({"learning_rate": 3, "polyak": None}, None),
    ],
)
@pytest.mark.parametrize("kind", ["smf", "smf_replay"])
def test_a_method_takes_polyaks_step_unless_something_else_makes_its_length(kind, given, polyak):
    config = tiny()
    config["methods"]["mine"] = {"kind": kind, **given}
    experiment = Experiment(config)
    assert experiment.runs["mine"]["polyak"] == polyak
    assert experiment.runs["mine"]["learning_rate"] == given.get("learning_rate")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"polyak": None}, "says how long a step is; write a learning_rate, or leave polyak out: its steps need none"),
        ({"optimizer": "adamw"}, "the steps of optimizer adamw need a learning_rate; write one, or use sgd without"),
        ({"momentum": 0.9}, "the steps of optimizer sgd with momentum need a learning_rate; write one, or use sgd"),
        ({"weight_decay": 0.1}, "weight_decay is a share of the learning_rate, and there is none; write one, or"),
    ],
)
def test_a_step_that_needs_a_rate_and_has_none_is_refused_with_what_to_write(given, message):
    config = tiny()
    config["methods"]["mine"] = {"kind": "smf", **given}
    with pytest.raises(ConfigError, match=rf"^methods\.mine: .*{re.escape(message)}"):
        Experiment(config)


def test_learning_rates_swept_for_a_method_without_one_bound_its_steps():
    mine = {"kind": "smf", "sweep": [10, 100]}
    experiment = Experiment(tiny(methods={"mine": mine}, sweeps={"mine": {"polyak": [0.5, 1]}}))
    swept = [run for run, (method, _) in experiment.sweep.items() if method == "mine"]
    assert [experiment.runs[run]["learning_rate"] for run in swept] == [10, 100]
    tried = [run for run, trial in experiment.trials.items() if trial.method == "mine"]
    assert [experiment.runs[run]["polyak"] for run in [*swept, *tried]] == [1.0, 1.0, 0.5, 1]
    assert all(experiment.runs[run]["learning_rate"] is None for run in tried)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_one_entry_without_a_rate_serves_every_shipped_experiment(path, tmp_path):
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    if config["base"]["source"] == "checkpoint":
        (tmp_path / "config.json").write_text('{"num_hidden_layers": 30}')
        config["base"]["checkpoint"] = str(tmp_path)
    if config["data"]["source"] == "question_sets":
        config["data"]["question_sets"]["data_root"] = None  # the files are not part of the repository
    others = Experiment(config)
    config["methods"]["mine"] = {"kind": "smf", "selector": "none", "damping": 0.1}
    experiment = Experiment(config)
    assert experiment.runs["mine"] == {
        **method_settings("smf", selector="none", damping=0.1, learning_rate=None),
        "kind": "smf",
    }
    assert "mine" in experiment.rate_free
    assert "mine" not in {*experiment.untuned, *experiment.rates}
    assert {name: run for name, run in experiment.runs.items() if not name.startswith("mine")} == others.runs


def test_a_loss_that_is_not_finite_names_what_shortens_steps_without_a_rate():
    method = start_method("smf", learning_rate=None)
    method.step = lambda batch: StepReport(torch.tensor(float("nan")), num_tokens=1)
    settings = StreamSettings(steps_per_fact=1, loss_on="answer", snapshots=(), max_length=MAX_LENGTH)
    with pytest.raises(TrainingError, match=r"lower the method's polyak \(1\.0\), or give a learning_rate as a bound"):
        learn_with(method, tokenizer(), FACTS, settings, lambda *_: None)


def test_settings_that_do_not_agree_are_refused_before_any_work():
    with pytest.raises(ConfigError, match=r"^methods\.smf_tfidf: damping shortens steps"):
        Experiment(tiny(methods={"smf_tfidf": {"damping": 0.1, "optimizer": "adamw"}}))


def _shares(losses: list[float]) -> list[float]:
    shares = StepShares()
    return [shares.share(torch.tensor(loss)).item() for loss in losses]


def test_steps_are_halved_when_the_loss_rose_recover_as_it_falls_and_are_whole_again_on_another_batch():
    losses = [5.0, 2.0, 4.5, 4.5, 2.0, 3.5, 1.0, 0.45, 0.2, 0.09, 0.04, 0.019]
    expected = [1, 1, 0.5, 0.6, 0.72, 0.36, 0.432, 0.5184, 0.62208, 0.746496, 0.8957952, 1]
    assert _shares(losses) == pytest.approx(expected)
    method = start_method("smf", learning_rate=None)
    for fact in FACTS[:2]:
        batch = batch_of(fact)
        method.step(batch)
        assert method._lesson.shares.share(torch.tensor(0.0)).item() == 1.0
        assert method._lesson.shares.share(torch.tensor(9.0)).item() == 0.5


def test_steps_grow_beyond_whole_ones_while_each_leaves_more_than_half_of_the_loss_and_no_longer_than_the_longest():
    assert _shares([8.0, 6.0, 4.0, 1.9, 0.9, 0.5]) == pytest.approx([1, 1.2, 1.44, 1.44, 1.44, 1.728])
    slowly = _shares([8.0 * 0.9**step for step in range(12)])
    assert slowly == pytest.approx([min(1.2**step, LONGEST) for step in range(12)])
    assert slowly[-1] == LONGEST == 4


@pytest.mark.parametrize("selector", ["none", "tfidf"])
def test_steps_without_a_bound_do_not_run_away_behind_a_normalisation(selector):
    """Without halving the values of this model grow a million times in 40 steps, and nothing is learned any more."""
    method = start_method("smf", selector=selector, top_t=20, learning_rate=None)
    batch = batch_of(FACTS[2])
    losses = [method.step(batch).loss.item() for _ in range(40)]
    assert losses[-1] < 0.6 * losses[0]
    assert max(values_SV.abs().max().item() for values_SV in tables(method).values()) < 10_000
