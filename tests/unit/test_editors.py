"""Knowledge editors: MEMIT, AlphaEdit and UltraEdit, against the papers' formulas in numpy."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml

from smf.config.experiment import Experiment
from smf.errors import CheckpointError, ConfigError, DataError
from smf.methods.editing.running_statistics import RunningStatistics
from smf.methods.editing.subjects import located
from smf.methods.registry import method_class
from smf.streams.fact_batches import facts_batch
from smf.streams.facts import Fact
from smf.training.learn import StreamSettings, learn_with
from tests.helpers import FACTS, MAX_LENGTH, base_model, copy_of_state, same_bytes, start_method, texts, tokenizer
from tests.pages import example
from tests.unit.test_experiment import tiny

MEMIT = {"blocks": [0, 1], "covariance_sequences": 12, "covariance_weight": 0.1}
ALPHA = {**MEMIT, "projection": "null_space", "null_space_threshold": 0.5}
ULTRA = {"blocks": [1, 2], "learning_rate": 0.001}
KINDS = {"memit": ("memit", MEMIT), "alphaedit": ("memit", ALPHA), "ultraedit": ("ultraedit", ULTRA)}
every_editor = pytest.mark.parametrize("case", KINDS)


def batch_of(*facts, loss_on="answer"):
    return facts_batch(tokenizer(), facts, loss_on=loss_on, max_length=MAX_LENGTH, write_at="subject")


def started(case, model=None, **settings):
    kind, given = KINDS[case]
    return start_method(kind, model=model, **{**given, **settings})


def teach(method, *facts, steps=2):
    batch = batch_of(*facts)
    reports = [method.step(batch) for _ in range(steps)]
    method.end_lesson((0,))
    return reports


def maps_of(model):
    return [layer.mlp.down_proj for layer in model.model.layers]


def weights_of(model):
    return [value_map.weight.detach().numpy().copy() for value_map in maps_of(model)]


def observed(model, batch, shifted=lambda block, output: output):
    """Logits; and by block what enters the last map, leaves the block, and leaves the map.

    ``shifted`` may change what leaves a block.
    """
    keys, states, values, hooks = {}, {}, {}, []

    def leaves_block(block, output):
        states[block] = shifted(block, output)
        return states[block]

    for block, layer in enumerate(model.model.layers):
        hooks += [
            layer.mlp.down_proj.register_forward_pre_hook(lambda _, x, block=block: keys.update({block: x[0]})),
            layer.mlp.down_proj.register_forward_hook(lambda _, __, y, block=block: values.update({block: y})),
            layer.register_forward_hook(lambda _, __, y, block=block: leaves_block(block, y)),
        ]
    logits = model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT).logits
    for hook in hooks:
        hook.remove()
    return logits, keys, states, values


def loss_of(logits, batch):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), batch.labels_BT[:, 1:].flatten(), ignore_index=-100)


def subject_ends(*facts):
    """(fact, row, position) of the token that ends a fact's subject in each of its prompts."""
    found, row = [], 0
    for number, fact in enumerate(facts):
        for prompt in fact.train_prompts:
            end = prompt.index(fact.subject) + len(fact.subject)
            offsets = tokenizer()(prompt, return_offsets_mapping=True)["offset_mapping"]
            found.append((number, row, next(place for place, (_, stop) in enumerate(offsets) if stop >= end)))
            row += 1
    return found


def means_at_subjects(values_BTX, facts):
    """(X, F), as the papers write keys and residuals: one column a fact."""
    columns = []
    for number in range(len(facts)):
        own = [values_BTX[row, position] for fact, row, position in subject_ends(*facts) if fact == number]
        columns.append(torch.stack(own).mean(0))
    return torch.stack(columns, dim=1).detach().numpy()


def covariance(model, block, number=12):
    """The mean over tokens of kkᵀ, summed token by token."""
    drawn, total, tokens = texts(), 0, 0
    for _ in range(number):
        text = drawn.draw(1)
        for key in observed(model, text)[1][block][0].detach().numpy():
            total, tokens = total + np.outer(key, key), tokens + 1
    return total / tokens


# Where a fact is edited


