"""Sparse finetuning of the base model's own value vectors, against dense autograd and torch's own optimizers."""

import copy

import pytest
import torch
import torch.nn.functional as F
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PhiConfig, PhiForCausalLM

from smf.config.experiment import Experiment
from smf.errors import CheckpointError, ConfigError
from smf.methods.registry import method_class
from smf.streams.fact_batches import facts_batch
from tests.helpers import (
    FACTS,
    FAMILIES,
    MAX_LENGTH,
    base_model,
    copy_of_state,
    memory_model,
    same_bytes,
    start_method,
    texts,
    tokenizer,
)
from tests.unit.test_experiment import tiny

TOP_T = 6
OPTIMIZERS = {
    "sgd-decay": {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.1},
    "momentum": {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    "adamw-decay": {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    "polyak": {"learning_rate": None},
}
SELECTORS = {"gradient": {}, "fisher": {"selector": "fisher", "fisher_sequences": 3}, "random": {"selector": "random"}}


def batch_of(fact):
    return facts_batch(tokenizer(), [fact], loss_on="answer", max_length=MAX_LENGTH)


def values_of(model):
    """Each block's value vectors (U, D), as copies."""
    return {block: layer.mlp.down_proj.weight.detach().T.clone() for block, layer in enumerate(model.model.layers)}


def changed_units(before, after):
    """(block, unit) of every vector of which any bit changed."""
    return {
        (block, unit)
        for block, values_UD in before.items()
        for unit in range(len(values_UD))
        if not same_bytes(values_UD[unit], after[block][unit])
    }


def dense(model, batch):
    """The batch's loss, and its gradient for every value vector (U, D), by autograd on a copy of the model."""
    model = copy.deepcopy(model).requires_grad_(True)
    logits_BTV = model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT).logits
    loss = F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), batch.labels_BT[:, 1:].flatten(), ignore_index=-100)
    weights = [layer.mlp.down_proj.weight for layer in model.model.layers]
    gradients = torch.autograd.grad(loss, weights)
    return loss.item(), {block: gradient.T for block, gradient in enumerate(gradients)}


def norms(gradients, blocks=(0, 1, 2)):
    return {
        (block, unit): float(gradients[block][unit].double().square().sum())
        for block in blocks
        for unit in range(len(gradients[block]))
    }


def best(scores, number=TOP_T):
    return set(sorted(scores, key=scores.get, reverse=True)[:number])


# What a step changes


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("selector", SELECTORS)
def test_a_batch_changes_exactly_its_own_value_vectors_and_nothing_else(selector, optimizer):
    """Neither stale moments nor decay move the others, also when vectors with momentum are selected once more."""
    method = start_method("sparse", top_t=TOP_T, **SELECTORS[selector], **OPTIMIZERS[optimizer])
    ever = set()
    for fact in (*FACTS, FACTS[0]):
        batch, before, values = batch_of(fact), copy_of_state(method.model), values_of(method.model)
        for _ in range(3):
            method.step(batch)
        changed = changed_units(values, values_of(method.model))
        assert len(changed) == TOP_T
        ever |= changed
        for name, tensor in method.model.state_dict().items():
            assert "down_proj" in name or same_bytes(tensor, before[name]), name
    delta = method.delta()
    assert ever == {(block, int(unit)) for block in range(3) for unit in delta[f"{block}.units"]}
    assert sum(tensor.numel() for name, tensor in delta.items() if "values" in name) == 32 * len(ever)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw"])
@pytest.mark.parametrize("micro_batch_size", [None, 1])
def test_the_selected_vectors_take_the_steps_of_a_masked_dense_optimizer(optimizer, micro_batch_size):
    """Autograd on whole weights, the gradient outside the selection set to zero, and torch's optimizer."""
    options = {"optimizer": optimizer, "learning_rate": 0.01}
    if optimizer == "momentum":
        options = {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.9}
    method, model = start_method("sparse", model=base_model().double(), top_t=TOP_T, **options), base_model().double()
    method.micro_batch_size = micro_batch_size
    weights = [layer.mlp.down_proj.weight for layer in model.model.layers]
    reference = (
        torch.optim.AdamW(weights, lr=0.01, weight_decay=0.0)
        if optimizer == "adamw"
        else torch.optim.SGD(weights, lr=0.01, momentum=options.get("momentum", 0.0))
    )
    batch = batch_of(FACTS[0])
    chosen = best(norms(dense(model, batch)[1]))
    for _ in range(4):
        loss, gradients = dense(model, batch)
        for block, weight in enumerate(weights):
            mask_U = torch.tensor([(block, unit) in chosen for unit in range(weight.shape[1])])
            weight.grad = gradients[block].T * mask_U
        reference.step()
        assert float(method.step(batch).loss) == pytest.approx(loss, rel=1e-9)
        for block, values_UD in values_of(method.model).items():
            torch.testing.assert_close(values_UD, values_of(model)[block], rtol=1e-9, atol=1e-12)
    assert changed_units(values_of(base_model().double()), values_of(method.model)) == chosen


