"""The memory model as a transformers model: attach, save, load completely or not at all, generate."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from smf.errors import CheckpointError, ConfigError
from smf.files.model_folder import MEMORY_MODEL_FILES
from smf.memory import MemoryLayer
from smf.models.checkpoint import cast_weights, load_model, load_tokenizer, model_hash, save_checkpoint
from smf.models.config import MemoryConfig
from smf.models.memory_model import MemoryForCausalLM, decoder_blocks
from smf.models.retrofit import retrofit
from smf.settings.memory import MemorySettings
from tests.helpers import (
    FAMILIES,
    base_model,
    copy_of_state,
    fact,
    logits,
    memory_model,
    memory_settings,
    raw_bytes,
    same_bytes,
    tokenizer,
)

families = pytest.mark.parametrize("family", FAMILIES)
tied_or_not = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
starts = pytest.mark.parametrize("start", ["output", "values"])
modes = pytest.mark.parametrize("mode", ["additive", "replace"])
value_dtypes = pytest.mark.parametrize("value_dtype", ["float32", "bfloat16"])


# Attach


@families
@tied_or_not
@starts
def test_additive_attach_gives_bit_identical_logits(family, tied, start):
    before = logits(base_model(family, tied=tied))
    model = retrofit(base_model(family, tied=tied), memory_settings(start=start), seed=0)
    assert same_bytes(logits(model), before)
    assert len(model.memory_layers()) == 2


@families
@value_dtypes
@starts
def test_additive_attach_to_a_bfloat16_model_gives_bit_identical_logits_in_bfloat16(family, value_dtype, start):
    before = logits(base_model(family).bfloat16())
    model = retrofit(base_model(family).bfloat16(), memory_settings(value_dtype=value_dtype, start=start), seed=0)
    assert torch.equal(logits(model), before)
    types = {name.rsplit(".", 1)[1] == "values_SV": parameter.dtype for name, parameter in model.named_parameters()}
    assert types == {True: getattr(torch, value_dtype), False: torch.bfloat16}


@families
@pytest.mark.parametrize("start", [0.0, -0.0])
def test_an_additive_attach_behind_a_closed_gate_gives_bit_identical_logits_with_an_output_map_drawn(family, start):
    settings = memory_settings(output_gate="scalar", output_gate_init=start)
    model = retrofit(base_model(family), settings, seed=0)
    assert same_bytes(logits(model), logits(base_model(family)))
    assert all(layer.output.weight.all() for layer in model.memory_layers().values())


@families
@pytest.mark.parametrize(("start", "reached"), [("values", True), ("output", False)])
def test_the_first_step_reaches_the_values_of_a_table_that_starts_at_zero_but_not_those_behind_a_map_at_zero(
    family, start, reached
):
    model = retrofit(base_model(family), memory_settings(start=start), seed=0)
    ids = torch.tensor([[5, 6, 7, 8]])
    model(input_ids=ids, labels=ids).loss.backward()
    for layer in model.memory_layers().values():
        read = layer.values_SV.grad.any(1)
        assert 0 < read.sum() < len(read) if reached else not read.any()


@families
def test_replacing_networks_by_a_table_that_starts_at_zero_gives_the_base_without_them(family):
    base = base_model(family)
    for number in (0, 2):
        decoder_blocks(base)[number].mlp.forward = torch.zeros_like
    model = retrofit(base_model(family), memory_settings(mode="replace", start="values"), seed=0)
    assert torch.equal(logits(model), logits(base))


def test_a_gate_opens_the_memory_by_its_size():
    """What the memory adds is proportional to the gate; a gate of one is no gate."""
    hidden = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0))
    blocks = [
        decoder_blocks(retrofit(base_model(), memory_settings(**gate, mode="replace"), seed=0).language_model)[0].mlp
        for gate in ({}, *({"output_gate": "scalar", "output_gate_init": start} for start in (1.0, -0.5)))
    ]
    with torch.no_grad():
        plain, one, minus_half = (block(hidden) for block in blocks)
    assert plain.abs().max() > 0.01
    assert same_bytes(one, plain)
    assert same_bytes(minus_half, -0.5 * plain)


@families
def test_replacing_changes_the_logits(family):
    before = logits(base_model(family))
    assert not torch.allclose(logits(memory_model(family, mode="replace", open_output=False)), before, atol=1e-2)


def test_an_opened_additive_memory_changes_the_logits():
    assert not torch.allclose(logits(memory_model()), logits(base_model()), atol=1e-2)


@modes
@pytest.mark.parametrize("layers", [(0,), (1,), (0, 2), (2, 1)], ids=str)
def test_only_the_listed_blocks_change(mode, layers):
    base = copy_of_state(base_model())
    model = memory_model(mode=mode, layers=layers)
    names = set(model.language_model.state_dict())
    for number in range(3):
        network = {name for name in base if name.startswith(f"model.layers.{number}.mlp.")}
        has_memory = f"model.layers.{number}.mlp.memory.values_SV" in names
        assert has_memory == (number in layers)
        if not has_memory:
            assert network <= names
        elif mode == "additive":
            assert {name.replace(".mlp.", ".mlp.feed_forward.") for name in network} <= names
        else:
            assert not any(name.startswith(f"model.layers.{number}.mlp.feed_forward") for name in names)
    assert list(model.memory_layers()) == sorted(layers)
    for name, tensor in model.language_model.state_dict().items():
        if ".memory." not in name:
            assert same_bytes(tensor, base[name.replace(".mlp.feed_forward.", ".mlp.")])


def test_a_block_that_does_not_exist_is_named():
    with pytest.raises(CheckpointError, match="names block 3, but the model has blocks 0 to 2"):
        retrofit(base_model(), memory_settings(layers=(1, 3)), seed=0)


SMALL = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2}


@pytest.mark.parametrize(
    "build",
    [
        lambda: GPT2LMHeadModel(
            GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
        ),
        lambda: OPTForCausalLM(OPTConfig(**SMALL, num_attention_heads=2, ffn_dim=16, word_embed_proj_dim=16)),
        lambda: MambaForCausalLM(MambaConfig(**SMALL)),
    ],
    ids=["GPT2LMHeadModel", "OPTForCausalLM", "MambaForCausalLM"],
)
def test_an_architecture_without_mlp_blocks_is_refused_by_name(build, request):
    with pytest.raises(CheckpointError, match=f"architecture {request.node.callspec.id} has no decoder blocks"):
        retrofit(build(), memory_settings(layers=(0,)), seed=0)


# New weights


@modes
@starts
def test_new_weights_are_finite_and_spread_as_documented(mode, start):
    layer = retrofit(base_model(), memory_settings(mode=mode, start=start, num_keys=32, key_dim=32, value_dim=64), 0)
    layer = layer.memory_layers()[0]
    assert all(torch.isfinite(parameter).all() for parameter in layer.parameters())
    if start == "values":
        assert not layer.values_SV.any()
    else:
        assert layer.values_SV.std().item() == pytest.approx(64**-0.5, rel=0.02)
    assert layer.gate.weight.std().item() == pytest.approx(32**-0.5, rel=0.06)
    assert layer.keys_H2NC.std().item() == pytest.approx(32**-0.5 / 3**0.5, rel=0.06)  # uniform on ± key_dim^-1/2
    assert layer.keys_H2NC.abs().max() <= 32**-0.5
    assert layer.query.weight.std().item() == pytest.approx((2 / (32 + 2 * 32)) ** 0.5, rel=0.06)  # Xavier
    assert not layer.query.bias.any()
    if (mode, start) == ("additive", "output"):
        assert not layer.output.weight.any()
    else:
        assert layer.output.weight.std().item() == pytest.approx(64**-0.5, rel=0.06)


def test_new_weights_follow_from_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (memory_model(seed=seed, open_output=False) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    for name, tensor in copy_of_state(first).items():
        assert same_bytes(tensor, again.state_dict()[name])
    values = [model.memory_layers()[0].values_SV for model in (first, other)]
    assert not torch.equal(*values)
    assert not torch.equal(first.memory_layers()[0].values_SV, first.memory_layers()[2].values_SV)


@families
def test_reading_memories_runs_no_block_above_the_last_memory_layer(family):
    model = memory_model(family, layers=(0, 1))
    before, runs = logits(model), []
    blocks = decoder_blocks(model.language_model)
    for number, block in enumerate(blocks):
        block.register_forward_hook(lambda *_, number=number: runs.append(number))
    model.get_output_embeddings().register_forward_hook(lambda *_: runs.append("logits"))
    ids = torch.tensor([[5, 6, 7]])
    model.read_memories(ids, torch.ones_like(ids))
    assert runs == [0, 1]
    assert same_bytes(logits(model), before)
    assert runs == [0, 1, 0, 1, 2, "logits"]


@pytest.mark.parametrize("query_norm", ["none", "rms"])
def test_a_layer_alone_reads_what_its_formula_says(query_norm):
    """out = W_output (y * silu(W_gate x)), y = sum over heads and slots of softmax(score) * value."""
    torch.manual_seed(0)
    sizes = {"num_keys": 3, "num_heads": 2, "top_k": 2, "key_dim": 4, "value_dim": 5}
    layer = MemoryLayer(6, query_norm=query_norm, zero_output=False, **sizes).double()
    hidden = torch.randn(1, 2, 6, dtype=torch.double)
    with torch.no_grad():
        out = layer(hidden)
        for token in range(2):
            x = hidden[0, token]
            queries = (layer.query.weight @ x + layer.query.bias).view(2, 4)
            if query_norm == "rms":
                queries = queries / queries.square().mean(1, keepdim=True).sqrt()
            y = torch.zeros(5, dtype=torch.double)
            for head in range(2):
                keys = layer.keys_H2NC[head]
                scores = torch.tensor(
                    [float(queries[head] @ torch.cat([keys[0, i], keys[1, j]])) for i in range(3) for j in range(3)]
                )
                best = scores.argsort(descending=True)[:2]
                for weight, slot in zip(scores[best].softmax(0), best, strict=True):
                    y += weight * layer.values_SV[slot]
            gate = layer.gate.weight @ x
            expected = layer.output.weight @ (y * gate * torch.sigmoid(gate))
            torch.testing.assert_close(out[0, token], expected, rtol=1e-5, atol=1e-7)


# Save and load


@families
@tied_or_not
@modes
@pytest.mark.parametrize(
    "options",
    [{}, {"query_norm": "rms"}, {"output_gate": "scalar", "output_gate_init": 0.3}, {"start": "values"}],
    ids=["plain", "query norm", "output gate", "start values"],
)
def test_checkpoint_round_trip_gives_bit_equal_logits(options, family, tied, mode, tmp_path):
    model = memory_model(family, tied=tied, mode=mode, **options)
    with torch.no_grad():
        for layer in model.memory_layers().values():
            if layer.output_gate is not None:
                layer.output_gate.mul_(1.5)  # the trained number comes back, not the one that it started from
    save_checkpoint(model, tokenizer(), tmp_path)
    loaded = load_model(tmp_path, "cpu")
    assert type(loaded) is MemoryForCausalLM
    assert not loaded.training
    assert same_bytes(logits(loaded), logits(model))
    ends = loaded.get_input_embeddings().weight, loaded.get_output_embeddings().weight
    assert (ends[0].data_ptr() == ends[1].data_ptr()) == tied
    assert load_tokenizer(tmp_path)("Mara Teller").input_ids == tokenizer()("Mara Teller").input_ids
    assert len(model_hash(tmp_path)) == 64


@starts
def test_a_loaded_checkpoint_can_be_saved_again_to_the_same_weights(start, tmp_path):
    save_checkpoint(memory_model(start=start, open_output=False), tokenizer(), tmp_path / "first")
    save_checkpoint(load_model(tmp_path / "first", "cpu"), tokenizer(), tmp_path / "second")
    first, second = (tmp_path / name / "model.safetensors" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_a_table_that_was_written_to_is_not_zero_again_when_it_is_loaded(tmp_path):
    model = retrofit(base_model(), memory_settings(start="values"), seed=0)
    with torch.no_grad():
        model.memory_layers()[0].values_SV[3] = 0.5
    save_checkpoint(model, tokenizer(), tmp_path)
    loaded = load_model(tmp_path, "cpu")
    assert {name: raw_bytes(tensor) for name, tensor in loaded.state_dict().items()} == {
        name: raw_bytes(tensor) for name, tensor in model.state_dict().items()
    }


def test_a_checkpoint_from_before_there_was_a_start_is_one_whose_output_map_was_zero(tmp_path):
    model = memory_model()
    save_checkpoint(model, tokenizer(), tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written.pop("start") == "output"
    (tmp_path / "config.json").write_text(json.dumps(written))
    loaded = load_model(tmp_path, "cpu")
    assert loaded.config.start == "output"
    assert same_bytes(logits(loaded), logits(model))


def test_where_the_base_lay_is_no_part_of_the_model(tmp_path):
    hashes = set()
    for name in ("here", "there"):
        save_checkpoint(base_model(), tokenizer(), tmp_path / name / "base")
        healed = retrofit(load_model(tmp_path / name / "base", "cpu"), memory_settings(), seed=0)
        save_checkpoint(healed, tokenizer(), tmp_path / name / "healed")
        hashes.add(model_hash(tmp_path / name / "healed"))
        assert str(tmp_path) not in (tmp_path / name / "healed/config.json").read_text(encoding="utf-8")
    assert len(hashes) == 1


def test_the_model_hash_follows_weights_and_configuration(tmp_path):
    hashes = set()
    for number, model in enumerate((memory_model(), memory_model(seed=1), memory_model(top_k=3))):
        save_checkpoint(model, tokenizer(), tmp_path / str(number))
        hashes.add(model_hash(tmp_path / str(number)))
    assert len(hashes) == 3
    save_checkpoint(memory_model(), tokenizer(), tmp_path / "again")
    assert model_hash(tmp_path / "again") == model_hash(tmp_path / "0")


@pytest.mark.parametrize("base_dtype", [torch.float32, torch.bfloat16], ids=str)
@value_dtypes
def test_a_checkpoint_keeps_the_type_of_the_tables_and_that_of_the_rest(base_dtype, value_dtype, tmp_path):
    base = base_model()
    cast_weights(base, base_dtype)
    model = retrofit(base, memory_settings(value_dtype=value_dtype), seed=0)
    save_checkpoint(model, tokenizer(), tmp_path)
    for loaded in (load_model(tmp_path, "cpu"), AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")):
        for name, weight in model.named_parameters():
            expected = getattr(torch, value_dtype) if name.endswith("values_SV") else base_dtype
            assert loaded.get_parameter(name).dtype == expected
            assert torch.equal(loaded.get_parameter(name), weight)
        assert torch.equal(logits(loaded), logits(model))


def test_a_model_that_is_loaded_in_another_type_keeps_the_type_of_its_tables(saved):
    loaded = AutoModelForCausalLM.from_pretrained(saved, dtype=torch.bfloat16)
    assert loaded.dtype == torch.bfloat16
    assert {layer.values_SV.dtype for layer in loaded.memory_layers().values()} == {torch.float32}


@tied_or_not
@pytest.mark.parametrize("with_memory", [True, False], ids=["memory", "base"])
def test_a_sharded_folder_loads_to_the_same_bits_and_has_a_hash(with_memory, tied, tmp_path):
    model = memory_model(tied=tied) if with_memory else base_model(tied=tied)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    loaded = load_model(tmp_path, "cpu")
    assert same_bytes(logits(loaded), logits(model))
    ends = loaded.get_input_embeddings().weight, loaded.get_output_embeddings().weight
    assert (ends[0].data_ptr() == ends[1].data_ptr()) == tied
    before = model_hash(tmp_path)
    assert model_hash(tmp_path) == before
    shard = max(tmp_path.glob("model-*.safetensors"))
    change_weights(tmp_path, lambda weights: next(iter(weights.values())).add_(1), file=shard.name)
    assert model_hash(tmp_path) != before


@pytest.mark.parametrize("with_memory", [True, False], ids=["memory", "base"])
@pytest.mark.parametrize(("change", "problem"), [("lose", "missing"), ("add", "unexpected")])
def test_a_sharded_folder_with_other_weights_is_refused(change, problem, with_memory, tmp_path):
    model = memory_model() if with_memory else base_model()
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    index_path = tmp_path / "model.safetensors.index.json"
    index = json.loads(index_path.read_text())
    name = next(name for name in sorted(index["weight_map"]) if name.endswith("layers.1.self_attn.q_proj.weight"))
    file = index["weight_map"][name]
    if change == "lose":
        del index["weight_map"][name]
        change_weights(tmp_path, lambda weights: weights.pop(name), file=file)
    else:
        index["weight_map"]["stranger.weight"] = file
        change_weights(tmp_path, lambda weights: weights.update({"stranger.weight": torch.zeros(2)}), file=file)
    index_path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=f"1 {problem} keys, the first"):
        load_model(tmp_path, "cpu")


def test_a_sharded_folder_that_lacks_a_shard_is_refused(tmp_path):
    base_model().save_pretrained(tmp_path, max_shard_size="20KB")
    max(tmp_path.glob("model-*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match="cannot load a language model from"):
        load_model(tmp_path, "cpu")


def test_a_plain_base_model_round_trips_too(tmp_path):
    model = base_model()
    save_checkpoint(model, tokenizer(), tmp_path)
    assert same_bytes(logits(load_model(tmp_path, "cpu")), logits(model))


def test_auto_model_in_a_fresh_process_gives_the_memory_model(tmp_path):
    """All that a user needs is transformers and ``import smf.models``."""
    model = memory_model()
    save_checkpoint(model, tokenizer(), tmp_path)
    save_file({"logits": logits(model)}, tmp_path / "expected")
    code = (
        "import sys, torch, smf.models; from transformers import AutoModelForCausalLM as Auto; "
        "from safetensors.torch import load_file; from tests.helpers import logits; "
        "model = Auto.from_pretrained(sys.argv[1]); "
        "assert torch.equal(logits(model), load_file(sys.argv[1] + '/expected')['logits']); print(type(model).__name__)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "MemoryForCausalLM", done.stderr


def test_without_smf_the_checkpoint_is_refused_not_misread(tmp_path):
    """A checkpoint of published code opens as the base model with random networks; this one names its own type."""
    save_checkpoint(memory_model(), tokenizer(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "smf_memory"
    assert config["architectures"] == ["MemoryForCausalLM"]


@pytest.fixture
def saved(tmp_path):
    save_checkpoint(memory_model(), tokenizer(), tmp_path)
    return tmp_path


@pytest.fixture
def saved_base(tmp_path):
    save_checkpoint(base_model(), tokenizer(), tmp_path)
    return tmp_path


def change_weights(folder, change, file="model.safetensors"):
    weights = load_file(folder / file)
    change(weights)
    save_file(weights, folder / file, {"format": "pt"})


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def value_name(weights):
    return next(name for name in sorted(weights) if name.endswith("layers.2.mlp.memory.values_SV"))


def lose_a_table(weights):
    del weights[value_name(weights)]


def lose_an_attention_map(weights):
    del weights[next(name for name in sorted(weights) if name.endswith("layers.1.self_attn.q_proj.weight"))]


def add_a_weight(weights):
    weights["language_model.model.layers.1.mlp.memory.values_SV"] = torch.zeros(64, 16)


def shrink_a_table(weights):
    weights[value_name(weights)] = weights[value_name(weights)][:-1].clone()


damage = pytest.mark.parametrize(
    ("change", "message"),
    [
        (lose_a_table, r"1 missing keys, the first .*layers\.2\.mlp\.memory\.values_SV"),
        (lose_an_attention_map, r"1 missing keys, the first .*layers\.1\.self_attn\.q_proj\.weight"),
        (add_a_weight, r"1 unexpected keys, the first .*layers\.1\.mlp\.memory\.values_SV"),
        (shrink_a_table, r"1 mismatched keys, the first .*layers\.2\.mlp\.memory\.values_SV"),
    ],
)


@damage
def test_weights_that_do_not_fit_are_refused(saved, change, message):
    change_weights(saved, change)
    with pytest.raises(CheckpointError, match=message):
        load_model(saved, "cpu")


@damage
def test_transformers_own_loader_refuses_them_too(saved, change, message):
    change_weights(saved, change)
    with pytest.raises(CheckpointError, match=message):
        AutoModelForCausalLM.from_pretrained(saved)


def test_a_configuration_with_other_sizes_than_the_weights_is_refused(saved):
    change_config(saved, num_keys=9)
    with pytest.raises(CheckpointError, match=r"4 mismatched keys, the first .*layers\.0\.mlp\.memory\.keys_H2NC"):
        load_model(saved, "cpu")


@pytest.mark.parametrize("layers", [[0], [0, 1, 2]], ids=str)
def test_a_configuration_with_other_layers_than_the_weights_is_refused(saved, layers):
    change_config(saved, layers=layers)
    with pytest.raises(CheckpointError, match="missing keys|unexpected keys"):
        load_model(saved, "cpu")


def test_a_checkpoint_of_another_format_is_refused(saved):
    change_config(saved, smf_format=2)
    with pytest.raises(CheckpointError, match="smf format 2, this version reads 1"):
        load_model(saved, "cpu")


@pytest.mark.parametrize(("change", "problem"), [(lose_an_attention_map, "missing"), (add_a_weight, "unexpected")])
def test_a_base_model_with_other_weights_is_refused(saved_base, change, problem):
    change_weights(saved_base, change)
    with pytest.raises(CheckpointError, match=f"1 {problem} keys, the first"):
        load_model(saved_base, "cpu")


def test_memory_weights_under_a_base_configuration_are_refused(saved, tmp_path_factory):
    """What published checkpoints do silently: the memory is dropped, its blocks get random networks."""
    base_folder = tmp_path_factory.mktemp("base")
    save_checkpoint(base_model(), tokenizer(), base_folder)
    (saved / "config.json").write_bytes((base_folder / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match="missing keys"):
        load_model(saved, "cpu")


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 0.999])
def test_truncated_weights_are_refused(saved, share):
    path = saved / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match="cannot load a language model from"):
        load_model(saved, "cpu")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": "no such model"}'])
def test_a_broken_configuration_is_refused(saved, text):
    (saved / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="cannot load a language model from"):
        load_model(saved, "cpu")


def test_a_folder_that_is_missing_or_empty_is_refused(tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(CheckpointError, match="cannot load a language model from"):
            load_model(folder, "cpu")
        with pytest.raises(CheckpointError, match="cannot load a tokenizer from"):
            load_tokenizer(folder)


def test_a_chat_template_is_saved_with_its_tokenizer(tmp_path):
    chatty = copy.deepcopy(tokenizer())
    chatty.chat_template = "{% for message in messages %}{{ message['content'] }}!{% endfor %}"
    save_checkpoint(base_model(), chatty, tmp_path)
    text = load_tokenizer(tmp_path).apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
    assert text == "Hello!"


def test_a_tokenizer_without_padding_pads_with_its_end_of_text(saved, caplog):
    config = json.loads((saved / "tokenizer_config.json").read_text())
    (saved / "tokenizer_config.json").write_text(json.dumps({**config, "pad_token": None, "eos_token": "?"}))
    with caplog.at_level("INFO"):
        loaded = load_tokenizer(saved)
    assert loaded.pad_token_id == loaded.eos_token_id == tokenizer()("?").input_ids[0]
    assert "has no padding token; padding with '?'" in caplog.text


def test_a_tokenizer_without_end_of_text_is_refused(saved):
    config = json.loads((saved / "tokenizer_config.json").read_text())
    (saved / "tokenizer_config.json").write_text(json.dumps({**config, "eos_token": None}))
    with pytest.raises(CheckpointError, match="no end-of-text token.*name it as `eos_token` in tokenizer_config.json"):
        load_tokenizer(saved)


@pytest.mark.parametrize("device", ["cuda", "cuda:99", "mps"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_loaded(device, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(
        ConfigError, match=f"device is {device}, but torch finds no .*|0 CUDA devices.*set `device: cpu`"
    ):
        load_model(tmp_path / "nowhere", device)


class DiskFullError(OSError):
    pass


def fail_after(calls, function):
    """``function``, but its call number ``calls`` + 1 finds the disk full."""
    done = []

    def failing(*args, **options):
        if len(done) == calls:
            raise DiskFullError("no space left on device")
        done.append(args)
        return function(*args, **options)

    return failing


@pytest.mark.parametrize("calls", [0, 1, 5, len(MEMORY_MODEL_FILES) - 1])
@pytest.mark.parametrize("old", [False, True], ids=["new folder", "over an old checkpoint"])
def test_a_half_written_folder_is_never_taken_for_a_whole_one(tmp_path, monkeypatch, calls, old):
    """Whichever of the files cannot be written: no model, and never old weights under a new configuration."""
    if old:
        save_checkpoint(memory_model(seed=1), tokenizer(), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("smf.files.atomic.os.fsync", fail_after(calls, lambda descriptor: None))
        with pytest.raises(DiskFullError) as caught:
            save_checkpoint(memory_model(seed=2), tokenizer(), tmp_path)
    assert f"{tmp_path} was not written; free space" in caught.value.__notes__[-1]
    with pytest.raises(CheckpointError):
        load_model(tmp_path, "cpu")
    save_checkpoint(memory_model(seed=2), tokenizer(), tmp_path)
    assert same_bytes(logits(load_model(tmp_path, "cpu")), logits(memory_model(seed=2)))
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1  # weights too, as the umask says


# Use


PROMPTS = [f"{person.question}?" for person in (fact("Joel", "Ostry"), fact("Rosa Varga Teller", "Melvik"))]


def generate(model, ids, mask=None, **options):
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, "eos_token_id": None, **options}
    mask = torch.ones_like(ids) if mask is None else mask
    return model.generate(input_ids=ids, attention_mask=mask, **options)[:, ids.shape[1] :]


def left_padded(rows):
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


@families
@modes
def test_generation_with_cache_equals_greedy_decoding_by_whole_passes(family, mode):
    model = memory_model(family, mode=mode)
    ids = torch.tensor([tokenizer()(PROMPTS[0]).input_ids])
    text = ids
    with torch.no_grad():
        for _ in range(12):
            text = torch.cat([text, model(input_ids=text).logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(generate(model, ids, use_cache=True), text[:, ids.shape[1] :])
    assert torch.equal(generate(model, ids, use_cache=False), text[:, ids.shape[1] :])


@families
def test_left_padded_batch_generates_what_single_prompts_generate(family):
    model = memory_model(family)
    rows = tokenizer()(PROMPTS).input_ids
    assert len(rows[0]) != len(rows[1])
    together = generate(model, *left_padded(rows))
    for row, generated in zip(rows, together, strict=True):
        assert torch.equal(generated, generate(model, torch.tensor([row]))[0])


@families
def test_generation_treats_the_memory_model_like_its_base(family):
    """Scores of a left-padded batch are bit-identical, so positions, masks and cache reach the base unchanged."""
    ids, mask = left_padded(tokenizer()(PROMPTS).input_ids)
    options = {"max_new_tokens": 6, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    options |= {"pad_token_id": 0, "eos_token_id": None}
    model = retrofit(base_model(family), memory_settings(), seed=0)
    for mine, reference in zip(
        model.generate(input_ids=ids, attention_mask=mask, **options).logits,
        base_model(family).generate(input_ids=ids, attention_mask=mask, **options).logits,
        strict=True,
    ):
        assert same_bytes(mine, reference)


def test_the_top_k_of_memory_is_not_taken_for_the_top_k_of_sampling(saved, caplog):
    model = memory_model()
    base = base_model()
    assert model.generation_config.top_k == base.generation_config.top_k
    assert load_model(saved, "cpu").generation_config.top_k == base.generation_config.top_k
    assert MemoryForCausalLM(model.config).generation_config.top_k == base.generation_config.top_k
    assert not [record for record in caplog.records if "top_k" in record.getMessage()]


def test_gradient_checkpointing_gives_the_same_gradient():
    """Also with the memory inside the recomputed blocks."""
    ids = torch.randint(1, 250, (2, 9), generator=torch.Generator().manual_seed(0))
    gradients = []
    for checkpointing in (False, True):
        model = memory_model().train()
        if checkpointing:
            model.activation_checkpointing_enable()
        model(input_ids=ids, labels=ids).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_the_configuration_refuses_a_wrong_type():
    with pytest.raises(Exception, match="num_keys"):
        MemoryConfig(text_config=base_model().config.to_dict(), num_keys="many")


def test_the_models_configuration_has_the_memory_settings_with_their_options_and_defaults():
    """It is written again for transformers; the one declaration is that of the config."""
    config, hints = MemoryConfig(), MemoryConfig.__annotations__
    for name, field in MemorySettings.model_fields.items():
        assert getattr(config, name) == ([] if field.is_required() else field.default), name
        if isinstance(field.default, str):
            assert get_args(hints[name]) == get_args(field.annotation), name
