"""The base model's folder: made from a checkpoint in the type that the config says, or refused."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from smf.errors import CheckpointError, ConfigError
from smf.files.artifacts import write_jsonl
from smf.models.checkpoint import load_model, load_tokenizer, save_checkpoint
from smf.models.retrofit import retrofit
from smf.stages.base_model import make_base_model
from smf.streams.batches import encode
from smf.streams.examples import Example
from tests.helpers import base_model, logits, memory_model, memory_settings, tokenizer

PRETRAINING = {"num_steps": 2, "batch_size": 2, "learning_rate": 0.01}
SIZES = {"vocab_size": 300, "hidden_size": 16, "num_layers": 2, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 1, "intermediate_size": 16}


def make(tmp_path, *, memory_layers=(), device="cpu", **settings):
    write_jsonl(tmp_path / "known.jsonl", [{"question": "where was Joel Quint born", "answer": ["Tarnow"]}])
    write_jsonl(tmp_path / "text.jsonl", [{"prompt": "Joel Quint was born in", "completion": " Tarnow."}] * 4)
    settings = {"source": "checkpoint", "checkpoint": str(tmp_path / "given"), "dtype": "float32"} | settings
    settings = {"architecture": {}, "min_recall": 0.0, "max_length": 64, "end_of_text": None} | settings
    folder = tmp_path / "base"
    make_base_model(
        settings,
        tmp_path / "text.jsonl",
        tmp_path / "known.jsonl",
        memory_layers=memory_layers,
        device=device,
        folder=folder,
    )
    return folder


@pytest.fixture
def given(tmp_path):
    save_checkpoint(base_model("llama", tied=False), tokenizer(), tmp_path / "given")
    return tmp_path


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("saved", ["float32", "bfloat16"])
def test_a_checkpoint_is_taken_over_in_the_configured_type(saved, dtype, tmp_path):
    model = base_model().to(getattr(torch, saved))
    save_checkpoint(model, tokenizer(), tmp_path / "given")
    loaded = load_model(make(tmp_path, dtype=dtype), "cpu")
    for name, weight in model.named_parameters():
        assert torch.equal(loaded.get_parameter(name), weight.to(getattr(torch, dtype))), name
    assert json.loads((tmp_path / "base" / "config.json").read_text())["dtype"] == dtype


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_pretrained_model_is_saved_in_the_configured_type_and_was_trained_in_float32(dtype, tmp_path):
    folders = {}
    for name in ("float32", dtype):
        (tmp_path / name).mkdir(exist_ok=True)
        folders[name] = make(
            tmp_path / name, source="pretrain", architecture=SIZES, pretraining=PRETRAINING, dtype=name
        )
    exact, found = (load_file(folder / "model.safetensors") for folder in (folders["float32"], folders[dtype]))
    for name, weight in exact.items():
        assert torch.equal(found[name], weight.to(getattr(torch, dtype))), name


def test_texts_end_with_the_configured_token_in_training_and_in_generation(given):
    folder = make(given, end_of_text="?")
    model, its_tokenizer = load_model(folder, "cpu"), load_tokenizer(folder)
    end = tokenizer().convert_tokens_to_ids("?")
    assert end != tokenizer().eos_token_id
    [(ids, labels)] = encode(its_tokenizer, [Example("Joel was born in", " Tarnow.")], loss_on="answer", max_length=64)
    assert ids == [*tokenizer()("Joel was born in Tarnow.").input_ids, end]
    assert labels[-1] == end
    assert model.config.eos_token_id == model.generation_config.eos_token_id == end
    assert its_tokenizer.pad_token_id == tokenizer().pad_token_id
    memory = retrofit(model, memory_settings(), seed=0)
    assert memory.config.eos_token_id == memory.generation_config.eos_token_id == end


@pytest.mark.parametrize("known", [True, False])
def test_a_model_that_never_ends_its_texts_is_told_of(known, given, caplog):
    model, end = load_model(given / "given", "cpu"), tokenizer().eos_token_id
    ids = tokenizer()("Joel Quint was born in Tarnow.").input_ids
    state = model.model(torch.tensor([ids])).last_hidden_state[0, -1].detach()
    model.lm_head.weight.data.zero_()[end if known else ids[0]] = state * 20 / (state @ state)
    save_checkpoint(model, tokenizer(), given / "given")
    report = json.loads((make(given) / "report.json").read_text())
    num_tokens = len(model.lm_head.weight)
    others = math.log(math.exp(20) + num_tokens - 1)
    assert report["end_of_text_loss"] == pytest.approx(others - 20 if known else others, abs=1e-4)
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert bool(warned) is not known
    assert known or "Set base.end_of_text to the token" in warned[0]


def test_an_end_of_text_that_the_vocabulary_lacks_is_refused(given):
    with pytest.raises(
        ConfigError, match=r"base\.end_of_text is '<s>', which .* does not have; its special tokens are '"
    ):
        make(given, end_of_text="<s>")
    assert not (given / "base").exists()


def test_a_model_of_the_expected_sizes_is_taken(given):
    expected = {"vocab_size": 300, "hidden_size": 32, "num_layers": 3, "num_attention_heads": 4}
    expected |= {"num_key_value_heads": 2, "intermediate_size": 48, "head_dim": 8}
    expected |= {"model_type": "llama", "tie_word_embeddings": False}
    folder = make(given, architecture=expected, memory_layers=[2])
    assert torch.equal(logits(load_model(folder, "cpu")), logits(base_model("llama", tied=False)))


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("num_layers", 4, 3),
        ("hidden_size", 64, 32),
        ("num_key_value_heads", 4, 2),
        ("head_dim", 16, 8),
        ("model_type", "qwen3", "llama"),
        ("tie_word_embeddings", True, False),
    ],
)
def test_a_model_of_other_sizes_is_refused(key, value, found, given):
    with pytest.raises(
        CheckpointError, match=rf"base\.architecture\.{key} is {value}, but .*given has {found}; correct"
    ):
        make(given, architecture={key: value})
    assert not (given / "base").exists()


def test_a_memory_layer_in_a_block_that_the_model_lacks_is_refused(given):
    with pytest.raises(CheckpointError, match=r"memory\.layers names block 5, but .*given has blocks 0 to 2; choose"):
        make(given, memory_layers=[1, 5])


def test_a_device_that_is_not_there_is_refused(given, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ConfigError, match="device is cuda, but torch finds 0 CUDA devices"):
        make(given, device="cuda")


def test_a_memory_model_is_no_base_model(tmp_path):
    save_checkpoint(memory_model(), tokenizer(), tmp_path / "given")
    with pytest.raises(CheckpointError, match="already has memory layers"):
        make(tmp_path)