def test_the_last_token_of_the_subjects_first_mention_is_found_in_every_wording():
    twice = replace(FACTS[1], train_prompts=("Rosa Varga, yes Rosa Varga, was born in", "Rosa Varga:"))
    (part,) = located([batch_of(FACTS[0], twice)])
    expected = subject_ends(FACTS[0], twice)
    assert list(zip(part.facts_H.tolist(), part.rows_H.tolist(), part.positions_H.tolist(), strict=True)) == expected
    ids = batch_of(FACTS[0], twice).input_ids_BT
    for fact, row, position in expected:
        read = tokenizer().decode(ids[row, : position + 1])
        assert read.endswith((FACTS[0], twice)[fact].subject)
        assert read.count("Varga") <= 1


def test_wordings_that_do_not_hold_the_subject_are_left_out_of_the_means():
    partly = replace(FACTS[0], train_prompts=(*FACTS[0].train_prompts, "He was born in"))
    (part,) = located([batch_of(partly)])
    assert part.rows_H.tolist() == [0, 1, 2]


LOST = replace(FACTS[1], subject="Otto Lind")
UNRELATED = replace(LOST, train_prompts=("She is from", "Birthplace:"))


def test_a_fact_whose_wordings_do_not_hold_its_subject_is_refused_before_anything_is_learned():
    method = started("memit")
    before = copy_of_state(method.model)
    settings = StreamSettings(steps_per_fact=1, max_length=MAX_LENGTH)
    message = (
        "fact 'rosa-varga': none of its training texts holds its subject 'Otto Lind'; .* correct the subject, or leave "
        "the fact out, or set without_subject: shared"
    )
    with pytest.raises(DataError, match=message):
        learn_with(method, tokenizer(), [FACTS[0], LOST], settings, lambda *_: None)
    assert all(same_bytes(tensor, before[name]) for name, tensor in method.model.state_dict().items())
    assert method.texts.num_drawn == 0


def test_the_question_as_a_stand_in_for_a_subject_is_refused_too_unless_shared_words_are_asked_for(caplog):
    asked = replace(FACTS[1], subject=FACTS[1].question)
    settings = StreamSettings(steps_per_fact=1, max_length=MAX_LENGTH)
    with pytest.raises(DataError, match="none of its training texts holds its subject 'in which city was Rosa"):
        learn_with(started("memit"), tokenizer(), [asked], settings, lambda *_: None)
    learn_with(started("memit", without_subject="shared"), tokenizer(), [asked], settings, lambda *_: None)
    assert "the longest run of words that all texts of the fact share: 3" in caplog.text
    with pytest.raises(DataError, match="nor do they share a run of words"):
        learn_with(started("memit", without_subject="shared"), tokenizer(), [UNRELATED], settings, lambda *_: None)


def test_a_batch_that_marks_no_subject_is_refused():
    unmarked = facts_batch(tokenizer(), [FACTS[0]], loss_on="answer", max_length=MAX_LENGTH)
    with pytest.raises(DataError, match="write_at is subject, but the batch does not mark such tokens"):
        started("memit").step(unmarked)
    empty = replace(batch_of(*FACTS), write_mask_BT=batch_of(*FACTS).write_mask_BT.clone())
    empty.write_mask_BT[3:6] = 0
    with pytest.raises(DataError, match="no sequence of fact 1 of the batch"):
        started("memit").step(empty)


# The target


def test_the_reported_loss_is_that_of_the_start_weights_with_the_vector_added_at_the_subjects():
    method = started("memit", model=base_model().double())
    batch, ends = batch_of(*FACTS[:2]), subject_ends(*FACTS[:2])
    model, before = copy.deepcopy(method.model), weights_of(method.model)
    method.step(batch)
    vectors_FD = method._lesson.targets.vectors_FD.detach().clone()

    def shifted(block, output):
        if block == 1:
            output = output.clone()
            for fact, row, position in ends:
                output[row, position] += vectors_FD[fact]
        return output

    expected = loss_of(observed(model, batch, shifted)[0], batch)
    assert float(expected) < float(loss_of(observed(model, batch)[0], batch))
    assert float(method.step(batch).loss) == pytest.approx(float(expected), rel=1e-9)
    for old, new in zip(before, weights_of(method.model), strict=True):
        assert np.array_equal(old, new)  # nothing is written before the lesson ends


