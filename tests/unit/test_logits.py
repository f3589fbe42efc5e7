"""The loss with logits made in slices against the loss with all logits at once: same value, same gradients."""

import pytest
import torch

from smf.methods.loss import language_model_loss
from smf.models.logits import logits_of
from smf.streams.fact_batches import facts_batch
from tests.helpers import (
    FACTS,
    FAMILIES,
    MAX_LENGTH,
    base_model,
    memory_model,
    same_bytes,
    start_method,
    tokenizer,
)


def batch(loss_on="text"):
    return facts_batch(tokenizer(), [FACTS[0]], loss_on=loss_on, max_length=MAX_LENGTH)


def in_slices_of(monkeypatch, positions):
    monkeypatch.setattr("smf.models.logits.positions_at_once", lambda vocab_size: positions)


def loss_and_gradients(model, loss_on):
    """Also the most positions for which logits were made together."""
    widths = []
    head = model.get_output_embeddings()
    with head.register_forward_hook(lambda _, __, out: widths.append(out.shape[:-1].numel())):
        loss = language_model_loss(model, batch(loss_on))
        loss.backward()
    gradients = {name: tensor.grad for name, tensor in model.named_parameters() if tensor.grad is not None}
    model.zero_grad()
    return loss.detach(), gradients, max(widths)


def assert_slices_change_nothing(model, monkeypatch, loss_on="text"):
    model.eval()
    loss, gradients, together = loss_and_gradients(model, loss_on)
    in_slices_of(monkeypatch, 5)
    sliced_loss, sliced_gradients, sliced = loss_and_gradients(model, loss_on)
    assert sliced == 5 < together
    torch.testing.assert_close(sliced_loss, loss)
    assert sliced_gradients.keys() == gradients.keys()
    assert gradients
    for name, gradient in gradients.items():
        torch.testing.assert_close(sliced_gradients[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_slices_give_the_loss_and_the_gradients_of_the_whole(family, tied, monkeypatch):
    assert_slices_change_nothing(base_model(family, tied=tied), monkeypatch)


@pytest.mark.parametrize("loss_on", ["text", "answer"])
def test_slices_give_the_gradients_of_memory_layers(loss_on, monkeypatch):
    assert_slices_change_nothing(memory_model(), monkeypatch, loss_on)


def test_logits_are_capped_in_slices_as_in_whole_passes(monkeypatch):
    assert_slices_change_nothing(base_model("gemma2", final_logit_softcapping=2.0), monkeypatch)


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "lm_head"]])
def test_slices_reach_adapters_on_the_output_map(targets, monkeypatch):
    method = start_method("lora", rank=4, target_modules=targets)
    with torch.no_grad():  # adapters start at zero, where half of the gradients are zero too
        for name, parameter in method.model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    assert_slices_change_nothing(method.model, monkeypatch)


def test_every_method_steps_in_slices_as_with_the_whole(monkeypatch):
    """Also within the frozen prefix that sparse memory finetuning reuses, and over micro-batches."""
    for kind, settings in (("smf", {"top_t": 6}), ("lora", {"rank": 4, "dropout": 0.3}), ("full", {})):
        deltas = []
        for positions in (10_000, 5):
            in_slices_of(monkeypatch, positions)
            method = start_method(kind, optimizer="sgd", learning_rate=0.1, **settings)
            method.model.eval()
            method.micro_batch_size = 2
            one = batch()
            for _ in range(2):
                method.step(one)
            deltas.append(method.delta())
        assert deltas[0].keys() == deltas[1].keys()
        for name, tensor in deltas[0].items():
            torch.testing.assert_close(deltas[1][name], tensor, rtol=1e-3, atol=1e-4, msg=f"{kind}: {name}")


def test_logits_of_hidden_states_are_those_of_the_pass_and_leave_no_trace():
    model, ids = memory_model("gemma2"), torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        states = model.get_decoder()(input_ids=ids).last_hidden_state
        assert same_bytes(logits_of(model, states), expected)
        assert same_bytes(model(input_ids=ids).logits, expected)
    assert "forward" not in vars(model.get_decoder())