# What is selected


def test_the_gradient_picks_the_vectors_with_the_largest_norm_of_the_blocks_that_may_train():
    for blocks in ((0, 1, 2), (2, 0)):
        method = start_method("sparse", top_t=TOP_T, blocks=list(blocks))
        for fact in FACTS:
            expected = best(norms(dense(method.model, batch_of(fact))[1], blocks))
            before = values_of(method.model)
            method.step(batch_of(fact))
            assert changed_units(before, values_of(method.model)) == expected


@pytest.mark.parametrize("damping", [0.01, 1.0])
def test_fisher_picks_by_the_square_over_that_of_single_background_sequences(damping):
    model, drawn, sums = base_model(), texts(), {}
    for _ in range(4):
        text = drawn.draw(1)
        for place, square in norms(dense(model, text)[1]).items():
            sums[place] = sums.get(place, 0.0) + square * text.num_labels**2  # of the sum over tokens, not the mean
    mean = sum(sums.values()) / len(sums)
    squares = norms(dense(model, batch_of(FACTS[0]))[1])
    expected = best({place: square / (sums[place] / mean + damping) for place, square in squares.items()})
    assert expected != best(squares)
    method = start_method("sparse", top_t=TOP_T, selector="fisher", fisher_sequences=4, fisher_damping=damping)
    report = method.step(batch_of(FACTS[0]))
    assert changed_units(values_of(model), values_of(method.model)) == expected
    same = texts()
    read = sum(same.draw(1).num_tokens for _ in range(4))
    assert report.num_tokens == batch_of(FACTS[0]).num_tokens + read
    assert method.step(batch_of(FACTS[1])).num_tokens == batch_of(FACTS[1]).num_tokens  # measured once


def test_random_picks_others_for_each_batch_and_seed_and_the_same_for_one_seed():
    picked = []
    for seed in (0, 0, 1):
        method = start_method("sparse", seed=seed, top_t=TOP_T, selector="random")
        for fact in FACTS[:2]:
            before = values_of(method.model)
            method.step(batch_of(fact))
            picked.append(changed_units(before, values_of(method.model)))
    assert picked[:2] == picked[2:4]
    assert len({frozenset(each) for each in picked}) == 4


def test_only_the_selector_that_reads_background_text_asks_for_it():
    reads = method_class("sparse").reads_texts
    assert reads({"selector": "fisher"})
    assert not reads({"selector": "gradient"})
    assert not reads({"selector": "random"})
    method = method_class("sparse")(base_model(), {"selector": "fisher"}, None, 0)
    with pytest.raises(ConfigError, match="learns with background text; none was given"):
        method.step(batch_of(FACTS[0]))


# How long a step is


@pytest.mark.parametrize("polyak", [1.0, 0.5])
def test_a_polyak_step_aims_where_the_linearised_loss_is_zero(polyak):
    """η = c · loss / Σ |g_i|² over the selected vectors, as for slots."""
    method = start_method("sparse", top_t=TOP_T, polyak=polyak, learning_rate=None)
    batch, before = batch_of(FACTS[0]), values_of(method.model)
    loss, gradients = dense(method.model, batch)
    squares = norms(gradients)
    rate = polyak * loss / sum(squares[place] for place in best(squares))
    method.step(batch)
    for block, values_UD in values_of(method.model).items():
        for unit, value_D in enumerate(values_UD):
            step_D = rate * gradients[block][unit] if (block, unit) in best(squares) else torch.zeros(32)
            torch.testing.assert_close(value_D, before[block][unit] - step_D, rtol=1e-4, atol=1e-6)


def test_a_known_batch_takes_no_step_and_reads_nothing_more():
    method = start_method("sparse", top_t=48, learning_rate=None, stop_loss=2.5)
    batch, losses = batch_of(FACTS[0]), []
    for _ in range(40):
        before = values_of(method.model)
        report = method.step(batch)
        losses.append(float(report.loss))
        if losses[-1] < 2.5:
            break
    assert losses[-1] < 2.5 < losses[0]
    assert not changed_units(before, values_of(method.model))
    assert method.step(batch).num_tokens == 0
    assert all(layer.mlp.down_proj.weight.grad is None for layer in method.model.model.layers)


# Low precision, deltas, resuming


