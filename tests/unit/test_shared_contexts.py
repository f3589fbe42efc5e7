"""Wordings behind the same context: it is computed once, and nobody can tell from loss, gradients and slots."""

from dataclasses import replace

import pytest
import torch

from smf.methods.loss import language_model_loss
from smf.models.memory_model import decoder_blocks
from smf.models.recompute import recompute_activations
from smf.streams.batches import IGNORED
from smf.streams.fact_batches import facts_batch
from tests.helpers import FACTS, FAMILIES, base_model, memory_model, start_method, tokenizer, tokenizer_with_bos

CONTEXT = "Q: where was Mara Teller born?\nA: Velburg\n\n"
ROOM = {"max_position_embeddings": 256}
OPTIONS = {"loss_on": "answer", "max_length": 200}

LENGTH = len(tokenizer()(CONTEXT)["input_ids"])
SHARED = LENGTH - 1  # the last token stays with each sequence


def behind(fact, *contexts):
    """The fact with four prompts, each behind its context."""
    prompts = (*fact.train_prompts, f"{fact.subject} comes from")
    return replace(fact, train_prompts=prompts, train_contexts=contexts)


FACT = behind(FACTS[1], CONTEXT, "", CONTEXT, CONTEXT)
OTHER = behind(FACTS[2], CONTEXT, "", "", CONTEXT)


def batch_of(*facts, its=None, **options):
    return facts_batch(its or tokenizer(), facts, **{**OPTIONS, **options})


def whole(batch):
    """The same batch, but nobody knows what of it is a context."""
    return replace(batch, context_mask_BT=None)


def method_of(kind, family="qwen2", **settings):
    model = memory_model(family) if kind in ("smf", "memory_dense") else base_model(family, **ROOM)
    method = start_method(kind, model=model, **settings)
    method.model.double().eval()  # as so small a model's long steps make float32's rounding grow
    return method


def learned(method, batches, micro):
    """Losses and what was learned, after three steps on each batch."""
    method.micro_batch_size = micro
    reports = [method.step(batch) for batch in batches for _ in range(3)]
    return [report.loss for report in reports], [report.num_tokens for report in reports], method.delta()


@pytest.mark.parametrize(
    ("family", "micro"), [("qwen2", None), ("qwen2", 2), ("llama", 3), ("gemma3", None), ("gemma3", 3)]
)
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("full", {"optimizer": "sgd", "learning_rate": 0.01}),
        ("lora", {"optimizer": "sgd", "learning_rate": 0.1}),
        ("memory_dense", {"optimizer": "sgd", "learning_rate": 0.1}),
        ("smf", {"selector": "none", "damping": 0.1, "learning_rate": 3.0}),
        ("smf", {"selector": "none", "damping": 0.1, "past_weight": 1.0, "learning_rate": None}),
        ("smf", {"selector": "tfidf", "top_t": 6, "learning_rate": 3.0}),
    ],
    ids=str,
)
def test_losses_and_weights_are_those_of_whole_sequences(family, micro, kind, settings):
    batches = [batch_of(FACT), batch_of(OTHER, FACT)]
    found = learned(method_of(kind, family, **settings), batches, micro)
    expected = learned(method_of(kind, family, **settings), [whole(batch) for batch in batches], micro)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize(
    ("family", "bos", "loss_on_first"),
    [*((family, False, False) for family in FAMILIES), ("llama", True, False), ("llama", True, True)],
)
def test_gradients_flow_through_the_context(family, bos, loss_on_first):
    """Also with a token that begins each text, and where the context's last token predicts a label."""
    its = tokenizer()
    if bos:
        its = tokenizer_with_bos()
        its.pad_token = its.eos_token
    batch = batch_of(FACT, its=its)
    assert batch.context_mask_BT.sum(1).tolist() == [LENGTH + bos, 0, LENGTH + bos, LENGTH + bos]
    if loss_on_first:
        labels_BT = batch.input_ids_BT.where((batch.context_mask_BT == 0) & (batch.attention_mask_BT == 1), IGNORED)
        batch = replace(batch, labels_BT=labels_BT)
    gradients = []
    for given in (batch, whole(batch)):
        method = method_of("full", family)
        parts = method.micro_batches(given)
        for part in parts:
            (language_model_loss(method.model, part) * (part.num_labels / batch.num_labels)).backward()
        assert sum(part.num_labels for part in parts) == batch.num_labels
        gradients.append({name: parameter.grad for name, parameter in method.model.named_parameters()})
    assert any(part.context_ids_C is not None for part in method_of("full").micro_batches(batch))
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def tokens_through(module, method, batch, steps):
    """How many tokens pass a module of the model in each step."""
    seen, numbers = [], []
    hook = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[:2].numel()))
    for _ in range(steps):
        method.step(batch)
        numbers.append(sum(seen))
        seen.clear()
    hook.remove()
    return numbers