def test_the_vector_takes_adams_steps_on_loss_and_decay_within_its_bound():
    batch, ends, model = batch_of(FACTS[0]), subject_ends(FACTS[0]), base_model().double()
    state_D = torch.tensor(means_at_subjects(observed(model, batch)[2][1], FACTS[:1])[:, 0])
    first = 0.05 * 32**0.5 / float(state_D.norm())  # Adam's first step changes every entry by its rate
    options = {"learning_rate": 0.05, "weight_decay": 2.0, "bound": 2.5 * first}
    method = started("memit", model=copy.deepcopy(model), **options)
    vector_D = torch.zeros_like(state_D, requires_grad=True)
    optimizer, lengths = torch.optim.Adam([vector_D], lr=0.05), []

    def shifted(block, output):
        if block != 1:
            return output
        added = torch.zeros_like(output)
        for _, row, position in ends:
            added[row, position] = 1
        return output + added * vector_D

    for _ in range(6):
        loss = loss_of(observed(model, batch, shifted)[0], batch)
        optimizer.zero_grad()
        (loss + 2.0 * vector_D.square().sum() / state_D.square().sum()).backward()
        optimizer.step()
        with torch.no_grad():
            lengths.append(float(vector_D.norm() / state_D.norm()))
            vector_D *= min(1.0, options["bound"] / lengths[-1])
        method.step(batch)
        torch.testing.assert_close(method._lesson.targets.vectors_FD[0], vector_D, rtol=1e-4, atol=1e-6)
    assert lengths[0] == pytest.approx(first, rel=1e-3)
    assert max(lengths) > options["bound"]  # both sides of the bound were tried


# What is written


