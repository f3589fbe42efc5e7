"""Models and tokenizers from elsewhere: what does not fit is refused at load, what people do works."""

import copy
import json

import pytest
import torch
from tokenizers import AddedToken
from transformers import AutoModelForCausalLM, GPT2Tokenizer

from smf.errors import CheckpointError, DataError
from smf.evaluation.named_model import NamedModel
from smf.models.checkpoint import load_model, load_tokenizer, save_checkpoint
from smf.models.vocabulary import require_fast
from smf.streams.fact_batches import require_fit
from smf.streams.facts import Fact
from smf.teaching.ask import ask
from tests.helpers import FACTS, base_model, encoded_text, logits, memory_model, same_bytes, tokenizer

SIZE = 300


@pytest.fixture
def larger():
    """A copy of the helpers' tokenizer, filled up to exactly as many tokens as the model has rows."""
    found = copy.deepcopy(tokenizer())
    found.add_tokens([f"<{number}>" for number in range(SIZE - len(found))])
    assert len(found) == SIZE
    return found


def test_a_tokenizer_with_a_token_more_than_the_embedding_has_rows_is_refused_at_load(tmp_path, larger):
    save_checkpoint(memory_model(), larger, tmp_path)
    assert len(load_tokenizer(tmp_path)) == SIZE
    larger.add_tokens(["<one more>"])
    save_checkpoint(memory_model(), larger, tmp_path)
    message = (
        rf"the tokenizer in {tmp_path} has 301 tokens, but the model's embedding has 300 rows, without one for "
        r"'<one more>' \(300\); take the tokenizer .* or call model.resize_token_embeddings\(len\(tokenizer\)\)"
    )
    for opened in (
        lambda: load_tokenizer(tmp_path),
        lambda: ask(tmp_path, [], "who?"),
        lambda: NamedModel(str(tmp_path), device="cpu"),
    ):
        with pytest.raises(CheckpointError, match=message):
            opened()


def test_a_special_token_without_a_row_does_no_harm_unless_it_ends_or_pads_texts(tmp_path, larger):
    """Gemma 3's text models have one for images, which no text can give."""
    larger.add_tokens([AddedToken("<image>", special=True)], special_tokens=True)
    save_checkpoint(memory_model(), larger, tmp_path)
    assert load_tokenizer(tmp_path).convert_tokens_to_ids("<image>") == SIZE
    larger.pad_token = "<image>"
    save_checkpoint(memory_model(), larger, tmp_path)
    with pytest.raises(
        CheckpointError, match=r"301 tokens, but the model's embedding has 300 rows.* '<image>' \(300\)"
    ):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("family", ["qwen2", "memory"])
