"""Baselines against independent computations: replay, penalties, anchors, subspaces, and the memory trained densely."""

import copy

import pytest
import torch
import torch.nn.functional as F

from smf.errors import ConfigError
from smf.files.model_shape import BaseShape, MemoryShape
from smf.methods.registry import method_class
from smf.models.recompute import recompute_activations
from smf.models.retrofit import retrofit
from smf.sizing import peak_memory as memory
from smf.sizing.activations import Texts
from smf.sizing.jobs import jobs
from smf.streams.fact_batches import facts_batch
from tests.helpers import (
    FACTS,
    MAX_LENGTH,
    base_model,
    copy_of_state,
    logits,
    memory_model,
    memory_settings,
    same_bytes,
    start_method,
    texts,
    tokenizer,
    typed_settings,
)
from tests.unit.test_sizing import qwen, work_of

SGD = {"optimizer": "sgd", "learning_rate": 0.01}
ANCHORED = {"self_distillation": SGD, "lora_self_distillation": {**SGD, "rank": 4}}
REPLAY = {"full_replay": SGD, "lora_replay": {**SGD, "rank": 4}}
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
sizes = pytest.mark.parametrize("micro_batch_size", [None, 1, 2])


def batch_of(fact=FACTS[0], loss_on="text"):
    """Three sequences."""
    return facts_batch(tokenizer(), [fact], loss_on=loss_on, max_length=MAX_LENGTH)


def trained(model):
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def text_loss(model, batch):
    """The mean over labels, from all logits at once."""
    logits_BTV = model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT).logits
    return F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), batch.labels_BT[:, 1:].flatten(), ignore_index=-100)


def gradients(loss, model):
    names = trained(model)
    return dict(zip(names, torch.autograd.grad(loss, list(names.values())), strict=True))


def assert_stepped_down(method, before, gradient, rate=0.01):
    for name, parameter in trained(method.model).items():
        torch.testing.assert_close(parameter.detach(), before[name] - rate * gradient[name], msg=name, **CLOSE)


def copies(model):
    return {name: parameter.detach().clone() for name, parameter in trained(model).items()}


# Replay


@sizes
@pytest.mark.parametrize(("share", "number"), [(0.2, 1), (0.5, 3), (0.75, 9)])
@pytest.mark.parametrize("kind", REPLAY)
def test_replay_steps_down_the_stated_loss(kind, share, number, micro_batch_size):
    """L_facts + s / (1 - s) L_text, each the mean over its own labels; two steps, on texts that are drawn anew."""
    method = start_method(kind, model=base_model().double(), replay_share=share, **REPLAY[kind])
    method.micro_batch_size = micro_batch_size
    same, facts = texts(), batch_of(loss_on="answer")
    for _ in range(2):
        before = copies(method.model)
        text = same.draw(number)
        fact_loss = text_loss(method.model, facts)
        expected = gradients(fact_loss + share / (1 - share) * text_loss(method.model, text), method.model)
        report = method.step(facts)
        torch.testing.assert_close(report.loss, fact_loss.detach(), **CLOSE)
        assert report.num_tokens == facts.num_tokens + text.num_tokens
        assert_stepped_down(method, before, expected)


@pytest.mark.parametrize("kind", ["full_replay", "lora_replay", "smf_replay", *ANCHORED])
def test_however_small_the_share_is_a_step_reads_a_text(kind):
    name = "anchor_share" if kind in ANCHORED else "replay_share"
    method = start_method(kind, learning_rate=1e-3, **{name: 1e-6})
    reads = 2 if kind in ANCHORED else 1
    assert method.step(batch_of()).num_tokens == batch_of().num_tokens + reads * texts().draw(1).num_tokens


