"""Healing: what trains, what is reported, what the memory reads, and when a healed model is refused."""

import json
import math
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from smf.analysis.slot_use.table import slot_use_table
from smf.errors import CheckpointError, DataError, TrainingError
from smf.files.artifacts import read_json
from smf.memory import record_slot_reads
from smf.models.base_networks import acting_as_base, feed_forward_networks
from smf.models.checkpoint import load_model, save_checkpoint
from smf.models.memory_model import decoder_blocks
from smf.models.retrofit import retrofit
from smf.seeding import derive_seed
from smf.stages.heal import make_healed_model
from smf.streams.batches import batches, collate
from smf.streams.examples import Example, hold_out, write_corpus
from smf.training.calibrate import calibrate_queries
from smf.training.distill import explained_variance
from smf.training.heal import HealingSettings, heal, require_healed
from smf.training.loop import TrainingSettings, train
from smf.training.probe import probe_memory
from smf.training.slot_use import SLOT_USE_COLUMNS, slot_use
from tests.helpers import (
    BACKGROUND,
    FAMILIES,
    MAX_LENGTH,
    background_batches,
    base_model,
    copy_of_state,
    encoded_text,
    logits,
    memory_model,
    memory_settings,
    same_bytes,
    tokenizer,
)

SETTINGS = HealingSettings(num_steps=12, batch_size=4, learning_rate=0.01)


def installed(base=None, **settings):
    """A retrofitted model and the networks that its base had."""
    base, memory = base or base_model(), memory_settings(**settings)
    networks = feed_forward_networks(base, memory.layers)
    return retrofit(base, memory, seed=0), networks


@cache
def trained_state():
    base = base_model(initializer_range=0.02)
    stream = batches(encoded_text(), batch_size=4, num_batches=100, pad_token_id=0, seed=0)
    train(base, list(base.parameters()), stream, TrainingSettings(100, 4, learning_rate=0.01), "pretraining")
    return copy_of_state(base)


def trained_base():
    """A base that knows the background sentences, so that it has something to lose."""
    base = base_model(initializer_range=0.02)
    base.load_state_dict(trained_state())
    return base


def batch_loss(model, batch):
    inputs = {"input_ids": batch.input_ids_BT, "attention_mask": batch.attention_mask_BT}
    return model(**inputs, labels=batch.labels_BT).loss


@pytest.mark.parametrize("mode", ["additive", "replace"])
@pytest.mark.parametrize("calibrate", [False, True])
@pytest.mark.parametrize("gate", [{}, {"output_gate": "scalar"}], ids=["no gate", "gate"])
def test_healing_trains_the_memory_and_nothing_else(mode, calibrate, gate):
    model, networks = installed(mode=mode, **gate)
    before = copy_of_state(model)
    report = heal(model, networks, encoded_text(), SETTINGS, pad_token_id=0, calibrate=calibrate)
    changed = {name for name, tensor in model.state_dict().items() if not same_bytes(tensor, before[name])}
    assert changed == {name for name in before if ".memory." in name}
    # Nor is a gradient computed that nobody needs.
    assert all(".memory." in name for name, parameter in model.named_parameters() if parameter.grad is not None)
    assert not model.training
    assert report["loss_after"] < report["loss_before"]


@pytest.mark.parametrize("calibrate", [False, True])
def test_healing_of_no_steps_leaves_an_additive_memory_the_base_and_moves_the_query_map_alone(calibrate):
    model, networks = installed(start="values")
    before, of_base = copy_of_state(model), logits(base_model())
    settings = replace(SETTINGS, num_steps=0)
    report = heal(model, networks, encoded_text(), settings, pad_token_id=0, calibrate=calibrate)
    assert same_bytes(logits(model), of_base)
    changed = {name for name, tensor in model.state_dict().items() if not same_bytes(tensor, before[name])}
    assert all(".memory.query." in name for name in changed)
    assert bool(changed) is calibrate
    assert report["loss_base"] == report["loss_before"] == report["loss_after"]
    stages = ["installed", "calibrated", "healed"] if calibrate else ["installed", "healed"]
    assert sorted({row["stage"] for row in report["slot_use"]}) == sorted(stages)