def own_tokens(batch, rows, shared):
    """Tokens of a part of these rows, padding too."""
    return len(rows) * (int(batch.attention_mask_BT[rows].sum(1).max()) - shared)


def test_dense_methods_compute_the_context_once_a_part():
    method, batch = method_of("full"), batch_of(FACT)
    expected = SHARED + own_tokens(batch, [0, 2, 3], SHARED) + own_tokens(batch, [1], 0)
    assert tokens_through(method.model.model.norm, method, batch, 2) == [expected] * 2


@pytest.mark.parametrize("micro", [None, 3])
def test_sparse_memory_finetuning_computes_the_context_once_a_step_and_its_frozen_part_once_a_batch(micro):
    model = memory_model(layers=(1, 2))
    method = start_method("smf", model=model, learning_rate=3.0, top_t=6)
    method.micro_batch_size = micro
    batch = batch_of(FACT)
    first = SHARED + own_tokens(batch, [0, 2, 3], SHARED) + own_tokens(batch, [1], 0)
    lowest, *_, last = decoder_blocks(model.language_model)
    assert tokens_through(lowest.input_layernorm, method, batch, 3) == [first, 0, 0]
    method = start_method("smf", model=model, learning_rate=3.0, top_t=6)
    method.micro_batch_size = micro
    counted = first - SHARED if micro else 0
    assert tokens_through(last.input_layernorm, method, batch, 3) == [first + counted] * 3


def has_contexts(method, batch):
    return any(part.context_ids_C is not None for part in method.micro_batches(batch))


def test_a_part_holds_no_more_sequences_than_before_and_each_sequence_once():
    method, batch = method_of("full"), batch_of(FACT, OTHER)
    method.micro_batch_size = 3
    rows = []
    for part in method.micro_batches(batch):
        assert len(part.input_ids_BT) <= 3
        before = [] if part.context_ids_C is None else part.context_ids_C.tolist()
        for ids, mask in zip(part.input_ids_BT, part.attention_mask_BT.bool(), strict=True):
            rows.append(before + ids[mask].tolist())
    expected = [
        ids[mask.bool()].tolist() for ids, mask in zip(batch.input_ids_BT, batch.attention_mask_BT, strict=True)
    ]
    assert sorted(rows) == sorted(expected)


@pytest.mark.parametrize(
    "fact",
    [
        replace(FACT, train_contexts=()),
        behind(FACTS[1], CONTEXT, "", "", ""),
        behind(FACTS[1], CONTEXT, "Another text stands here.\n\n", "", ""),
        behind(FACTS[1], "Ah.\n\n", "Ah.\n\n", "", ""),
    ],
    ids=["none", "one sequence", "two contexts", "short"],
)
def test_where_no_long_context_is_shared_sequences_stay_whole(fact):
    method, batch = method_of("full"), batch_of(fact)
    assert method.micro_batches(batch) == [batch]


def test_wordings_that_are_learned_as_a_whole_share_a_context_too():
    batch, settings = batch_of(FACT, loss_on="text"), {"optimizer": "sgd", "learning_rate": 0.01}
    assert has_contexts(method_of("full", **settings), batch)
    found = learned(method_of("full", **settings), [batch], None)
    expected = learned(method_of("full", **settings), [whole(batch)], None)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-6)


def test_one_sequence_a_part_stays_whole():
    method = method_of("full")
    method.micro_batch_size = 1
    assert not has_contexts(method, batch_of(FACT))


def test_a_sliding_window_shorter_than_the_longest_sequence_keeps_them_whole():
    batch = batch_of(FACT)
    width = batch.input_ids_BT.shape[1]
    for window, expected in ((width, True), (width - 1, False)):
        method = start_method("full", model=base_model("gemma3", sliding_window=window, **ROOM))
        assert has_contexts(method, batch) == expected


def test_dropout_and_recomputed_activations_keep_sequences_whole():
    batch, method = batch_of(FACT), method_of("full")
    assert has_contexts(method, batch)
    recompute_activations(method.model)
    assert not has_contexts(method, batch)
    method = method_of("lora", dropout=0.5)
    assert has_contexts(method, batch)
    method.model.train()
    assert not has_contexts(method, batch)


@pytest.mark.parametrize("alone", [{}, {"write_at": "subject"}], ids=str)
def test_facts_with_and_without_contexts_share_a_batch(alone):
    bare = replace(FACTS[0], train_contexts=())
    batch = batch_of(FACT, bare, **alone)
    assert batch.context_mask_BT.sum(1).tolist() == [
        LENGTH if context else 0 for context in (*FACT.contexts, *bare.contexts)
    ]
    own = batch_of(bare, **alone)
    expected = own.attention_mask_BT if own.write_mask_BT is None else own.write_mask_BT
    assert torch.equal(batch.write_mask_BT[4:, : expected.shape[1]], expected)
