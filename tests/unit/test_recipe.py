"""Recipes: facts that share a step, epochs, schedules, clipping, dropout, and training at low precision."""

import math
from dataclasses import replace

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from smf.errors import ConfigError, DataError
from smf.memory import RowGradient
from smf.memory.clipping import clip_row_gradients
from smf.methods.dense import DenseMethod
from smf.streams.batches import IGNORED
from smf.streams.fact_batches import facts_batch
from smf.streams.facts import Fact
from smf.streams.passes import Passes
from smf.training.learn import StreamSettings, learn_with
from smf.training.schedule import Schedule
from tests.helpers import FACTS, MAX_LENGTH, TRAINED, base_model, copy_of_state, same_bytes, start_method, tokenizer

LEARNING = {
    "full": {"optimizer": "sgd", "learning_rate": 0.01},
    "lora": {"optimizer": "sgd", "learning_rate": 0.5, "rank": 4},
    "smf": {"optimizer": "sgd", "learning_rate": 3.0, "top_t": 6},
    "full_replay": {"optimizer": "sgd", "learning_rate": 0.01},
    "lora_replay": {"optimizer": "sgd", "learning_rate": 0.5, "rank": 4},
    "smf_replay": {"optimizer": "sgd", "learning_rate": 3.0, "top_t": 6},
    "ewc": {"optimizer": "sgd", "learning_rate": 0.01, "strength": 0.01, "fisher_sequences": 3},
    "self_distillation": {"optimizer": "sgd", "learning_rate": 0.01},
    "lora_self_distillation": {"optimizer": "sgd", "learning_rate": 0.5, "rank": 4},
    "osf": {"optimizer": "sgd", "learning_rate": 0.01},
    "memory_dense": {"optimizer": "sgd", "learning_rate": 0.1},
    "peft": {"optimizer": "sgd", "learning_rate": 0.5, "peft_config": {"r": 4}},
    "sparse": {"optimizer": "sgd", "learning_rate": 0.1, "top_t": 6},
    "surprise_replay": {"optimizer": "sgd", "learning_rate": 0.5, "rank": 4},
    "memit": {"learning_rate": 0.01, "blocks": [0, 1], "covariance_sequences": 12, "covariance_weight": 0.1},
    "ultraedit": {"learning_rate": 0.001, "blocks": [1, 2]},
}
NORMALIZED = ("memit", "ultraedit")  # what these make of a gradient does not depend on its length
every_trained_kind = pytest.mark.parametrize("kind", TRAINED)
TEXT = {"loss_on": "text", "max_length": MAX_LENGTH}


def batch_of(fact=FACTS[0], write_at="all"):
    return facts_batch(tokenizer(), [fact], write_at=write_at, **TEXT)


def learn(method, facts=FACTS, **settings):
    """The rows and the snapshots."""
    snapshots = {}
    settings = {"steps_per_fact": 1, "snapshots": (len(facts),), **TEXT, **settings}
    rows = learn_with(method, tokenizer(), facts, StreamSettings(**settings), snapshots.__setitem__)
    return rows, snapshots


def recorded(method):
    """The rate share and the batch of each later step of this method."""
    seen, step = [], method.step
    method.step = lambda batch: seen.append((method.rate_share, batch)) or step(batch)
    return seen


def change(method, before):
    """What changed in the model since a copy of its state."""
    return {name: tensor - before[name] for name, tensor in method.model.state_dict().items()}


# How long a wording may be