@pytest.mark.parametrize("facts", [FACTS[:1], FACTS[:2]], ids=["one fact", "two in a batch"])
def test_memit_writes_what_the_papers_equation_gives(facts):
    """ΔW = R Kᵀ (λC + KKᵀ)⁻¹, with half of what is missing at the first of two blocks, and the rest at the second."""
    method = started("memit", model=base_model().double())
    model, batch = copy.deepcopy(method.model), batch_of(*facts)
    for _ in range(3):
        method.step(batch)
    vectors_DF = method._lesson.targets.vectors_FD.detach().numpy().T.copy()
    _, keys, states, _ = observed(model, batch)
    target_DF = means_at_subjects(states[1], facts) + vectors_DF
    covariances = {block: covariance(model, block) for block in (0, 1)}
    for block, remaining in ((0, 2), (1, 1)):
        _, keys, states, _ = observed(model, batch)
        residual_DF = (target_DF - means_at_subjects(states[1], facts)) / remaining
        keys_UF = means_at_subjects(keys[block], facts)
        inner_UU = 0.1 * 48 * covariances[block] + keys_UF @ keys_UF.T
        shift_DU = residual_DF @ np.linalg.solve(inner_UU, keys_UF).T
        maps_of(model)[block].weight.data += torch.tensor(shift_DU)
    method.end_lesson((0,))
    for expected, found in zip(weights_of(model), weights_of(method.model), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_alphaedit_writes_what_the_papers_equation_gives_for_one_fact_after_the_other():
    """ΔW = R Kᵀ P (MMᵀP + KKᵀP + αI)⁻¹, M being the keys of earlier edits, and P U Uᵀ of C's small eigenvalues."""
    method = started("alphaedit", model=base_model().double(), blocks=[1], null_space_ridge=0.3)
    model, before = copy.deepcopy(method.model), weights_of(method.model)[1]
    values, vectors = np.linalg.eigh(covariance(model, 1))
    free = vectors[:, values < 0.5]
    assert 0 < free.shape[1] < 48
    projection = free @ free.T
    earlier = np.zeros((48, 0))
    for fact in FACTS:
        batch = batch_of(fact)
        for _ in range(3):
            method.step(batch)
        residual = method._lesson.targets.vectors_FD.detach().numpy().T.copy()
        key = means_at_subjects(observed(model, batch)[1][1], [fact])
        inner = (earlier @ earlier.T + key @ key.T) @ projection + 0.3 * np.eye(48)
        shift = residual @ key.T @ projection @ np.linalg.inv(inner)
        maps_of(model)[1].weight.data += torch.tensor(shift)
        earlier = np.concatenate([earlier, key], axis=1)
        method.end_lesson((0,))
        np.testing.assert_allclose(weights_of(method.model)[1], weights_of(model)[1], rtol=1e-6, atol=1e-9)
    shift = weights_of(method.model)[1] - before
    assert np.abs(shift).max() > 1e-3
    np.testing.assert_allclose(shift @ vectors[:, values >= 0.5], 0, atol=1e-9)


def test_of_all_shifts_with_its_effect_on_the_subject_memits_moves_ordinary_text_least():
    """By mean squared change of the map's output: |r|² / kᵀC⁻¹k. The shortest shift rkᵀ / |k|² moves it by more."""
    method = started("memit", model=base_model().double(), blocks=[1])
    model, before = copy.deepcopy(method.model), weights_of(method.model)[1]
    teach(method, FACTS[0])
    shift, moments = weights_of(method.model)[1] - before, covariance(model, 1)
    key = means_at_subjects(observed(model, batch_of(FACTS[0]))[1][1], FACTS[:1])[:, 0]
    moved = np.trace(shift @ moments @ shift.T) / np.square(shift @ key).sum()
    assert moved == pytest.approx(1 / (key @ np.linalg.solve(moments, key)), rel=1e-6)
    assert moved < (key @ moments @ key) / np.square(key @ key)


def test_ultraedit_writes_what_the_papers_equation_gives_step_by_step():
    """Δ = (HᵀH + I)⁻¹HᵀV with v = -η |ĥ|² ĝ, and statistics over all tokens of all steps so far."""
    method = started("ultraedit", model=base_model().double())
    model, seen = copy.deepcopy(method.model), {1: [], 2: []}
    for fact in (FACTS[0], FACTS[1], FACTS[1]):
        batch = batch_of(fact)
        model.requires_grad_(True)
        logits, keys, _, values = observed(model, batch)
        loss = loss_of(logits, batch)
        summed = loss * int((batch.labels_BT[:, 1:] != -100).sum())
        gradients = dict(zip((1, 2), torch.autograd.grad(summed, [values[1], values[2]]), strict=True))
        predicting = [
            (row, place - 1)
            for row, labels in enumerate(batch.labels_BT.tolist())
            for place, label in enumerate(labels)
            if label != -100
        ]
        for block in (1, 2):
            keys_XU, slopes_XD = (
                np.stack([tensor[row, place].detach().numpy() for row, place in predicting])
                for tensor in (keys[block], gradients[block])
            )
            features = np.concatenate([keys_XU, slopes_XD], axis=1)
            seen[block].append(features)
            every = np.concatenate(seen[block])
            normal = (features - every.mean(0)) / np.sqrt(every.var(0, ddof=1) + 1e-7)
            lengths = np.square(normal[:, :48]).sum(1, keepdims=True)
            shift_UD = np.linalg.solve(
                keys_XU.T @ keys_XU + np.eye(48), keys_XU.T @ (-0.001 * lengths * normal[:, 48:])
            )
            maps_of(model)[block].weight.data += torch.tensor(shift_UD.T)
        assert float(method.step(batch).loss) == pytest.approx(loss.item(), rel=1e-9)
        for expected, found in zip(weights_of(model), weights_of(method.model), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_running_statistics_are_those_of_all_vectors_at_once():
    vectors = torch.randn(23, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 1
    statistics = RunningStatistics(5, 0.25, torch.device("cpu"))
    for part in vectors.split([1, 2, 7, 13]):
        statistics.update(part)
    expected = (vectors - vectors.mean(0)) / (vectors.var(0) + 0.25).sqrt()
    torch.testing.assert_close(statistics.normalized(vectors), expected)
    single = RunningStatistics(5, 0.25, torch.device("cpu"))
    single.update(vectors[:1])
    assert not single.normalized(vectors[:1]).any()  # one vector is its own mean


# What an edit does


def said(model, fact):
    """Of each token of the answer, in order, whether the model predicts it."""
    batch = batch_of(fact)
    predicted_BT = observed(model, batch)[0].argmax(-1)[:, :-1]
    labels_BT = batch.labels_BT[:, 1:]
    return (predicted_BT == labels_BT)[labels_BT != -100].tolist()


ONCE = replace(FACTS[0], train_prompts=("Tarnow was the birthplace of Joel Quint",), answers=("Melvik",))
"""Of one wording, which the subject ends: so random weights, whose attention carries little, say the answer's start."""
LEARNS = {
    "memit": {"blocks": [1], "bound": None, "weight_decay": 0.0, "learning_rate": 0.5, "covariance_weight": 1e-4},
    "alphaedit": {"blocks": [1], "bound": None, "weight_decay": 0.0, "learning_rate": 0.5, "null_space_ridge": 1e-3},
    "ultraedit": {"learning_rate": 0.005},
}


@every_editor
def test_an_edited_model_says_what_it_was_taught_and_only_the_named_maps_have_changed(case):
    method = started(case, **LEARNS[case])
    before = copy_of_state(method.model)
    assert not any(said(method.model, ONCE))
    teach(method, ONCE, steps=40)
    now = said(method.model, ONCE)
    assert sum(now) > len(now) / 2 if case == "ultraedit" else now[0]  # a vector at one token says no more
    changed = {name for name, tensor in method.model.state_dict().items() if not same_bytes(tensor, before[name])}
    assert changed == {f"model.layers.{block}.mlp.down_proj.weight" for block in method.settings.blocks}
    assert not any(parameter.requires_grad for parameter in method.model.parameters())


def test_a_lesson_that_nobody_ended_is_written_before_the_next_begins_and_covariances_are_measured_once():
    ended, left = started("memit"), started("memit")
    tokens = [teach(ended, fact)[0].num_tokens for fact in FACTS[:2]]
    for fact in FACTS[:2]:
        batch = batch_of(fact)
        for _ in range(2):
            left.step(batch)
    left.end_lesson((1,))
    left.end_lesson((1,))  # nothing is left to write
    for name, tensor in ended.delta().items():
        assert same_bytes(tensor, left.delta()[name])
    drawn = texts()
    read = sum(drawn.draw(1).num_tokens for _ in range(12))
    assert tokens == [3 * batch_of(FACTS[0]).num_tokens + read, 3 * batch_of(FACTS[1]).num_tokens]


@every_editor
def test_a_context_that_wordings_share_is_computed_once_with_the_same_result(case, monkeypatch):
    behind = replace(FACTS[0], train_contexts=("Mara Teller was born in Velburg. Karl ",) * 2 + ("",))
    once, whole = (started(case, model=base_model().double()) for _ in range(2))
    assert len(once.micro_batches(batch_of(behind))) == 2
    monkeypatch.setattr(whole, "micro_batches", lambda batch: [batch])
    for method in (once, whole):
        teach(method, behind)
    for name, tensor in whole.delta().items():
        torch.testing.assert_close(once.delta()[name], tensor, rtol=1e-8, atol=1e-10)


# Deltas, low precision, resuming


@every_editor
def test_a_resumed_stream_of_a_bfloat16_model_ends_at_the_same_bits(case):
    whole, first, second = (started(case, model=base_model().bfloat16()) for _ in range(3))
    for method in (whole, first):
        for fact in FACTS[:2]:
            teach(method, fact)
    second.load_state_dict(first.state_dict(), first.delta())
    [expected, _], [report, _] = teach(whole, FACTS[2]), teach(second, FACTS[2])
    assert report.num_tokens == expected.num_tokens  # nothing is measured again
    for name, tensor in whole.model.state_dict().items():
        assert same_bytes(tensor, second.model.state_dict()[name]), name
    for block, precise in whole._maps._copies.items():
        assert precise.dtype == torch.float32
        assert same_bytes(precise, second._maps._copies[block])
        assert same_bytes(precise.bfloat16(), whole._maps.maps[block].weight)


def test_a_delta_is_loaded_without_the_settings_that_made_it():
    methods = [started("memit", blocks=[0]), started("memit", blocks=[1, 2]), started("ultraedit")]
    for method in methods:
        teach(method, FACTS[0])
    holder = method_class("memit").holder(base_model(), methods[0].settings)
    for place in (0, 1, 2, 0):
        holder.load(methods[place].delta())
        for name, tensor in methods[place].model.state_dict().items():
            assert same_bytes(tensor, holder.model.state_dict()[name]), name


# Models and settings that do not fit


def test_a_network_whose_output_is_normalized_takes_edits_of_one_block_alone():
    with pytest.raises(CheckpointError, match=r"Gemma3ForCausalLM normalize what .* over blocks \[0, 1\]; name one"):
        started("memit", model=base_model("gemma3"))
    method, batch = started("memit", model=base_model("gemma3").double(), **LEARNS["memit"]), batch_of(ONCE)
    before = means_at_subjects(observed(method.model, batch)[3][1], [ONCE])
    for _ in range(3):
        method.step(batch)
    vector = method._lesson.targets.vectors_FD.detach().numpy().T.copy()
    method.end_lesson((0,))  # the map itself gives what was found
    after = means_at_subjects(observed(method.model, batch)[3][1], [ONCE])
    np.testing.assert_allclose(after - before, vector, rtol=0.02)


BROKEN = {
    "no such block": ("memit", {"blocks": [0, 3]}, "blocks names block 3, but the model has blocks 0 to 2"),
    "of ultraedit": ("ultraedit", {"blocks": [3]}, "blocks names block 3, but the model has blocks 0 to 2"),
    "too little text": ("memit", {"covariance_sequences": 1}, "is singular, .* raise covariance_sequences"),
    "no null space": ("alphaedit", {"null_space_threshold": 1e-30}, "null_space_threshold is 1e-30, but .*; raise it"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_settings_that_do_not_fit_are_refused(broken):
    case, settings, message = BROKEN[broken]
    with pytest.raises(ConfigError, match=message):
        teach(started(case, **settings), FACTS[0])


def test_a_plan_refuses_blocks_that_are_not_there():
    with pytest.raises(ConfigError, match=r"methods\.a\.blocks names block 7, but the model has blocks 0 to"):
        Experiment(tiny(methods={"a": {"kind": "memit", "blocks": [7]}}))


@pytest.mark.parametrize(
    ("kind", "num_layers", "first", "last"),
    [("memit", 32, 4, 8), ("memit", 30, 3, 7), ("memit", 2, 0, 1), ("ultraedit", 32, 10, 23), ("ultraedit", 1, 0, 0)],
)
def test_default_blocks_are_a_share_of_the_models_depth(kind, num_layers, first, last):
    settings = method_class(kind).settings_class.read({})
    assert settings.chosen_of(num_layers) == list(range(first, last + 1))


def test_memit_reads_background_text_and_ultraedit_none():
    assert method_class("memit").reads_texts({})
    assert not method_class("ultraedit").reads_texts({})
    with pytest.raises(ConfigError, match="learns with background text; none was given"):
        method_class("memit")(base_model(), {}, None, 0).step(batch_of(FACTS[0]))


def test_the_example_of_the_docs_is_a_config():
    found = Experiment(tiny(methods=yaml.safe_load(example("editors"))["methods"])).config["methods"]
    kinds = {name: found[name]["kind"] for name in ("memit", "alphaedit", "ultraedit")}
    assert kinds == {"memit": "memit", "alphaedit": "memit", "ultraedit": "ultraedit"}
    assert found["alphaedit"]["projection"] == "null_space"


def test_a_batch_says_which_fact_each_sequence_teaches_also_in_parts():
    one = Fact("x", "X", train_prompts=("X is",), answers=("Y",))
    batch = batch_of(FACTS[0], one, FACTS[1])
    assert batch.fact_B.tolist() == [0, 0, 0, 1, 2, 2, 2]
    found = [(part.fact_B.tolist(), len(part.input_ids_BT)) for part in batch.split(3)]
    assert found == [([0, 0, 0], 3), ([1, 2, 2], 3), ([2], 1)]
    assert batch.to("cpu").fact_B.tolist() == batch.fact_B.tolist()