@pytest.mark.parametrize("kind", ["full_replay", "self_distillation"])
def test_text_is_read_in_passes_no_larger_than_those_of_facts(kind):
    name = "anchor_share" if kind in ANCHORED else "replay_share"
    for micro_batch_size, most in ((None, 3), (2, 2)):
        method = start_method(kind, learning_rate=1e-3, **{name: 0.8})
        method.micro_batch_size, rows = micro_batch_size, []
        with method.model.get_input_embeddings().register_forward_hook(lambda *io, r=rows: r.append(len(io[-1]))):
            method.step(batch_of())
        assert sum(rows) == 3 + 12  # what the copied start model reads is not watched
        assert max(rows) == most


def test_each_step_draws_other_texts_and_the_same_seed_the_same():
    def drawn(seed):
        method, seen = start_method("full_replay", seed=seed, learning_rate=1e-3), []
        draw = method.texts.draw
        method.texts.draw = lambda number: seen.append(draw(number)) or seen[-1]
        for _ in range(3):
            method.step(batch_of())
        return [tuple(map(tuple, text.input_ids_BT.tolist())) for text in seen]

    assert drawn(0) == drawn(0) != drawn(1)
    assert len(set(drawn(0))) == 3


@sizes
@pytest.mark.parametrize("selector", ["tfidf", "kl", "random"])
def test_sparse_replay_moves_the_slots_of_the_facts_down_both_losses(selector, micro_batch_size):
    """Beside plain sparse finetuning, which selects the same; a step by dense autograd, taken on these rows alone."""
    settings = {"selector": selector, "top_t": 6, "optimizer": "sgd", "learning_rate": 2.0}
    plain = start_method("smf", model=memory_model(num_keys=20).double(), **settings)
    model = memory_model(num_keys=20).double()
    method = start_method("smf_replay", model=model, replay_share=0.75, **settings)
    method.micro_batch_size = micro_batch_size
    dense = copy.deepcopy(model)
    for layer in dense.memory_layers().values():
        layer.row_gradient = None
        layer.values_SV.requires_grad_(True)
    (text_loss(dense, batch_of()) + 3 * text_loss(dense, texts().draw(9))).backward()
    plain.step(batch_of())
    before = copy_of_state(model)
    method.step(batch_of())
    tables = set()
    for block, layer in model.memory_layers().items():
        slots = plain.model.memory_layers()[block].row_gradient.slots_R
        assert layer.row_gradient.slots_R.tolist() == slots.tolist()
        start = dense.memory_layers()[block].values_SV
        expected = start.detach().clone()
        expected[slots] -= 2.0 * start.grad[slots]
        torch.testing.assert_close(layer.values_SV, expected, **CLOSE)
        assert not torch.equal(layer.values_SV, plain.model.memory_layers()[block].values_SV)
        tables |= {name for name, tensor in model.named_parameters() if tensor is layer.values_SV}
    for name, tensor in model.state_dict().items():
        assert name in tables or same_bytes(tensor, before[name]), name


def test_dropout_acts_on_replayed_text_too_and_is_off_after_the_step():
    method = start_method("lora_replay", learning_rate=1e-3, dropout=0.5)
    method.model.eval()
    seen = []
    [dropout, *_] = [module for name, module in method.model.named_modules() if name.endswith(".lora_dropout.default")]
    with dropout.register_forward_hook(lambda module, *_: seen.append(module.training)):
        method.step(batch_of())
    assert seen == [True, True]
    assert not any(module.training for module in method.model.modules())


@pytest.mark.parametrize("kind", ["full_replay", "lora_replay", "smf_replay", "ewc", *ANCHORED])
def test_without_text_a_delta_can_be_loaded_but_nothing_learned(kind):
    method = start_method(kind, learning_rate=1e-3)
    method.texts = None
    method.load_delta(method.delta())
    with pytest.raises(ConfigError, match="learns with background text; none was given"):
        method.step(batch_of())


def test_a_batch_that_moves_takes_along_what_was_counted_of_it():
    batch = batch_of(loss_on="answer")
    moved = batch.to("meta")  # where nothing can be counted
    assert (moved.num_labels, moved.num_tokens) == (batch.num_labels, batch.num_tokens)
    assert moved.predicting_positions_P.shape == batch.predicting_positions_P.shape
    assert moved.predictions_X2.shape == (batch.num_labels, 2)