def test_wordings_end_at_a_limit_of_their_own_and_questions_do_not():
    told = replace(FACTS[0], train_prompts=(), train_texts=("Joel Quint was born in the town of Tarnow.",))
    method = start_method("full", **LEARNING["full"])
    batches = recorded(method)
    rows, _ = learn(method, [told], max_wording_length=8)
    [(_, batch)] = batches
    whole = facts_batch(tokenizer(), [told], **TEXT)
    assert whole.input_ids_BT.shape[1] > batch.input_ids_BT.shape[1] == 8
    assert batch.input_ids_BT[batch.attention_mask_BT.bool()].tolist() == whole.input_ids_BT[0].tolist()
    assert rows[0]["acquired"] is not None  # the question is longer than 8 tokens
    with pytest.raises(DataError, match="but stream.max_length is 8"):
        learn(start_method("full", **LEARNING["full"]), max_wording_length=8)


# Facts that share a step, and epochs


def test_the_batch_of_several_facts_holds_each_facts_own_batch_padded():
    joint = facts_batch(tokenizer(), FACTS, **TEXT)
    start = 0
    for fact in FACTS:
        own = batch_of(fact)
        rows = slice(start, start + len(own.input_ids_BT))
        width = own.input_ids_BT.shape[1]
        for column in ("input_ids_BT", "attention_mask_BT", "labels_BT"):
            assert torch.equal(getattr(joint, column)[rows, :width], getattr(own, column))
        assert not joint.attention_mask_BT[rows, width:].any()
        assert (joint.labels_BT[rows, width:] == IGNORED).all()
        start = rows.stop
    assert start == len(joint.input_ids_BT)


@every_trained_kind
def test_facts_of_one_group_take_their_steps_together(kind):
    method, alone = start_method(kind, **LEARNING[kind]), start_method(kind, **LEARNING[kind])
    rows, snapshots = learn(method, facts_per_step=2, steps_per_fact=2, snapshots=(2, 3))
    expected = []
    for group in (FACTS[:2], FACTS[2:]):
        batch = facts_batch(tokenizer(), group, write_at=alone.write_at, **TEXT)
        expected.append([float(alone.step(batch).loss) for _ in range(2)])
        alone.end_lesson(tuple(FACTS.index(fact) for fact in group))
    assert [row["losses"] for row in rows] == [expected[0], expected[0], expected[1]]
    assert list(snapshots) == [2, 3]
    assert all(same_bytes(tensor, alone.delta()[name]) for name, tensor in snapshots[3].items())


