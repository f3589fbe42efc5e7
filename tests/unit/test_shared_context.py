"""Likelihoods with the context computed once against one pass a continuation, and against lm-eval's own HFLM."""

import random

import pytest
import torch
from lm_eval.models.huggingface import HFLM

from smf.errors import ConfigError
from smf.evaluation import branches
from smf.evaluation.language_model import LanguageModel
from smf.evaluation.shared_context import Item, continuation_likelihoods
from tests.helpers import FAMILIES, base_model, memory_model, tokenizer


def random_items(number, seed=0):
    """Items of two to five continuations, of one to nine tokens, behind contexts of one to twenty tokens."""
    rng = random.Random(seed)

    def tokens(most):
        return [rng.randrange(1, 250) for _ in range(rng.randint(1, most))]

    return [Item(tokens(20), [tokens(9) for _ in range(rng.choice((1, 2, 4, 4, 5)))]) for _ in range(number)]


def one_by_one(model, item):
    """Each continuation in a pass of its own."""
    likelihoods = []
    for continuation in item.continuations:
        ids = torch.tensor([[*item.context, *continuation]])
        with torch.no_grad():
            log_probabilities = model(input_ids=ids).logits[0, :-1].log_softmax(-1)[-len(continuation) :]
        target = torch.tensor(continuation)
        greedy = bool((log_probabilities.argmax(-1) == target).all())
        likelihoods.append((log_probabilities.gather(1, target[:, None]).sum().item(), greedy))
    return likelihoods


def assert_equal_to_one_by_one(model, items, **options):
    found = continuation_likelihoods(model, items, **{"rows_per_pass": 16, **options})
    for item, likelihoods in zip(items, found, strict=True):
        for (total, greedy), (expected, expected_greedy) in zip(likelihoods, one_by_one(model, item), strict=True):
            assert total == pytest.approx(expected, rel=1e-6, abs=1e-5)
            assert greedy == expected_greedy


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["base", "memory"])
def test_shared_contexts_give_the_likelihoods_of_separate_passes(family, kind):
    model = base_model(family) if kind == "base" else memory_model(family)
    assert_equal_to_one_by_one(model, random_items(30))


@pytest.mark.parametrize("family", ["qwen2", "gemma2", "gemma3"])
def test_pieces_padded_together_give_the_likelihoods_of_separate_passes(family, monkeypatch):
    """As on a GPU, where a call costs more than padding."""
    monkeypatch.setattr(branches, "ONE_BY_ONE", ())
    assert_equal_to_one_by_one(memory_model(family), random_items(30))


@pytest.mark.parametrize("one_by_one", [True, False])
@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3"])
def test_sliding_windows_reach_back_as_far_as_in_separate_passes(family, one_by_one, monkeypatch):
    monkeypatch.setattr(branches, "ONE_BY_ONE", ("cpu",) if one_by_one else ())
    model = base_model(family, sliding_window=5)
    assert_equal_to_one_by_one(model, random_items(20, seed=2))
    unlimited, limited = (
        continuation_likelihoods(base_model(family, sliding_window=window), random_items(5), rows_per_pass=16)
        for window in (64, 5)
    )
    assert unlimited != limited


def test_attention_is_the_models_own_again_afterwards():
    model = memory_model()
    before = model.config._attn_implementation
    continuation_likelihoods(model, random_items(2), rows_per_pass=16)
    assert model.config._attn_implementation == before
    model.train()(torch.tensor([[1, 2, 3]])).logits.sum().backward()


def test_attention_of_another_kind_is_refused():
    model = base_model()
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(ConfigError, match="flex_attention"):
        continuation_likelihoods(model, random_items(2), rows_per_pass=16)


@pytest.mark.parametrize("rows_per_pass", [1, 7, 1000])
def test_the_number_of_rows_in_a_pass_changes_nothing(rows_per_pass):
    assert_equal_to_one_by_one(memory_model(), random_items(12, seed=1), rows_per_pass=rows_per_pass)


def test_greedy_continuations_are_noticed():
    model = memory_model()
    with torch.no_grad():
        ids = model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=4, do_sample=False, eos_token_id=None)
    greedy = ids[0, 3:].tolist()
    ((found, other),) = continuation_likelihoods(
        model, [Item([5, 6, 7], [greedy, [*greedy[:-1], (greedy[-1] + 1) % 250]])], rows_per_pass=4
    )
    assert found[1]
    assert not other[1]


def test_eager_attention_gives_the_same():
    model = memory_model()
    items = random_items(8)
    expected = continuation_likelihoods(model, items, rows_per_pass=8)
    model.set_attn_implementation("eager")
    found = continuation_likelihoods(model, items, rows_per_pass=8)
    for mine, theirs in zip(found, expected, strict=True):
        assert [total for total, _ in mine] == pytest.approx([total for total, _ in theirs], abs=1e-4)


@pytest.mark.parametrize("family", ["qwen2", "gemma3"])
def test_our_bridge_scores_as_lm_evals_own_model_does(family):
    """Also where one text is too long and loses its beginning."""
    model = memory_model(family)
    lm = LanguageModel(model, tokenizer(), batch_size=8, max_length=24)
    requests = [
        (("context", "continuation"), list(item.context), list(continuation))
        for item in random_items(15, seed=3)
        for continuation in item.continuations
    ]
    lengths = [len(context) + len(continuation) for _, context, continuation in requests]
    assert min(lengths) < 24 < max(lengths)
    expected = HFLM._loglikelihood_tokens(lm, requests, disable_tqdm=True)
    found = lm._loglikelihood_tokens(requests)
    assert [total for total, _ in found] == pytest.approx([total for total, _ in expected], rel=1e-6, abs=1e-5)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_a_text_is_read_as_far_back_as_the_model_reads_and_a_longer_continuation_is_refused():
    lm = LanguageModel(memory_model(), tokenizer(), batch_size=8, max_length=24)
    read = []
    with lm.model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].shape[1])):
        lm._loglikelihood_tokens([(("", ""), [5] * 20, [6] * length) for length in (4, 5, 9, 24)])
        assert read == [(20 + 3 + 4) + 24 + 24], "two share a whole context of 20; the others are cut to 24 tokens"
        with pytest.raises(
            ConfigError, match="the continuation to score has 25 tokens, but the model reads at most 24"
        ):
            lm._loglikelihood_tokens([(("", ""), [5], [6] * 25)])


@pytest.mark.parametrize("family", ["qwen2", "gemma2"])
def test_likelihoods_are_the_same_however_few_logits_are_made_together(family, monkeypatch):
    monkeypatch.setattr("smf.models.logits.positions_at_once", lambda vocab_size: 3)
    model, widths = memory_model(family), []
    with model.get_output_embeddings().register_forward_hook(lambda _, __, out: widths.append(out.shape[:2].numel())):
        found = continuation_likelihoods(model, random_items(8), rows_per_pass=16)
    assert max(widths) == 3
    monkeypatch.undo()
    expected = continuation_likelihoods(model, random_items(8), rows_per_pass=16)
    for mine, theirs in zip(found, expected, strict=True):
        assert [total for total, _ in mine] == pytest.approx([total for total, _ in theirs], abs=1e-5)
        assert [greedy for _, greedy in mine] == [greedy for _, greedy in theirs]