# Elastic weight consolidation


def information(model, number):
    """The empirical Fisher information, sequence by sequence and term by term."""
    squares = {name: torch.zeros_like(parameter) for name, parameter in trained(model).items()}
    same = texts()
    for text in [same.draw(1) for _ in range(number)]:
        log_probabilities_TV = model(input_ids=text.input_ids_BT).logits[0].log_softmax(-1)
        ids = text.input_ids_BT[0].tolist()
        likelihood = sum(log_probabilities_TV[place - 1, ids[place]] for place in range(1, len(ids)))
        for name, gradient in gradients(likelihood, model).items():
            squares[name] += gradient.square() / number
    mean = torch.cat([tensor.flatten() for tensor in squares.values()]).mean()
    return {name: tensor / mean for name, tensor in squares.items()}


@sizes
def test_the_fisher_information_is_the_mean_square_of_each_sequences_own_gradient(micro_batch_size):
    method = start_method("ewc", model=base_model().double(), fisher_sequences=4, **SGD)
    method.micro_batch_size = micro_batch_size
    expected = information(base_model().double(), 4)
    report = method.step(batch_of())
    for (name, information_of_one), fisher in zip(expected.items(), method.fisher, strict=True):
        torch.testing.assert_close(fisher, information_of_one, rtol=1e-8, atol=1e-10, msg=name)
    same = texts()
    assert report.num_tokens == batch_of().num_tokens + sum(same.draw(1).num_tokens for _ in range(4))
    assert method.step(batch_of()).num_tokens == batch_of().num_tokens  # measured once


def test_consolidation_steps_down_the_stated_loss():
    method = start_method("ewc", model=base_model().double(), fisher_sequences=2, strength=0.3, **SGD)
    start, information_of = copies(method.model), information(base_model().double(), 2)
    for fact in FACTS:
        before = copies(method.model)
        away = sum(
            (information_of[name] * (parameter - start[name]).square()).sum()
            for name, parameter in trained(method.model).items()
        )
        expected = gradients(text_loss(method.model, batch_of(fact)) + 0.3 / 2 * away, method.model)
        if fact is not FACTS[0]:
            assert away > 0
        method.step(batch_of(fact))
        for name, parameter in trained(method.model).items():
            torch.testing.assert_close(parameter.detach(), before[name] - 0.01 * expected[name], rtol=1e-7, atol=1e-9)


def test_the_penalty_of_a_bfloat16_model_sees_moves_that_bfloat16_cannot_hold():
    method = start_method("ewc", model=base_model().bfloat16(), fisher_sequences=2, strength=0.5, learning_rate=1e-5)
    start = copies(method.model)
    method.step(batch_of())
    hidden = 0
    for master, fisher, (name, weight) in zip(
        method._masters, method.fisher, trained(method.model).items(), strict=True
    ):
        assert master.dtype == fisher.dtype == torch.float32
        moved = master.detach() - start[name].float()
        hidden += int(((moved != 0) & (weight.detach() == start[name])).sum())
        master.grad = None
        method.add_penalty([master if other is master else other for other in method._masters])
        torch.testing.assert_close(master.grad, 0.5 * fisher * moved, msg=name)
    assert hidden > 1000


def test_weights_that_are_held_strongly_stay_near_their_start():
    """Of the weights that text needs; the others are free."""
    moves = {}
    for strength in (0.0, 1e6):
        method = start_method("ewc", fisher_sequences=9, strength=strength, learning_rate=1e-3)
        start = copies(method.model)
        for _ in range(30):
            loss = method.step(batch_of()).loss
        away = [(weight.detach() - start[name]).abs() for name, weight in trained(method.model).items()]
        needed = [fisher > 1e-2 for fisher in method.fisher]
        moves[strength] = float(torch.cat([far[held] for far, held in zip(away, needed, strict=True)]).mean())
        assert loss.isfinite()
    assert moves[1e6] < 0.01 * moves[0.0]


# Self-distillation


