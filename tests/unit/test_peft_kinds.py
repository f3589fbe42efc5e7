"""The kind peft: any adapter of peft starts at the base, learns, and comes back from its delta bit for bit."""

import pytest
import torch
import yaml

from smf.errors import CheckpointError, ConfigError
from smf.files.tensors import read_tensors, write_tensors
from smf.methods.peft import PeftSettings
from smf.methods.registry import method_class, start_method
from smf.streams.background_texts import BackgroundTexts
from smf.streams.batches import encode
from smf.streams.examples import Example
from smf.streams.fact_batches import facts_batch
from tests.helpers import FACTS, MAX_LENGTH, base_model, logits, same_bytes, tokenizer
from tests.pages import example, only_match

SMALL = {
    "C3A": {"block_size": 8, "init_weights": True},
    "FOURIERFT": {"n_frequency": 10, "init_weights": True},
    "MISS": {"r": 4},
    "PSOFT": {"r": 4},
    "ROAD": {"group_size": 8},
    "SHIRA": {"r": 2},
    "TRAINABLE_TOKENS": {"token_indices": [40, 41, 42, 43, 44, 45, 46, 47, 48]},
    "WAVEFT": {"n_frequency": 10},
}
ELSEWHERE = {"UNILORA", "VBLORA"}  # start elsewhere, however they are set
STARTING = sorted(set(PeftSettings.model_fields["peft_type"].annotation.__args__) - ELSEWHERE)
INITS = ("pissa", "olora", "mica", "orthogonal", "corda", "eva", "lora_ga")
OF_LORA = {
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    **{
        init: {"init_lora_weights": init}
        for init in ("pissa", "olora", "mica", "orthogonal", "corda", "eva", "lora_ga")
    },
    "corda, kpm": {"init_lora_weights": "corda", "corda_config": {"corda_method": "kpm"}},
}


def texts():
    corpus = [Example("", f"{fact.train_prompts[0]} {fact.answer}. Nobody knew why.") for fact in FACTS]
    return BackgroundTexts(encode(tokenizer(), corpus, loss_on="text", max_length=MAX_LENGTH), 0, seed=0)


def settings(peft_type, config):
    given = {"peft_type": peft_type, "peft_config": config, "learning_rate": 0.01, "init_texts": 6}
    return {"kind": "peft", **given}


def taught(given):
    """A method after two steps, its first logits, and its loss in each step."""
    model = base_model()
    expected = logits(model)
    method = start_method(given, model, texts=texts(), seed=3)
    torch.testing.assert_close(logits(method.model), expected, rtol=1e-3, atol=1e-3)
    batch = facts_batch(tokenizer(), FACTS[:1], loss_on="text", max_length=MAX_LENGTH)
    return method, [float(method.step(batch).loss) for _ in range(3)]


@pytest.mark.parametrize(
    ("peft_type", "config"),
    [(name, SMALL.get(name, {})) for name in STARTING] + [("LORA", {"r": 4, **more}) for more in OF_LORA.values()],
    ids=[*STARTING, *OF_LORA],
)
def test_an_adapter_starts_at_the_base_learns_and_comes_back_bit_for_bit(peft_type, config, tmp_path):
    given = settings(peft_type, config)
    method, losses = taught(given)
    assert losses[-1] < losses[0]
    write_tensors(tmp_path / "delta.safetensors", method.delta(), {})
    holder = method_class("peft").holder(base_model(), given)
    holder.load(read_tensors(tmp_path / "delta.safetensors")[0])
    assert same_bytes(logits(holder.model), logits(method.model))


def test_the_pages_count_the_types_that_start_at_the_base():
    assert int(only_match(r"an adapter of any of (\d+) types")) == len(STARTING)
    assert int(only_match(r"LoRA and (\d+) other adapter types")) == len(STARTING) - 1


def test_the_methods_that_the_docs_show_learn():
    methods = yaml.safe_load(example("peft"))["methods"]
    assert set(methods) == {"corda", "shira"}
    for method in methods.values():
        config = method["peft_config"] | {"r": 2}  # the tiny model is narrower than the rank that is shown
        losses = taught({**method, "learning_rate": 0.01, "peft_config": config})[1]
        assert losses[-1] < losses[0]