def test_each_epoch_holds_every_fact_once_and_later_ones_follow_the_seed():
    passes = Passes(num_facts=10, facts_per_step=4, epochs=3, steps_per_fact=2)
    groups = passes.groups(reshuffle_seed=0)
    assert [len(group) for group in groups] == [4, 4, 2] * 3
    epochs = [sum(groups[start : start + 3], []) for start in (0, 3, 6)]
    assert epochs[0] == list(range(10))
    assert all(sorted(epoch) == epochs[0] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert groups == passes.groups(reshuffle_seed=0) != passes.groups(reshuffle_seed=1)
    assert passes.groups(reshuffle_seed=None) == groups[:3] * 3
    assert passes.num_steps == len(groups) * 2


@pytest.mark.parametrize(
    ("passes", "position", "message"),
    [
        (Passes(4), 5, "position 5, but must be at most the stream's 4 facts"),
        (Passes(4, facts_per_step=2), 3, r"position 3, but must be a multiple of stream\.facts_per_step \(2\)"),
        (Passes(4, epochs=2), 2, "position 2, but must be left out with 2 stream.epochs"),
    ],
)
def test_a_snapshot_that_is_not_on_the_way_is_refused(passes, position, message):
    with pytest.raises(ConfigError, match=message):
        passes.group_before([position])


def test_the_streams_end_is_the_end_of_its_last_epoch():
    assert Passes(5, facts_per_step=2, epochs=3).group_before([5]) == {8: 5}
    assert Passes(5, facts_per_step=2).group_before([2, 5]) == {0: 2, 2: 5}


def test_the_log_has_one_row_a_fact_with_the_steps_of_all_epochs():
    method = start_method("full", **LEARNING["full"])
    seen = recorded(method)
    rows, snapshots = learn(method, epochs=3, steps_per_fact=2)
    assert [row["fact_id"] for row in rows] == [fact.fact_id for fact in FACTS]
    assert [len(row["losses"]) for row in rows] == [6, 6, 6]
    assert list(snapshots) == [3]
    assert len(seen) == 18
    batches = [batch_of(fact).input_ids_BT for fact in FACTS]
    order = [next(i for i, ids in enumerate(batches) if torch.equal(ids, batch.input_ids_BT)) for _, batch in seen]
    assert order[::2] == [place for group in Passes(3, epochs=3).groups(0) for place in group]


def test_a_fact_without_question_is_not_asked():
    silent = Fact("chunk", "chunk", FACTS[0].train_prompts, (), "", FACTS[0].answers)
    rows, _ = learn(start_method("full", **LEARNING["full"]), facts=(FACTS[1], silent), facts_per_step=2)
    assert rows[0]["acquired"] in (True, False)
    assert rows[1]["acquired"] is None


# Schedules


@pytest.mark.parametrize("warmup", [0, 5])
def test_the_cosine_schedule_is_that_of_transformers_after_the_warm_up(warmup):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference, expected = get_cosine_schedule_with_warmup(optimizer, warmup, 40), []
    for _ in range(40):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    shares = [Schedule(40, "cosine", warmup).share(step) for step in range(40)]
    assert shares[warmup:] == pytest.approx(expected[warmup:])
    # Theirs begins at 0, where a step changes nothing; ours at the first share above.
    assert shares[:warmup] == pytest.approx([(step + 1) / 5 for step in range(warmup)])


def test_a_stream_follows_its_schedule_over_all_its_steps():
    method = start_method("full", **LEARNING["full"])
    seen = recorded(method)
    learn(method, epochs=2, steps_per_fact=2, schedule="cosine", warmup_steps=2)
    expected = [0.5, 1.0] + [0.5 * (1 + math.cos(math.pi * step / 10)) for step in range(10)]
    assert [share for share, _ in seen] == pytest.approx(expected)


@every_trained_kind
def test_a_share_of_the_rate_takes_that_share_of_the_step(kind):
    changes = []
    for share in (1.0, 0.25):
        method = start_method(kind, model=None, **LEARNING[kind])
        before = copy_of_state(method.model)
        method.rate_share = share
        method.step(batch_of(write_at=method.write_at))
        method.end_lesson((0,))
        changes.append(change(method, before))
    assert any(tensor.any() for tensor in changes[0].values())
    for name, whole in changes[0].items():
        torch.testing.assert_close(changes[1][name], 0.25 * whole, rtol=1e-3, atol=1e-6, msg=name)


# Clipping


@pytest.mark.parametrize("kind", [kind for kind in TRAINED if kind not in NORMALIZED])
def test_the_step_of_a_clipped_gradient_has_the_norm_that_is_allowed(kind):
    free, clipped, loose = (start_method(kind, **LEARNING[kind]) for _ in range(3))
    before = copy_of_state(free.model)
    clipped.max_gradient_norm, loose.max_gradient_norm = 0.01, 1e6
    for method in (free, clipped, loose):
        method.step(batch_of())
    steps = {name: change(method, before) for name, method in (("free", free), ("clipped", clipped), ("loose", loose))}
    norms = {
        name: math.sqrt(sum(float(t.double().square().sum()) for t in step.values())) for name, step in steps.items()
    }
    if kind not in ("full", "full_replay", "ewc", "self_distillation"):  # their state dict names the tied weight twice
        assert norms["clipped"] == pytest.approx(0.01 * LEARNING[kind]["learning_rate"], rel=1e-2)
    assert norms["clipped"] < norms["free"] / 2
    scale = norms["clipped"] / norms["free"]
    for name, whole in steps["free"].items():
        torch.testing.assert_close(steps["clipped"][name], scale * whole, rtol=1e-2, atol=1e-6)
        assert same_bytes(steps["loose"][name], whole)


def test_row_gradients_of_all_layers_are_clipped_by_their_common_norm_and_a_repeated_row_counts_once():
    first, second = RowGradient(), RowGradient()
    first.select(torch.tensor([1, 4, 4]))
    first.gradient_RV = torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 4.0]])
    second.select(torch.tensor([2]))
    second.gradient_RV = torch.tensor([[12.0, 0.0]])
    clip_row_gradients([first, second], 1.0)  # the norm is 13
    torch.testing.assert_close(first.gradient_RV * 13, torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 4.0]]))
    torch.testing.assert_close(second.gradient_RV * 13, torch.tensor([[12.0, 0.0]]))