def test_healing_follows_from_its_seed():
    states = []
    for seed in (1, 1, 2):
        model, networks = installed()
        settings = HealingSettings(num_steps=5, batch_size=2, learning_rate=0.01, seed=seed)
        heal(model, networks, encoded_text(), settings, pad_token_id=0, calibrate=True)
        states.append(logits(model))
    assert same_bytes(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("mode", ["additive", "replace"])
def test_the_report_tells_the_loss_of_the_base_and_of_the_healed_model(mode):
    """The corpus is one text, so that every batch has the same loss."""
    corpus = encoded_text()[:1]
    model, networks = installed(mode=mode)
    installed_model, _ = installed(mode=mode)
    report = heal(model, networks, corpus, SETTINGS, pad_token_id=0, calibrate=True)
    with torch.no_grad():
        losses = [batch_loss(one, collate(corpus, 0)).item() for one in (base_model(), installed_model, model)]
    assert [report["loss_base"], report["loss_before"], report["loss_after"]] == pytest.approx(losses, rel=1e-5)
    assert (report["loss_base"] == report["loss_before"]) == (mode == "additive")
    assert report["settings"]["num_steps"] == 12


def test_without_distillation_healing_is_the_plain_loop():
    """Same text, same order, same steps as training the memory's parameters directly."""
    healed, networks = installed()
    heal(healed, networks, encoded_text(), SETTINGS, pad_token_id=0, calibrate=False)
    plain, _ = installed()
    plain.requires_grad_(False)
    parameters = [parameter for layer in plain.memory_layers().values() for parameter in layer.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    stream = batches(
        encoded_text(), batch_size=4, num_batches=12, pad_token_id=0, seed=derive_seed(SETTINGS.seed, "healing")
    )
    train(plain, parameters, stream, TrainingSettings(num_steps=12, batch_size=4, learning_rate=0.01), "plain")
    assert same_bytes(logits(healed), logits(plain))


# The probe


def test_loss_and_slot_use_equal_plain_loops():
    model = memory_model()
    probe = background_batches(num_batches=3, batch_size=3)
    assert any((batch.attention_mask_BT == 0).any() for batch in probe)
    loss, rows = probe_memory(model, probe, "healed")
    losses, reads_of = [], {0: [[], []], 2: [[], []]}  # of each head: (slot, rank, weight)
    for batch in probe:
        with torch.no_grad(), record_slot_reads(model.memory_layers()) as reads:
            scores = model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT).logits.log_softmax(-1)
        for row, mask in enumerate(batch.attention_mask_BT.tolist()):
            for place in range(sum(mask)):
                if place > 0:
                    losses.append(-float(scores[row, place - 1, batch.input_ids_BT[row, place]]))
                for block, read in reads.items():
                    for head, seen in enumerate(reads_of[block]):
                        slots = read.slot_indices_BTHK[row, place, head].tolist()
                        weights = read.weights_BTHK[row, place, head].tolist()
                        seen.extend(zip(slots, range(4), weights, strict=True))
    assert loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert {row["stage"] for row in rows} == {"healed"}
    found = {(row["layer"], row["head"], row["measure"]): row["value"] for row in rows}
    for block, heads in reads_of.items():
        for head, seen in {"0": heads[0], "1": heads[1], "all": heads[0] + heads[1]}.items():
            count, first = (Counter(slot for slot, rank, _ in seen if rank < limit) for limit in (4, 1))
            weight = Counter()
            for slot, _, share in seen:
                weight[slot] += share
            assert weight[seen[0][0]] >= seen[0][2]
            expected = {
                "slots": 64,
                "reads": len(seen),
                "slots_read": len(count),
                "dead_slots": 64 - len(count),
                "slots_read_first": len(first),
                "busiest_share": max(count.values()) / len(seen),  # 1 % of 64 slots is one slot
                "busiest_share_first": max(first.values()) / (len(seen) / 4),
                "effective_slots": perplexity(count.values()),
                "effective_slots_weighted": perplexity(weight.values()),
            }
            assert {name: found[block, head, name] for name in expected} == pytest.approx(expected, rel=1e-5)
            assert len(rows) == 2 * 3 * len(expected)


def perplexity(amounts):
    total = sum(amounts)
    return math.prod((amount / total) ** -(amount / total) for amount in amounts)


@pytest.mark.parametrize(("num_slots", "busiest"), [(64, 1), (150, 2), (400, 4)])
def test_the_busiest_percent_is_of_all_slots_of_the_table(num_slots, busiest):
    counts = np.arange(num_slots)
    assert slot_use(counts, counts, counts)["busiest_share"] == sum(counts[-busiest:]) / sum(counts)


def test_slots_that_are_used_evenly_are_all_effective_and_one_hub_is_one():
    even, hub = np.full(100, 7), np.where(np.arange(100) == 3, 50, 0)
    assert slot_use(even, hub, hub) == pytest.approx(
        {
            "slots": 100,
            "reads": 700,
            "slots_read": 100,
            "dead_slots": 0,
            "slots_read_first": 1,
            "busiest_share": 0.01,
            "busiest_share_first": 1.0,
            "effective_slots": 100.0,
            "effective_slots_weighted": 1.0,
        }
    )


@pytest.mark.parametrize("calibrate", [False, True])
def test_slot_use_is_a_tidy_table_of_layers_heads_and_stages(calibrate):
    model, networks = installed()
    report = heal(model, networks, encoded_text(), SETTINGS, pad_token_id=0, calibrate=calibrate)
    table = slot_use_table(json.loads(json.dumps(report)))
    assert tuple(table.columns) == SLOT_USE_COLUMNS
    stages = ["installed", "calibrated", "healed"] if calibrate else ["installed", "healed"]
    assert list(table["stage"].unique()) == stages
    assert len(table) == len(stages) * 2 * 3 * 9  # layers, heads and all of them, measures
    assert not table.duplicated(["layer", "head", "stage", "measure"]).any()
    with pytest.raises(DataError, match="holds no slot_use; heal the model again"):
        slot_use_table({"loss_after": 1.0})


# Held-out text


def test_held_out_texts_are_a_seeded_share_and_the_rest_is_learned():
    texts = [Example("", str(number)) for number in range(50)]
    kept, held_out = hold_out(texts, 0.3, 1)
    assert (len(kept), len(held_out)) == (35, 15)
    assert sorted(kept + held_out, key=texts.index) == texts
    assert hold_out(texts, 0.3, 1) == (kept, held_out)
    assert hold_out(texts, 0.3, 2) != (kept, held_out)
    assert [len(part) for part in hold_out(texts[:3], 0.01, 1)] == [2, 1]
    assert [len(part) for part in hold_out(texts[:3], 0.99, 1)] == [1, 2]
    with pytest.raises(DataError, match="1 text cannot be split"):
        hold_out(texts[:1], 0.5, 1)


def test_the_losses_are_those_of_held_out_text_and_training_does_not_see_it():
    corpus = encoded_text()
    learned, other = corpus[1:], corpus[:1]
    model, networks = installed()
    report = heal(model, networks, learned, SETTINGS, pad_token_id=0, calibrate=True, held_out=other)
    with torch.no_grad():
        expected = [batch_loss(one, collate(other, 0)).item() for one in (base_model(), model)]
    assert [report["loss_base"], report["loss_after"]] == pytest.approx(expected, rel=1e-5)
    again, networks = installed()
    heal(again, networks, learned, SETTINGS, pad_token_id=0, calibrate=True, held_out=corpus[1:2])
    assert same_bytes(logits(model), logits(again))


# Calibration


@pytest.mark.parametrize("mode", ["additive", "replace"])
def test_calibrated_queries_have_mean_zero_and_deviation_one_over_real_tokens(mode):
    model = retrofit(base_model(), memory_settings(mode=mode), seed=0)
    probe = background_batches(num_batches=4)
    assert any((batch.attention_mask_BT == 0).any() for batch in probe)
    keys = model.memory_layers()[0].keys_H2NC.clone()
    calibrate_queries(model, probe)
    for layer in model.memory_layers().values():
        queries = []
        hook = layer.query.register_forward_hook(lambda _, inputs, output, seen=queries: seen.append(output))
        with torch.no_grad():
            for batch in probe:
                model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT)
                queries[-1] = queries[-1][batch.attention_mask_BT.flatten() == 1]
        hook.remove()
        seen = torch.cat(queries)
        torch.testing.assert_close(seen.mean(0), torch.zeros(16), atol=1e-4, rtol=0)
        torch.testing.assert_close(seen.std(0), torch.ones(16), atol=1e-4, rtol=0)
    assert torch.equal(model.memory_layers()[0].keys_H2NC, keys)