@sizes
@pytest.mark.parametrize("positions", [10_000, 5], ids=["whole", "slices"])
@pytest.mark.parametrize("kind", ANCHORED)
def test_the_anchor_steps_down_the_stated_loss(kind, positions, micro_batch_size, monkeypatch):
    monkeypatch.setattr("smf.models.logits.positions_at_once", lambda vocab_size: positions)
    settings = {**ANCHORED[kind], "weight": 0.7, "anchor_share": 0.6}
    method = start_method(kind, model=base_model().double(), **settings)
    method.micro_batch_size = micro_batch_size
    start, same = base_model().double(), texts()
    for fact in FACTS:
        before, text = copies(method.model), same.draw(4)  # 3 * 0.6 / 0.4 = 4.5, to even
        logs = [
            model(input_ids=text.input_ids_BT, attention_mask=text.attention_mask_BT)
            .logits[text.attention_mask_BT == 1]
            .log_softmax(-1)
            for model in (method.model, start)
        ]
        anchor = F.kl_div(logs[0], logs[1].detach(), log_target=True, reduction="batchmean")
        assert (anchor.item() > 1e-6) == (fact is not FACTS[0])
        expected = gradients(text_loss(method.model, batch_of(fact)) + 0.7 * anchor, method.model)
        report = method.step(batch_of(fact))
        assert_stepped_down(method, before, expected)
        assert report.num_tokens == batch_of(fact).num_tokens + 2 * text.num_tokens  # the start model reads it too


def test_at_the_start_the_anchor_has_no_gradient():
    anchored = start_method("self_distillation", model=base_model().double(), weight=1e3, **SGD)
    plain = start_method("full", model=base_model().double(), **SGD)
    for method in (anchored, plain):
        method.step(batch_of())
    for name, tensor in plain.delta().items():
        torch.testing.assert_close(anchored.delta()[name], tensor, rtol=1e-9, atol=1e-11, msg=name)


def test_the_anchor_is_the_start_model_also_where_activations_are_made_again():
    deltas = []
    for recomputed in (False, True):
        model = base_model()
        start = logits(model)
        if recomputed:
            recompute_activations(model)
        method = start_method("self_distillation", model=model, learning_rate=0.003)
        for fact in FACTS:
            method.step(batch_of(fact))
        assert same_bytes(logits(method._start), start)
        assert not torch.equal(logits(method.model), start)
        assert all(parameter.grad is None for parameter in method._start.parameters())
        deltas.append(method.delta())
    assert all(same_bytes(tensor, deltas[1][name]) for name, tensor in deltas[0].items())


# Orthogonal subspaces


def maps(model):
    """Each split map: what it was, and what was added to it."""
    for module in model.modules():
        if hasattr(module, "osf_svd_params"):
            yield module.base_layer.weight.detach().float(), module.get_delta_weight("default").detach()


def share_in_kept_directions(method, rank=0.5):
    """How much of what was added to a map acts on its kept directions: the largest share over maps and sides."""
    shares = []
    for weight, change in maps(method.model):
        left_OR, _, right_RI = torch.linalg.svd(weight, full_matrices=False)
        high = int(min(weight.shape) * rank)
        for kept in (change @ right_RI[:high].T, left_OR[:, :high].T @ change):
            shares.append(float(kept.norm() / change.norm()))
    return max(shares)


