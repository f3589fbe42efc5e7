"""Gradient checkpointing: the same gradients from less memory, in training mode and in evaluation mode."""

import pytest
import torch

from smf.methods.loss import language_model_loss
from smf.models.base_networks import feed_forward_networks
from smf.models.recompute import recompute_activations
from smf.models.retrofit import retrofit
from smf.streams.fact_batches import facts_batch
from smf.training.heal import HealingSettings, heal
from tests.helpers import (
    FACTS,
    FAMILIES,
    MAX_LENGTH,
    base_model,
    encoded_text,
    logits,
    memory_model,
    memory_settings,
    same_bytes,
    start_method,
    tokenizer,
)


def batch():
    return facts_batch(tokenizer(), [FACTS[0]], loss_on="text", max_length=MAX_LENGTH)


def saved_bytes(model):
    """Bytes that a forward pass keeps for its backward pass, in tensors that are no parameters."""
    own = {parameter.data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        language_model_loss(model, batch())
    return sum(kept.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("training", [False, True], ids=["evaluation mode", "training mode"])
def test_gradients_are_those_without_recomputation(training, family):
    gradients = []
    for recompute in (False, True):
        model = base_model(family).train(training)
        if recompute:
            recompute_activations(model)
        language_model_loss(model, batch()).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.equal(gradients[1][name], gradient), name


def test_less_is_kept_for_the_backward_pass():
    plain, recomputed = base_model(), base_model()
    recompute_activations(recomputed)
    assert saved_bytes(recomputed) < saved_bytes(plain) / 2


@pytest.mark.parametrize("mode", ["additive", "replace"])
def test_passes_without_gradient_and_generation_stay_the_same(mode):
    model = memory_model(mode=mode)
    ids = torch.tensor([[5, 6, 7]])
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    before = logits(model), model.generate(input_ids=ids, **options)
    recompute_activations(model)
    assert same_bytes(logits(model), before[0])
    assert torch.equal(model.generate(input_ids=ids, **options), before[1])


@pytest.mark.parametrize("kind", ["full", "lora", "smf"])
@pytest.mark.parametrize("micro_batch_size", [None, 1])
def test_a_stream_ends_at_the_same_bits(micro_batch_size, kind):
    """For sparse memory finetuning also with the frozen prefix and the gradient of selected rows."""
    deltas = []
    for recompute in (False, True):
        model = memory_model(layers=(1, 2)) if kind == "smf" else base_model()
        if recompute:
            recompute_activations(model)
        method = start_method(kind, model=model, learning_rate=0.01)
        method.micro_batch_size = micro_batch_size
        for fact in FACTS[:2]:
            facts = facts_batch(tokenizer(), [fact], loss_on="answer", max_length=MAX_LENGTH)
            for _ in range(3):
                method.step(facts)
        deltas.append(method.delta())
    for name, tensor in deltas[0].items():
        assert same_bytes(deltas[1][name], tensor), name


@pytest.mark.parametrize("mode", ["additive", "replace"])
def test_healing_ends_at_the_same_bits(mode):
    states = []
    for recompute in (False, True):
        base = base_model()
        if recompute:
            recompute_activations(base)
        memory = memory_settings(mode=mode)
        networks = feed_forward_networks(base, memory.layers)
        model = retrofit(base, memory, 0)
        settings = HealingSettings(num_steps=3, batch_size=2, learning_rate=0.01)
        heal(model, networks, encoded_text(), settings, pad_token_id=0, calibrate=True)
        states.append(model.state_dict())
    for name, tensor in states[0].items():
        assert same_bytes(states[1][name], tensor), name