def test_calibration_of_an_additive_memory_keeps_the_logits_of_the_base():
    model = retrofit(base_model(), memory_settings(), seed=0)
    calibrate_queries(model, background_batches())
    assert same_bytes(logits(model), logits(base_model()))


# Distillation


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", ["additive", "replace"])
def test_a_memory_model_can_act_as_its_base_bit_for_bit_and_be_itself_again(family, mode):
    model, networks = installed(base_model(family), mode=mode, layers=(1, 2))
    with torch.no_grad():
        for layer in model.memory_layers().values():
            layer.output.weight.fill_(0.1)
    itself = logits(model)
    inputs = []
    base = base_model(family)
    decoder_blocks(base)[2].mlp.register_forward_hook(lambda _, given, output: inputs.append((given[0], output)))
    with acting_as_base(model, networks) as seen:
        assert same_bytes(logits(model), logits(base))
        assert set(seen) == {1, 2}
        assert all(same_bytes(mine, its) for mine, its in zip(seen[2], inputs[0], strict=True))
    assert same_bytes(logits(model), itself)
    assert not same_bytes(itself, logits(base))


def test_networks_of_a_block_that_does_not_exist_cannot_be_taken():
    with pytest.raises(CheckpointError, match="names block 3, but the model has blocks 0 to 2"):
        feed_forward_networks(base_model(), (1, 3))