STEPS = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05},
    "momentum": {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    "decay": {"optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 0.1},
}


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("steps", STEPS)
def test_with_sgd_the_kept_directions_of_every_map_stay_what_they_were(steps, dtype, clip):
    """Of a bfloat16 base, too, where peft by itself would lose the hooks that project gradients."""
    method = start_method("osf", model=base_model().to(dtype), **STEPS[steps])
    method.max_gradient_norm = clip
    for fact in FACTS * 2:
        method.step(batch_of(fact))
    assert share_in_kept_directions(method) < 2e-3  # of a float32 difference between almost equal numbers
    assert not torch.equal(logits(method.model), logits(base_model().to(dtype)))
    assert all(tensor.dtype == torch.float32 for tensor in method.delta().values())
    assert {tensor.dtype for name, tensor in method.model.named_parameters() if "osf_" not in name} == {dtype}


def test_adamw_leaves_the_subspace_that_gradients_are_kept_in():
    """What peft projects is gradients; this is a limit of the method as it is, not a wish."""
    method = start_method("osf", optimizer="adamw", learning_rate=0.003)
    for fact in FACTS:
        method.step(batch_of(fact))
    assert share_in_kept_directions(method) > 0.1


def test_decay_draws_the_low_part_to_zero_and_not_to_its_start():
    method = start_method("osf", optimizer="sgd", learning_rate=1e-6, weight_decay=1e5)
    for _ in range(3):
        method.step(batch_of())
    for weight, change in maps(method.model):
        low_R = torch.linalg.svdvals(weight)[min(weight.shape) // 2 :]
        low_now_R = torch.linalg.svdvals(weight + change)[len(low_R) :]
        torch.testing.assert_close(low_now_R, low_R * 0.9**9, rtol=1e-2, atol=1e-4)


def test_subspace_finetuning_starts_at_the_base_and_leaves_its_weights_untouched():
    start = copy_of_state(base_model())
    method = start_method("osf", learning_rate=0.003)
    torch.testing.assert_close(logits(method.model), logits(base_model()), rtol=1e-4, atol=1e-4)
    for fact in FACTS:
        method.step(batch_of(fact))
    found = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): tensor
        for name, tensor in method.model.state_dict().items()
        if "osf_" not in name
    }
    assert found.keys() == start.keys()
    assert all(same_bytes(tensor, start[name]) for name, tensor in found.items())


def test_a_delta_restores_the_logits_where_the_base_is_decomposed_into_other_factors():
    """Singular vectors are free in their sign, and differ in their last bits between libraries."""
    first, second = (start_method("osf", learning_rate=0.003) for _ in range(2))
    first.step(batch_of())
    for name, buffer in second.model.named_buffers():
        if "_low_init" in name:
            buffer.mul_(-1 if "_S_" not in name else 1 + 1e-6)
    second.load_delta(first.delta())
    assert same_bytes(logits(second.model), logits(first.model))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"effective_rank": 16},
            "effective_rank is 16, which keeps all directions of .*k_proj.*; lower effective",
        ),
        ({"effective_rank": 1.0}, "settings.effective_rank: 1.0 is not valid under any of the given schemas"),
        ({"effective_rank": 0.01}, "peft refuses effective_rank 0.01 .* a share must keep one direction"),
        ({"target_modules": ["nowhere"]}, r"peft refuses effective_rank 0.5 with target_modules \['nowhere'\]"),
    ],
)
def test_a_rank_that_leaves_nothing_to_keep_or_to_train_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        start_method("osf", **settings)


@pytest.mark.parametrize(("rank", "expected"), [(0.25, 24), (1, 31), (30, 2)])
def test_a_rank_below_one_is_a_share_of_a_map_and_any_other_a_number(rank, expected):
    method = start_method("osf", effective_rank=rank, target_modules=["q_proj"])
    assert {len(tensor) for name, tensor in method.delta().items() if "S_low" in name} == {expected}
    footprint = footprint_of("osf", effective_rank=rank, target_modules=["q_proj"])
    assert footprint.gradients == sum(parameter.numel() for parameter in trained(method.model).values())


# The memory trained densely


def test_dense_memory_steps_all_of_the_memory_and_nothing_of_the_base():
    model = memory_model(output_gate="scalar", output_gate_init=0.7).double()
    method = start_method("memory_dense", model=model, **SGD)
    parts = {"values_SV", "keys_H2NC", "query.weight", "query.bias", "gate.weight", "output.weight", "output_gate"}
    assert {name.partition(".memory.")[2] for name in trained(model)} == parts
    for fact in FACTS:
        before, state = copies(model), copy_of_state(model)
        expected = gradients(text_loss(model, batch_of(fact)), model)
        method.step(batch_of(fact))
        assert_stepped_down(method, before, expected)
        for name, tensor in model.state_dict().items():
            assert same_bytes(tensor, state[name]) == (name not in before), name