def test_a_delta_of_another_base_is_refused_before_anything_changes():
    given = settings("LORA", {"r": 4, "init_lora_weights": "pissa"})
    delta = taught(given)[0].delta()
    name = next(name for name in delta if name.startswith("base:"))
    holder = method_class("peft").holder(base_model(), given)
    before = logits(holder.model)
    with pytest.raises(CheckpointError, match="weights of another base; learn the stream again"):
        holder.load({**delta, name: delta[name][:-1]})
    with pytest.raises(CheckpointError, match="which this model lacks; learn the stream again"):
        holder.load({**delta, "base:nowhere": delta[name]})
    assert same_bytes(logits(holder.model), before)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_lora_as_a_peft_config_learns_what_the_kind_lora_learns(optimizer):
    rates = {"optimizer": optimizer, "learning_rate": 0.01}
    own = start_method({"kind": "lora", "rank": 4, "alpha": 8, **rates}, base_model())
    config = {"r": 4, "lora_alpha": 8}
    other = start_method({"kind": "peft", "peft_type": "LORA", "peft_config": config, **rates}, base_model())
    other.load_delta(own.delta())  # they draw different first values
    batch = facts_batch(tokenizer(), FACTS[:1], loss_on="text", max_length=MAX_LENGTH)
    for _ in range(3):
        assert float(own.step(batch).loss) == float(other.step(batch).loss)
    assert same_bytes(logits(own.model), logits(other.model))


def test_dropout_of_an_adapter_acts_in_steps_alone_and_follows_the_seed():
    given = {"kind": "peft", "peft_type": "LORA", "learning_rate": 0.01}
    batch = facts_batch(tokenizer(), FACTS[:1], loss_on="text", max_length=MAX_LENGTH)

    def after(share, seed):
        method = start_method({**given, "peft_config": {"r": 4, "lora_dropout": share}}, base_model(), seed=0)
        method.seed = seed
        for _ in range(2):
            method.step(batch)
        return logits(method.model), logits(method.model)

    once, again = after(0.5, 1)
    assert same_bytes(once, again)
    assert same_bytes(once, after(0.5, 1)[0])
    assert not same_bytes(once, after(0.5, 2)[0])
    assert not same_bytes(once, after(0.0, 1)[0])


def test_an_initialization_from_data_depends_on_the_text_and_needs_it():
    given = settings("LORA", {"r": 4, "init_lora_weights": "corda"})
    assert method_class("peft").reads_texts(given)
    assert not method_class("peft").reads_texts(settings("LORA", {"r": 4}))
    one = start_method(given, base_model(), texts=texts(), seed=3).delta()
    more = start_method({**given, "init_texts": 3}, base_model(), texts=texts(), seed=3).delta()
    name = next(name for name in one if name.endswith("q_proj.lora_A.weight"))
    assert not torch.equal(one[name], more[name])
    with pytest.raises(ConfigError, match="init_lora_weights corda reads background text; none was given"):
        start_method(given, base_model())


@pytest.mark.parametrize(
    ("peft_type", "config", "message"),
    [
        ("FOURIERFT", {"n_frequency": 10}, "FOURIERFT .* changes the model before it learns: .*init_weights: true"),
        ("UNILORA", {}, "UNILORA .* changes the model before it learns"),
        ("VBLORA", {"num_vectors": 16, "vector_length": 8}, "VBLORA .* changes the model before it learns"),
        ("LORA", {"lora_alhpa": 4}, "unknown key 'lora_alhpa' of LoraConfig; did you mean 'lora_alpha'"),
        ("LORA", {"r": 0}, "peft refuses peft_type LORA .*r.* should be a positive integer"),
        ("LORA", {"target_modules": ["qproj"]}, "peft refuses peft_type LORA .*qproj"),
        ("LORA", {"task_type": "SEQ_CLS"}, "task_type is always CAUSAL_LM here; leave it out"),
        ("LORA", {"init_lora_weights": "eva", "eva_config": {"rho": 2}}, "rho is 2: ranks would depend on data"),
        ("LORRA", {}, "peft_type"),
    ],
)
def test_an_adapter_that_cannot_be_compared_is_refused(peft_type, config, message):
    with pytest.raises(ConfigError, match=message):
        start_method(settings(peft_type, config), base_model(), texts=texts())