def test_explained_variance_equals_a_plain_computation():
    model, networks = installed(mode="replace")
    base, probe = base_model(), background_batches(num_batches=3)
    assert any((batch.attention_mask_BT == 0).any() for batch in probe)
    calls = {"0": [], "2": []}
    for block, seen in calls.items():
        network = decoder_blocks(base)[int(block)].mlp
        network.register_forward_hook(lambda _, inputs, output, seen=seen: seen.append((inputs[0], output)))
    with torch.no_grad():
        for batch in probe:
            base(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT)
    masks = [batch.attention_mask_BT.bool() for batch in probe]
    for block, share in explained_variance(model, networks, probe).items():
        hidden, outputs = (
            torch.cat([states[mask] for states, mask in zip(part, masks, strict=True)])
            for part in zip(*calls[block], strict=True)
        )
        with torch.no_grad():
            memory = model.memory_layers()[int(block)](hidden.unsqueeze(0))[0]
        mean = outputs.mean(0).expand_as(outputs)
        assert share == pytest.approx(1 - float(mse_loss(memory, outputs) / mse_loss(mean, outputs)), abs=1e-5)


DISTILLING = replace(SETTINGS, num_steps=60, learning_rate=0.02, objective="distillation", distillation_share=1.0)


@pytest.mark.parametrize("calibrate", [False, True])
def test_distillation_teaches_each_memory_what_its_network_gives(calibrate):
    """And so, without ever seeing the loss of the text, gives back most of what the base knew of it."""
    model, networks = installed(trained_base(), mode="replace")
    before = copy_of_state(model)
    report = heal(model, networks, encoded_text(), DISTILLING, pad_token_id=0, calibrate=calibrate)
    for block in ("0", "2"):
        assert report["explained_variance"]["before"][block] < 0.1
        assert report["explained_variance"]["after"][block] > 0.5
    assert report["loss_after"] - report["loss_base"] < 0.5 * (report["loss_before"] - report["loss_base"])
    changed = {name for name, tensor in model.state_dict().items() if not same_bytes(tensor, before[name])}
    assert changed == {name for name in before if ".memory." in name}


def test_layers_are_distilled_independently_of_one_another():
    """Each learns on the base's hidden states, so what the layer below has learned makes no difference."""
    seen = []
    for layers in ((0, 2), (2,)):
        base = base_model()
        networks = feed_forward_networks(base, layers)
        model = retrofit(base, memory_settings(mode="replace", layers=layers), seed=0)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in model.memory_layers()[2].parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        seen.append(explained_variance(model, networks, background_batches())["2"])
    assert seen[0] == seen[1]


