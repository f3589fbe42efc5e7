"""A memory as peft's method: made, trained, saved and loaded by peft, and the same as smf's own."""

import json

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from smf.adapters.memory import load_memory, save_memory
from smf.adapters.peft_config import SparseMemoryConfig
from smf.errors import CheckpointError
from smf.models.checkpoint import load_model, save_checkpoint
from smf.models.retrofit import memory_for, retrofit
from tests.helpers import base_model, copy_of_state, logits, memory_settings, same_bytes, tokenizer

WEIGHTS = "adapter_model.safetensors"
MEMORY = memory_settings(output_gate="scalar", start="values", output_gate_init=1.0)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base's folder."""
    folder = tmp_path_factory.mktemp("base")
    save_checkpoint(base_model().to(torch.bfloat16), tokenizer(), folder)
    return folder


def moved(layers, seed=7):
    """Values of some slots that are not zero."""
    generator = torch.Generator().manual_seed(seed)
    for layer in layers.values():
        layer.values_SV.data[::5].normal_(generator=generator)


def test_peft_installs_the_memory_that_a_retrofit_installs(base):
    ours = retrofit(load_model(base), MEMORY, seed=3)
    theirs = peft.get_peft_model(load_model(base), SparseMemoryConfig(memory=MEMORY, seed=3))
    assert theirs.memory_layers().keys() == ours.memory_layers().keys()
    for block, layer in ours.memory_layers().items():
        there = dict(theirs.memory_layers()[block].named_parameters())
        assert {name for name, weight in there.items() if not weight.requires_grad} == set()
        assert all(same_bytes(weight, there.pop(name)) for name, weight in layer.named_parameters())
        assert not there
    trained = {name for name, weight in theirs.named_parameters() if weight.requires_grad}
    assert all(".sparse_memory_layer.default." in name for name in trained)
    assert same_bytes(logits(theirs.eval()), logits(load_model(base)))


def test_without_settings_peft_installs_what_smf_retrofit_does(base):
    theirs = peft.get_peft_model(load_model(base), SparseMemoryConfig())
    assert theirs.peft_config["default"].memory == memory_for(load_model(base))
    assert list(theirs.memory_layers()) == [1]


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_what_one_saves_the_other_loads_bit_for_bit(base, low_cpu_mem_usage, tmp_path):
    full = retrofit(load_model(base), MEMORY)
    moved(full.memory_layers())
    save_memory(full, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(
        load_model(base), tmp_path / "ours", low_cpu_mem_usage=low_cpu_mem_usage, torch_device="cpu"
    )
    assert same_bytes(logits(theirs.eval()), logits(full))
    theirs.save_pretrained(tmp_path / "theirs")
    assert (tmp_path / "theirs" / WEIGHTS).read_bytes() == (tmp_path / "ours" / WEIGHTS).read_bytes()
    assert same_bytes(logits(load_memory(base, tmp_path / "theirs")), logits(full))


def test_the_base_is_there_with_the_adapter_off_and_after_unloading(base):
    before = copy_of_state(load_model(base))
    model = peft.get_peft_model(load_model(base), SparseMemoryConfig(memory=MEMORY)).eval()
    moved(model.memory_layers())
    with model.disable_adapter():
        assert same_bytes(logits(model), logits(load_model(base)))
    with_memory = logits(model)
    assert not same_bytes(with_memory, logits(load_model(base)))
    with pytest.raises(CheckpointError, match=r"cannot be merged.*unload\(\).*load_memory"):
        model.merge_and_unload()
    assert same_bytes(logits(model), with_memory)
    after = copy_of_state(model.unload())
    assert after.keys() == before.keys()
    assert all(same_bytes(after[name], before[name]) for name in before)


def test_two_memories_of_one_base_are_switched(base, tmp_path):
    expected = {}
    for seed, name in enumerate(("first", "second")):
        full = retrofit(load_model(base), memory_settings(layers=(seed,), start="values"))
        moved(full.memory_layers(), seed)
        save_memory(full, tmp_path / name)
        expected[name] = logits(full)
    model = peft.PeftModel.from_pretrained(load_model(base), tmp_path / "first", "first", torch_device="cpu").eval()
    model.load_adapter(tmp_path / "second", "second", torch_device="cpu")
    for name in ("second", "first"):
        model.set_adapter(name)
        assert same_bytes(logits(model.eval()), expected[name])
        assert list(model.memory_layers()) == [0 if name == "first" else 1]
    model.save_pretrained(tmp_path / "both")
    assert same_bytes(logits(load_memory(base, tmp_path / "both/second")), expected["second"])


def test_peft_refuses_another_base_and_a_memory_with_a_hole(base, tmp_path):
    save_memory(retrofit(load_model(base), MEMORY), tmp_path / "memory")
    with pytest.raises(CheckpointError, match=r"the peft adapter belongs to .*but this is .*load the base with dtype"):
        peft.PeftModel.from_pretrained(load_model(base, dtype=torch.float32), tmp_path / "memory")
    tensors = load_file(tmp_path / "memory" / WEIGHTS)
    tensors.popitem()
    save_file(tensors, tmp_path / "memory" / WEIGHTS)
    with pytest.raises(CheckpointError, match="is not there, but must be"):
        peft.PeftModel.from_pretrained(load_model(base), tmp_path / "memory")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory": memory_settings(mode="replace")}, "mode replace replaced"),
        ({"memory": {"layers": [0], "top_k": 0}}, r"memory\.top_k is 0, but must be at least 1"),
        ({"memory": MEMORY, "smf_format": 2}, "has smf format 2, this version reads 1"),
        ({"memory": memory_settings(layers=(9,))}, "names block 9, but the model has blocks 0 to 2"),
    ],
)
def test_settings_that_are_none_of_an_additive_memory_are_refused(base, settings, message):
    with pytest.raises(CheckpointError, match=message):
        peft.get_peft_model(load_model(base), SparseMemoryConfig(**settings))


def test_a_model_with_a_memory_is_no_base_for_peft_either(base):
    with pytest.raises(CheckpointError, match="already has a memory"):
        peft.get_peft_model(retrofit(load_model(base), MEMORY), SparseMemoryConfig())


def test_peft_writes_the_configuration_that_smf_writes(base, tmp_path):
    model = load_model(base)
    save_memory(retrofit(model, MEMORY), tmp_path / "ours")
    peft.get_peft_model(load_model(base), SparseMemoryConfig(memory=MEMORY)).save_pretrained(tmp_path / "theirs")
    ours, theirs = (json.loads((tmp_path / name / "adapter_config.json").read_text()) for name in ("ours", "theirs"))
    assert {name: theirs[name] for name in ours} == ours
    assert theirs.keys() - ours.keys() == {"auto_mapping", "peft_version", "seed"}