@pytest.mark.parametrize("base_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_bfloat16_table_is_trained_through_a_float32_copy(base_dtype):
    model = retrofit(base_model().to(base_dtype), memory_settings(value_dtype="bfloat16"), 0)
    for layer in model.memory_layers().values():
        layer.output.weight.data.fill_(0.1)
    method = start_method("memory_dense", model=model, learning_rate=0.003)
    types = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    start = copies(model)
    for fact in FACTS:
        assert method.step(batch_of(fact)).loss.isfinite()
    assert {name: tensor.dtype for name, tensor in model.state_dict().items()} == types
    assert all(master.dtype == torch.float32 for master in method._masters)
    assert all(not torch.equal(tensor, start[name]) for name, tensor in method.delta().items())


# Footprints


def shapes():
    config = memory_model().config.to_dict()
    base = BaseShape.from_transformers(base_model().config.to_dict(), "the test")
    return base, MemoryShape.from_config(config, base.hidden_size)


def footprint_of(kind, **settings):
    return method_class(kind).footprint(typed_settings(kind, **settings), *shapes(), num_steps=2, tokens_per_step=24)


def parts_of(kind, weight=4, value=4, **settings):
    models = memory.Models(*shapes(), weight=weight, value=value, on_cpu=False)
    return memory.learning(
        models, method_class(kind).starts_from, footprint_of(kind, **settings), Texts(2, 12, 11), None
    )


@pytest.mark.parametrize("weight", [2, 4])
def test_the_plan_counts_the_start_model_and_the_fisher_information(weight):
    number = shapes()[0].num_parameters
    full, anchored, held = (parts_of(kind, weight) for kind in ("full", "self_distillation", "ewc"))
    for kind in (anchored, held):
        assert kind["weights"] - full["weights"] == number * weight
    assert held["optimizer"] - full["optimizer"] == number * 4


def test_the_plan_counts_the_copies_and_the_snapshots_of_low_precision_memory():
    base, shape = shapes()
    single = parts_of("memory_dense")
    assert single["optimizer"] == 2 * 4 * (shape.num_values + shape.num_others)
    for weight, value, number in ((2, 4, shape.num_others), (4, 2, shape.num_values)):
        assert parts_of("memory_dense", weight, value)["optimizer"] - single["optimizer"] == 4 * number
    models = memory.Models(base, shape, weight=2, value=4, on_cpu=False)
    assert models.bytes_of_memory == 2 * shape.num_others + 4 * shape.num_values


@pytest.mark.parametrize("rank", [0.5, 0.75, 10])
def test_the_footprint_of_subspace_finetuning_is_what_peft_keeps(rank):
    method, footprint = start_method("osf", effective_rank=rank), footprint_of("osf", effective_rank=rank)
    held = [*trained(method.model).values(), *(b for n, b in method.model.named_buffers() if "osf" in n)]
    assert footprint.added == sum(tensor.numel() for tensor in held)
    assert footprint.delta == sum(tensor.numel() for tensor in method.delta().values())


def test_a_plan_with_more_text_than_facts_takes_more_where_texts_are_longer():
    def peak(kind, **settings):
        learner = {"kind": kind, "learning_rate": 0.1, **settings}
        work = work_of(qwen(stream={"max_length": 16}, methods={"smf_tfidf": None, "lora": None, "full": learner}))
        [job] = [job for job in jobs(work) if job.name == "learn full"]
        return {rows: memory.total(job.parts(work.models, rows)) for rows in (1, job.rows)}

    plain, replayed, little = peak("full"), peak("full_replay"), peak("full_replay", replay_share=1e-3)
    assert all(replayed[rows] > plain[rows] for rows in plain)  # texts have 64 tokens, wordings 16
    assert max(plain.values()) <= max(little.values()) < max(replayed.values())