def test_steps_that_bfloat16_cannot_hold_add_up_in_a_copy_that_resuming_keeps():
    options = {"top_t": TOP_T, "optimizer": "adamw", "learning_rate": 1e-5}
    methods = [start_method("sparse", model=base_model().bfloat16(), **options) for _ in range(3)]
    whole, first, second = methods
    batches = [batch_of(fact) for fact in (FACTS[0], FACTS[1], FACTS[0])]
    for batch in batches:
        whole.step(batch)
    for batch in batches[:2]:
        first.step(batch)
    second.load_state_dict(first.state_dict(), first.delta())
    second.step(batches[2])
    hidden = 0
    for block, table_UD in whole._values.tables.items():
        weight_UD = whole.model.model.layers[block].mlp.down_proj.weight.detach().T
        assert table_UD.dtype == torch.float32
        assert same_bytes(table_UD.bfloat16(), weight_UD)
        assert same_bytes(table_UD, second._values.tables[block])
        hidden += int((table_UD != weight_UD.float()).sum())
    assert hidden > 100
    for name, tensor in whole.model.state_dict().items():
        assert same_bytes(tensor, second.model.state_dict()[name])


@pytest.mark.parametrize("selector", SELECTORS)
def test_a_resumed_stream_selects_and_steps_as_if_it_had_not_stopped(selector):
    options = {"top_t": TOP_T, **SELECTORS[selector], "learning_rate": None}
    whole, first, second = (start_method("sparse", **options) for _ in range(3))
    for fact in FACTS:
        whole.step(batch_of(fact))
    for fact in FACTS[:2]:
        first.step(batch_of(fact))
    second.load_state_dict(first.state_dict(), first.delta())
    report = second.step(batch_of(FACTS[2]))
    assert report.num_tokens == batch_of(FACTS[2]).num_tokens  # the information is not measured again
    for name, tensor in whole.delta().items():
        assert same_bytes(tensor, second.delta()[name]), name


def test_a_delta_is_loaded_without_the_settings_that_made_it():
    method = start_method("sparse", top_t=TOP_T, blocks=[1])
    method.step(batch_of(FACTS[0]))
    other = start_method("sparse", top_t=2 * TOP_T, selector="random")
    other.step(batch_of(FACTS[1]))
    holder = method_class("sparse").holder(base_model(), other.settings)
    for source in (other, method, other, method):
        holder.load(source.delta())
        for name, tensor in source.model.state_dict().items():
            assert same_bytes(tensor, holder.model.state_dict()[name]), name


# Models and settings that do not fit


def parts_of(family):
    """A tiny model, and the map whose columns are its value vectors."""
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    if family == "phi":
        model = PhiForCausalLM(PhiConfig(**sizes, num_attention_heads=4))
        return model, model.model.layers[1].mlp.fc2
    if family == "gpt_neox":
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, num_attention_heads=4))
        return model, model.gpt_neox.layers[1].mlp.dense_4h_to_h
    model = base_model(family)
    return model, model.model.layers[1].mlp.down_proj


@pytest.mark.parametrize("family", [*FAMILIES, "phi", "gpt_neox"])
def test_the_value_vectors_of_every_family_are_found(family):
    model, value_map = parts_of(family)
    before = value_map.weight.detach().clone()
    method = method_class("sparse")(model.eval(), {"blocks": [1], "top_t": 3}, None, 0)
    method.step(batch_of(FACTS[0]))
    moved = (value_map.weight.detach() != before).any(0).nonzero().squeeze(1)
    assert moved.tolist() == method.delta()["1.units"].tolist()
    assert len(moved) == 3


def test_a_network_without_such_a_map_is_refused():
    with pytest.raises(CheckpointError, match=r"the MemoryBlock of block 0 has no linear map down_proj or fc2 or"):
        start_method("sparse", model=memory_model().language_model)


MISFITS = {
    "block": ({"blocks": [0, 3]}, "blocks names block 3, but the model has blocks 0 to 2"),
    "top_t": ({"top_t": 145}, "top_t is 145, but 3 blocks with intermediate_size 48 have 144 value vectors"),
    "top_t of blocks": ({"top_t": 97, "blocks": [0, 1]}, "top_t is 97, but 2 blocks .* have 96 value vectors"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_settings_that_do_not_fit_the_model_are_refused(case):
    settings, message = MISFITS[case]
    with pytest.raises(ConfigError, match=message):
        start_method("sparse", **settings)


def test_a_plan_refuses_them_before_anything_runs():
    config = tiny(methods={"own_values": {"kind": "sparse", "blocks": [7]}})
    with pytest.raises(ConfigError, match=r"methods\.own_values\.blocks names block 7, but the model has blocks 0 to"):
        Experiment(config)
    assert Experiment(tiny(methods={"own_values": {"kind": "sparse", "top_t": 8}})).start("own_values") == "base"
