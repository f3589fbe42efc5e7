"""Muon: which parameters it steps, how long its steps are, and that a resumed stream ends at the same bits."""

import json

import pytest
import torch
import yaml

from smf.config.experiment import Experiment
from smf.errors import ConfigError
from smf.files.model_shape import BaseShape, MemoryShape
from smf.files.resume import NO_RESUME
from smf.methods.dense import DenseMethod
from smf.methods.loss import language_model_loss
from smf.methods.registry import method_class, method_kinds
from smf.training.learn import StreamSettings, learn_with
from tests.helpers import FACTS, MAX_LENGTH, base_model, memory_model, same_bytes, start_method, tokenizer
from tests.pages import example
from tests.unit.test_experiment import tiny
from tests.unit.test_methods import batch_of
from tests.unit.test_resume import LEARNING, killed_and_resumed, same_tensors

DENSE = [kind for kind in method_kinds() if issubclass(method_class(kind), DenseMethod)]
MATRICES = ("_proj.weight",)


def test_matrices_of_blocks_take_steps_of_muon_and_all_else_those_of_adamw_at_the_same_rate():
    method, model = start_method("full", optimizer="muon", learning_rate=0.01, weight_decay=0.1), base_model()
    named = dict(model.named_parameters())
    matrices = [weight for name, weight in named.items() if name.endswith(MATRICES)]
    others = [weight for name, weight in named.items() if not name.endswith(MATRICES)]
    assert len(matrices) == 7 * model.config.num_hidden_layers
    by_hand = [
        torch.optim.Muon(matrices, lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=0.01, weight_decay=0.1, fused=True),
    ]
    for place, fact in enumerate(FACTS):
        method.max_gradient_norm, method.rate_share = 0.5, 1 / (1 + place)
        batch = batch_of(fact)
        method.step(batch)
        model.zero_grad()
        language_model_loss(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        for optimizer in by_hand:
            optimizer.param_groups[0]["lr"] = 0.01 * method.rate_share
            optimizer.step()
        for name, weight in named.items():
            torch.testing.assert_close(method.model.get_parameter(name), weight, rtol=0, atol=2e-4, msg=name)


@pytest.mark.parametrize("kind", ["full", "lora", "memory_dense", "osf"])
def test_a_first_step_has_the_root_mean_square_that_carries_adamws_rates_over(kind):
    """0.2 of the rate, whatever the shape, for a gradient of full rank; the polar factor itself has it exactly."""
    method = start_method(kind, optimizer="muon", learning_rate=0.001)
    start = {name: weight.detach().clone() for name, weight in method.model.named_parameters()}
    ranks = {}
    DenseMethod._prepare(method)
    for name, weight in method.model.named_parameters():
        if weight.requires_grad:
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name)))
            ranks[name] = weight.grad
    method._update()
    muon = {id(weight) for weight in method._optimizers[0].param_groups[0]["params"]}
    for name, weight in method.model.named_parameters():
        if name not in ranks:
            assert same_bytes(weight, start[name]), name
            continue
        moved = weight.detach() - start[name]
        expected = 0.2 if id(weight) in muon else 1.0  # AdamW's first step is the sign of the gradient
        assert float(moved.square().mean().sqrt()) / 0.001 == pytest.approx(expected, rel=0.25), name
        if id(weight) in muon:
            u, _, v = torch.linalg.svd(ranks[name], full_matrices=False)
            alike = torch.nn.functional.cosine_similarity(moved.flatten(), -(u @ v).flatten(), dim=0)
            assert alike > 0.95, name


def test_tables_of_which_tokens_read_rows_are_no_matrices():
    stepped = {}
    for kind, model in (("full", base_model(tie_word_embeddings=False)), ("memory_dense", memory_model())):
        method = start_method(kind, model=model, optimizer="muon", learning_rate=0.01)
        DenseMethod._prepare(method)
        muon = {id(weight) for weight in method._optimizers[0].param_groups[0]["params"]}
        stepped[kind] = {
            name.rsplit(".", 2)[-2 if name.endswith(".weight") else -1]
            for name, weight in method.model.named_parameters()
            if id(weight) in muon
        }
    assert stepped["full"] == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert stepped["memory_dense"] == {"query", "gate", "output"}


def test_a_method_without_matrices_refuses_muon():
    method = start_method("peft", peft_type="LN_TUNING", optimizer="muon", learning_rate=0.01)
    with pytest.raises(ConfigError, match="muon steps matrices, but no parameter that trains here is one; use adamw"):
        method.step(batch_of(FACTS[0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["full", "lora", "osf"])
def test_a_killed_stream_goes_on_bit_for_bit(tmp_path, kind, dtype):
    settings = StreamSettings(steps_per_fact=2, loss_on="answer", snapshots=(2,), max_length=MAX_LENGTH, epochs=1)

    def work(resume):
        model, kept = base_model().to(dtype), {}
        method = start_method(kind, model=model, **{**LEARNING[kind], "optimizer": "muon"})
        rows = learn_with(method, tokenizer(), FACTS, settings, kept.__setitem__, resume)
        return method.delta(), json.dumps([{**row, "seconds": None} for row in rows])

    delta, rows = killed_and_resumed(tmp_path, work, 2)
    expected, expected_rows = work(NO_RESUME)
    assert same_tensors(delta, expected)
    assert rows == expected_rows


@pytest.mark.parametrize("kind", DENSE)
def test_a_footprint_counts_one_value_of_state_for_matrices_and_two_for_the_rest(kind):
    sized = {
        "lora": {"rank": 4},
        "lora_replay": {"rank": 4},
        "surprise_replay": {"slow_decay": 0.5},
        "peft": {"peft_config": {"r": 4}},
    }.get(kind, {})
    if kind == "ewc":
        sized = {"fisher_sequences": 2}
    method = start_method(kind, optimizer="muon", learning_rate=0.001, **sized)
    footprint = type(method).footprint(
        method.settings,
        BaseShape.from_transformers(base_model().config.to_dict(), "the test"),
        MemoryShape.from_config(memory_model().config.to_dict(), 32),
        num_steps=1,
        tokens_per_step=24,
    )
    method.step(batch_of(FACTS[0]))
    kept = sum(
        tensor.numel()
        for name, tensor in method.state_dict().items()
        if name.startswith("fisher.") or name.endswith(("momentum_buffer", "exp_avg", "exp_avg_sq"))
    )
    slow = sum(tensor.numel() for name, tensor in method.state_dict().items() if name.startswith("fast."))
    assert kept + slow == footprint.state


def test_the_example_of_the_page_is_a_method():
    found = Experiment(tiny(methods=yaml.safe_load(example("muon"))["methods"])).config["methods"]
    assert (found["full_muon"]["optimizer"], found["full_muon"]["weight_decay"]) == ("muon", 0.0)