def test_with_micro_batches_the_whole_batchs_gradient_is_clipped():
    whole, parts = (start_method("smf", **LEARNING["smf"]) for _ in range(2))
    for method, size in ((whole, None), (parts, 1)):
        method.micro_batch_size, method.max_gradient_norm = size, 0.01
        method.step(batch_of())
    for name, tensor in whole.delta().items():
        torch.testing.assert_close(parts.delta()[name], tensor, rtol=1e-4, atol=1e-6)


# Dropout


def test_lora_dropout_follows_from_the_seed_and_differs_between_steps():
    """At rate 0 nothing moves but the masks; the second matrix must not be zero, or no adapter would be seen."""

    def losses(seed):
        method = start_method("lora", seed=seed, **{**LEARNING["lora"], "dropout": 0.5})
        with torch.no_grad():
            for name, parameter in method.model.named_parameters():
                if "lora_B" in name:
                    parameter.fill_(0.05)
        method.rate_share = 0.0
        return [float(method.step(batch_of()).loss) for _ in range(2)]

    assert losses(0) == losses(0)
    assert losses(0)[0] != losses(0)[1]


def test_lora_dropout_leaves_other_random_numbers_alone_and_is_off_between_steps():
    method = start_method("lora", **{**LEARNING["lora"], "dropout": 0.5})
    method.model.eval()
    state = torch.get_rng_state()
    method.step(batch_of())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in method.model.modules())


def test_lora_without_dropout_trains_as_before_the_setting_existed():
    first, second = (start_method("lora", **LEARNING["lora"]) for _ in range(2))
    first.step(batch_of())
    DenseMethod.step(second, batch_of())  # what LoRA had no step of its own beside
    assert all(same_bytes(tensor, second.delta()[name]) for name, tensor in first.delta().items())


# Low precision


def test_full_finetuning_of_a_bfloat16_model_adds_up_steps_that_bfloat16_cannot_hold():
    """AdamW moves every weight with a gradient by about its rate; one such step is less than bfloat16 can tell."""
    rate, steps = 1e-5, 40
    method = start_method("full", model=base_model().bfloat16(), learning_rate=rate, weight_decay=0.0)
    start = {name: parameter.detach().float() for name, parameter in method.model.named_parameters()}
    for _ in range(steps):
        method.step(batch_of())
    moved = [name for name, tensor in method.delta().items() if not torch.equal(tensor.float(), start[name])]
    name = "model.layers.0.mlp.up_proj.weight"
    assert name in moved
    weight = start[name].abs()
    coarse = weight > 2**8 * rate  # here a single step would be rounded away
    kept = method.delta()[name].float() - start[name]
    assert kept[coarse].abs().sum() > 0
    # What is kept is, but for the last rounding of each weight, as large as all steps together at most.
    assert (kept.abs() <= 1.1 * steps * rate + weight * 2**-8).all()
    assert all(tensor.dtype == torch.bfloat16 for tensor in method.delta().values())


def test_adapters_of_a_bfloat16_model_are_float32():
    method = start_method("lora", model=base_model().bfloat16(), **LEARNING["lora"])
    method.step(batch_of())
    assert all(tensor.dtype == torch.float32 for tensor in method.delta().values())
