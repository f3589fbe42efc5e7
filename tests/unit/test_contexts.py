"""What stands before a wording is read: nothing learns it, and sparse memory writes nothing there."""

from dataclasses import replace

import pytest
import torch

from smf.errors import DataError
from smf.memory import record_slot_reads
from smf.streams.batches import IGNORED
from smf.streams.fact_batches import encode_fact, facts_batch
from smf.streams.facts import read_facts, write_facts
from tests.helpers import FACTS, MAX_LENGTH, copy_of_state, memory_model, start_method, tokenizer

BARE = replace(FACTS[1], train_texts=("A text of its own.",))
CONTEXT = "Once upon a time there was a bridge.\n\n"
FACT = replace(BARE, train_contexts=(CONTEXT, *("" for _ in BARE.train_prompts[1:])))
OPTIONS = {"loss_on": "answer", "max_length": MAX_LENGTH}


def texts_of(rows):
    return [tokenizer().decode(row[0][:-1]) for row in rows]


@pytest.mark.parametrize("loss_on", ["answer", "text"])
def test_a_wording_is_read_behind_its_context_and_learned_as_without(loss_on):
    options = {**OPTIONS, "loss_on": loss_on}
    bare, rows = encode_fact(tokenizer(), BARE, **options), encode_fact(tokenizer(), FACT, **options)
    assert texts_of(rows) == [CONTEXT + texts_of(bare)[0], *texts_of(bare)[1:]]
    labels = [[token for token in row[1] if token != IGNORED] for row in (bare[0], rows[0])]
    assert labels[0] == labels[1]


@pytest.mark.parametrize("write_at", ["all", "subject"])
def test_every_token_may_write_but_those_of_the_context(write_at):
    rows = encode_fact(tokenizer(), FACT, **OPTIONS, write_at=write_at)
    bare = encode_fact(tokenizer(), BARE, **OPTIONS, write_at="subject")
    length = len(tokenizer()(CONTEXT)["input_ids"])
    assert rows[0][2][:length] == [0] * length
    own = [1] * (len(rows[0][0]) - length - 1) + [0] if write_at == "all" else bare[0][2]
    assert rows[0][2][length:] == own
    for row, other in zip(rows[1:], bare[1:], strict=True):
        assert row[2] == ([1] * (len(row[0]) - 1) + [0] if write_at == "all" else other[2])


@pytest.mark.parametrize("micro", [None, 1])
def test_the_gradient_is_that_of_a_model_whose_memory_is_constant_at_the_tokens_of_the_context(micro):
    """Compared with autograd where tokens of the context read a table that no gradient reaches."""
    model = memory_model()
    method = start_method("smf", model=model, selector="none", learning_rate=1.0, optimizer="sgd", polyak=None)
    method.micro_batch_size = micro
    before = copy_of_state(model)
    batch = facts_batch(tokenizer(), [FACT], **OPTIONS)
    expected = gradient_by_hand(memory_model(), batch)
    method.step(batch)
    for block, layer in model.memory_layers().items():
        name = next(name for name in before if layer.values_SV is model.get_parameter(name))
        torch.testing.assert_close(before[name] - layer.values_SV, expected[block], rtol=1e-3, atol=1e-6)


def gradient_by_hand(model, batch):
    layers = model.memory_layers()
    for layer in layers.values():
        layer.values_SV.requires_grad_(True)
        layer.forward = patched(layer, batch.write_mask_BT)
    logits_BTV = model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT).logits
    loss = torch.nn.functional.cross_entropy(
        logits_BTV[:, :-1].flatten(0, 1), batch.labels_BT[:, 1:].flatten(), ignore_index=IGNORED
    )
    tables = [layer.values_SV for layer in layers.values()]
    return dict(zip(layers, torch.autograd.grad(loss, tables), strict=True))


def patched(layer, mask_BT):
    """The layer's read, where tokens outside of the mask read a table that nothing reaches."""

    def forward(hidden_BTD):
        slots_XHK, weights_XHK, gate_XV = layer.address(hidden_BTD.flatten(0, 1))
        slots_XL, weights_XL = slots_XHK.flatten(1), weights_XHK.flatten(1)
        free_XV = (layer.values_SV[slots_XL] * weights_XL[..., None]).sum(1)
        read_XV = torch.where(mask_BT.reshape(-1, 1).bool(), free_XV, free_XV.detach())
        return layer.output(read_XV * gate_XV).view_as(hidden_BTD)

    return forward


def test_slots_that_only_a_context_reads_stay():
    model = memory_model(num_keys=32)
    batch = facts_batch(tokenizer(), [FACT], **OPTIONS)
    with torch.no_grad(), record_slot_reads(model.memory_layers()) as reads:
        model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT)
    method = start_method("smf", model=model, selector="none")
    method.step(batch)
    for block, read in reads.items():
        own = read.slots_of_tokens(batch.write_mask_BT).unique()
        assert method.delta()[f"{block}.slots"].tolist() == own.tolist()
        assert len(own) < len(read.slots_of_tokens(batch.attention_mask_BT).unique())


def test_contexts_are_kept_in_a_stream(tmp_path):
    write_facts(tmp_path / "facts.jsonl", [FACT, FACTS[0]])
    assert read_facts(tmp_path / "facts.jsonl") == [FACT, FACTS[0]]


def test_a_number_of_contexts_other_than_that_of_prompts_is_refused(tmp_path):
    write_facts(tmp_path / "facts.jsonl", [replace(FACT, train_contexts=(CONTEXT, ""))])
    message = rf"facts\.jsonl, line 1: 2 train_contexts, but {len(FACT.train_prompts)} train_prompts"
    with pytest.raises(DataError, match=message):
        read_facts(tmp_path / "facts.jsonl")