@pytest.mark.parametrize(("name", "value"), [("pad_token_id", 300), ("eos_token_id", [0, 301])])
def test_a_configuration_that_names_a_token_without_a_row_is_refused_at_load(family, name, value, tmp_path):
    save_checkpoint(base_model() if family == "qwen2" else memory_model(), tokenizer(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.get("text_config", config)[name] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=rf"config.json in .* names 30[01] as {name}, but .* has 300 rows"):
        load_model(tmp_path, "cpu")


def test_a_tokenizer_written_in_python_is_refused(monkeypatch):
    monkeypatch.setattr(GPT2Tokenizer, "is_fast", False)
    with pytest.raises(
        CheckpointError, match="the tokenizer in there is a GPT2Tokenizer.* put the model's tokenizer.json"
    ):
        require_fast("there", GPT2Tokenizer(vocab={"a": 0}, merges=[]))


def test_a_text_that_is_too_long_is_named_with_its_file_its_fact_and_the_setting_to_raise():
    long = Fact("long", "Ann", ("so " * 100 + "Ann was born in",), (), "where", ("Ostry",))
    options = {"loss_on": "answer", "max_length": 64}
    number = len(tokenizer()("so " * 100 + "Ann was born in Ostry.").input_ids) + 1
    for given, limit in (
        ({}, "base.max_length"),
        ({"max_wording_length": 64}, "stream.max_length"),
        ({"source": "mine.jsonl", "limit": "--max-length"}, "--max-length"),
    ):
        with pytest.raises(DataError) as found:
            require_fit(tokenizer(), [FACTS[0], long], **options, **given)
        where = "mine.jsonl, " if "source" in given else ""
        assert str(found.value) == (
            f"{where}fact 'long': the text {('so ' * 100)[:60]!r}… has {number} tokens, but {limit} is 64; raise it or "
            "shorten the text"
        )


# What people do with any transformers model


@pytest.fixture(params=[("qwen2", True), ("llama", False), ("gemma3", True)], ids=lambda pair: pair[0])
def model(request):
    family, tied = request.param
    return memory_model(family, tied=tied)


def batch():
    ids = torch.tensor([ids for ids, _ in encoded_text()][0:1])
    return {"input_ids": ids, "labels": ids}


def test_a_memory_model_gets_more_tokens_and_keeps_what_it_says_of_the_old_ones(model, tmp_path, larger):
    before = logits(model)
    tied = model.config.tie_word_embeddings
    larger.add_tokens(["<one more>"])
    embedding = model.resize_token_embeddings(len(larger), mean_resizing=False)
    assert model.get_input_embeddings() is embedding
    assert embedding.weight.shape[0] == model.get_output_embeddings().weight.shape[0] == 301
    assert (model.get_output_embeddings().weight is embedding.weight) == tied
    torch.testing.assert_close(logits(model)[..., :SIZE], before)
    model(**batch()).loss.backward()
    save_checkpoint(model, larger, tmp_path)
    again = load_model(tmp_path, "cpu")
    assert same_bytes(logits(again), logits(model))
    assert len(load_tokenizer(tmp_path)) == again.config.get_text_config().vocab_size == 301


def test_embeddings_and_output_map_of_a_memory_model_can_be_replaced(model):
    with torch.no_grad():
        turned = torch.nn.Linear(32, 300, bias=False)
        turned.weight.copy_(-model.get_output_embeddings().weight)
        before = logits(model)
        model.set_output_embeddings(turned)
        assert model.get_output_embeddings() is model.language_model.lm_head is turned
        torch.testing.assert_close(logits(model), -before)
        other = copy.deepcopy(model.get_input_embeddings())
        model.set_input_embeddings(other)
        assert model.get_input_embeddings() is model.get_decoder().embed_tokens is other
        other.weight.zero_()
        assert not torch.equal(logits(model), -before)


@pytest.mark.parametrize("training", [False, True])
def test_a_compiled_memory_model_gives_the_numbers_and_gradients_of_the_plain_one(model, training):
    model.train(training)
    plain = model(**batch())
    plain.loss.backward()
    want = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad(set_to_none=True)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)(**batch())
    compiled.loss.backward()
    torch.testing.assert_close(compiled.logits, plain.logits)
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    assert found.keys() == want.keys()
    assert any("values_SV" in name for name in found)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, want[name], msg=name)


def test_a_compiled_memory_model_reads_the_slots_of_the_plain_one():
    layer = memory_model().memory_layers()[0]
    hidden_XD = torch.randn(40, 32, generator=torch.Generator().manual_seed(0))
    torch._dynamo.reset()
    plain, compiled = layer.address(hidden_XD), torch.compile(layer.address, backend="aot_eager")(hidden_XD)
    assert torch.equal(plain[0], compiled[0])


def test_checkpointed_copied_and_cast_memory_models_work(model):
    plain = model(**batch())
    plain.loss.backward()
    want = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    other = copy.deepcopy(model)
    other.zero_grad(set_to_none=True)
    other.gradient_checkpointing_enable()
    assert other.is_gradient_checkpointing
    other.train()(**batch()).loss.backward()
    for name, gradient in {n: w.grad for n, w in other.named_parameters() if w.grad is not None}.items():
        torch.testing.assert_close(gradient, want[name], msg=name)
    half = copy.deepcopy(model).to(torch.bfloat16)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    assert half(**batch()).loss.item() == pytest.approx(plain.loss.item(), rel=0.05)
    other.eval().load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()})
    other.tie_weights()
    assert same_bytes(logits(other), logits(model))


def test_a_memory_model_is_placed_by_a_device_map(tmp_path):
    model = memory_model()
    save_checkpoint(model, tokenizer(), tmp_path)
    placed = AutoModelForCausalLM.from_pretrained(tmp_path, device_map="cpu")
    assert same_bytes(logits(placed), logits(model))