@pytest.mark.parametrize(("share", "steps"), [(0.25, (3, 9)), (1.0, (12, 0)), (0.01, (1, 11))])
def test_both_objectives_share_the_steps(share, steps, monkeypatch):
    made = []

    def recording(model, parameters, stream, settings, description, *others, **options):
        made.append((description, settings.num_steps))
        return train(model, parameters, stream, settings, description, *others, **options)

    monkeypatch.setattr("smf.training.heal.train", recording)
    monkeypatch.setattr("smf.training.distill.train", recording)
    model, networks = installed(mode="replace")
    settings = replace(SETTINGS, objective="distillation", distillation_share=share)
    heal(model, networks, encoded_text(), settings, pad_token_id=0, calibrate=True)
    assert made == [(name, number) for name, number in zip(("distillation", "healing"), steps, strict=True) if number]


# The gate


def stage(folder, memory=MappingProxyType({"mode": "replace"}), max_loss_rise=None, **healing):
    """The stage on a tiny base, whose memories replace their networks unless told otherwise."""
    save_checkpoint(trained_base(), tokenizer(), folder / "base")
    write_corpus(folder / "healing.jsonl", BACKGROUND)
    memory = memory_settings(**memory).plain() | {"calibrate_queries": True}
    make_healed_model(
        memory,
        {"num_steps": 2, "batch_size": 4, "learning_rate": 0.001, "probe_batches": 2, **healing},
        folder / "base",
        folder / "healing.jsonl",
        max_length=MAX_LENGTH,
        gradient_checkpointing=False,
        device="cpu",
        folder=folder / "healed",
        report_path=folder / "logs/report.json",
        max_loss_rise=max_loss_rise,
    )


def test_a_model_that_healing_left_too_far_from_its_base_is_refused(tmp_path):
    message = (
        r"the healed model's loss is (\d+\.\d+) nats per token, (\d+\.\d+) above the base's (\d+\.\d+); "
        r"healing\.max_loss_rise allows 0\.01\. Raise healing\.num_steps, .* the report is in .*logs/report\.json"
    )
    with pytest.raises(TrainingError, match=message) as caught:
        stage(tmp_path, max_loss_rise=0.01)
    assert not list((tmp_path / "healed").glob("*"))
    report = read_json(tmp_path / "logs/report.json")
    healed, rise, base = (float(part) for part in re.search(message, str(caught.value)).groups())
    assert healed == pytest.approx(report["loss_after"], abs=1e-3)
    assert base == pytest.approx(report["loss_base"], abs=1e-3)
    assert rise == pytest.approx(healed - base, abs=2e-3)
    assert rise > 0.01


@pytest.mark.parametrize("limit", [None, 100.0])
def test_a_model_within_the_limit_is_written_with_its_report(tmp_path, limit):
    stage(tmp_path, max_loss_rise=limit, probe_share=0.4)
    assert (tmp_path / "healed/model.safetensors").is_file()
    assert read_json(tmp_path / "healed/report.json") == read_json(tmp_path / "logs/report.json")


def test_a_model_that_heals_in_no_steps_is_the_base_with_a_memory_and_passes_any_limit(tmp_path):
    stage(tmp_path, memory={"start": "values"}, num_steps=0, max_loss_rise=0.0)
    report = read_json(tmp_path / "healed/report.json")
    assert report["loss_after"] == report["loss_base"]
    assert same_bytes(logits(load_model(tmp_path / "healed", "cpu")), logits(load_model(tmp_path / "base", "cpu")))


@pytest.mark.parametrize(("rise", "limit"), [(0.2, 0.1), (math.nan, 0.1), (0.0, -0.5)])
def test_a_rise_above_the_limit_or_of_no_number_is_refused(rise, limit):
    report = {"loss_base": 1.0, "loss_after": 1.0 + rise}
    with pytest.raises(TrainingError, match="max_loss_rise allows"):
        require_healed(report, limit, "report.json")
    require_healed(report, None, "report.json")


def test_a_loss_at_the_limit_is_not_refused():
    require_healed({"loss_base": 1.0, "loss_after": 1.25}, 0.25, "report.json")
