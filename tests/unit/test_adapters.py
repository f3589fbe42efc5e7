"""A memory saved without its base, and put back on it."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from smf.adapters.base import hub_name
from smf.adapters.memory import load_memory, save_memory
from smf.adapters.packing import packed, unpacked
from smf.errors import CheckpointError
from smf.files.artifacts import sha256, write_json
from smf.methods.settings import MethodSettings
from smf.models.checkpoint import load_model, model_hash, save_checkpoint
from smf.models.retrofit import retrofit
from smf.patches.patch import write_patch
from smf.training.learn import StreamSettings
from smf.training.stream import learn_stream
from tests.helpers import (
    FACTS,
    background_counts,
    base_model,
    copy_of_state,
    logits,
    memory_model,
    memory_settings,
    same_bytes,
    tokenizer,
)
from tests.pages import example

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def taught(base):
    """A memory model on this base whose memory is not what a retrofit draws, in any tensor."""
    model = retrofit(base, memory_settings(output_gate="scalar", query_norm="rms"))
    generator = torch.Generator().manual_seed(7)
    for layer in model.memory_layers().values():
        for weight in layer.parameters():
            weight.data = torch.randn(weight.shape, generator=generator).to(weight.dtype)
    return model.eval()


def size_of(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize(
    ("family", "dtype", "shards", "tied"),
    [
        ("qwen2", torch.float32, "1GB", True),
        ("llama", torch.bfloat16, "1GB", False),
        ("gemma3", torch.bfloat16, "100KB", True),
    ],
)
def test_a_saved_memory_on_its_base_is_the_model_of_the_full_folder(family, dtype, shards, tied, tmp_path):
    base_model(family, tied=tied).to(dtype).save_pretrained(tmp_path / "base", max_shard_size=shards)
    assert (tmp_path / "base/model.safetensors.index.json").is_file() == (shards == "100KB")
    save_checkpoint(taught(load_model(tmp_path / "base")), tokenizer(), tmp_path / "full")
    full = load_model(tmp_path / "full")
    save_memory(full, tmp_path / "memory")
    for base in (str(tmp_path / "base"), load_model(tmp_path / "base")):
        again = load_memory(base, tmp_path / "memory")
        assert not again.training
        assert same_bytes(logits(again), logits(full))
    # So is what is written of it: patches of the one fit the other.
    save_checkpoint(again, tokenizer(), tmp_path / "again")
    assert model_hash(tmp_path / "again") == model_hash(tmp_path / "full")


def test_a_memory_takes_a_fraction_of_the_full_folder_and_slots_without_values_take_nothing(tmp_path):
    model = retrofit(base_model(intermediate_size=2048), memory_settings(num_keys=64, start="values"))
    written = {0: [3, 77, 4000], 2: [0]}
    for block, slots in written.items():
        model.memory_layers()[block].values_SV.data[slots] = 1.5
    model.memory_layers()[2].values_SV.data[9, 4] = -0.0
    save_checkpoint(model, tokenizer(), tmp_path / "full")
    save_memory(model, tmp_path / "memory")
    assert sorted(path.name for path in (tmp_path / "memory").iterdir()) == [CONFIG, WEIGHTS]
    assert size_of(tmp_path / "memory") < size_of(tmp_path / "full") / 40
    others = [
        weight for layer in model.memory_layers().values() for weight in layer.parameters() if len(weight) != 4096
    ]
    rows = 5 * (16 * 4 + 8)
    assert size_of(tmp_path / "memory") < sum(weight.nbytes for weight in others) + rows + 5000
    save_checkpoint(base_model(intermediate_size=2048), tokenizer(), tmp_path / "base")
    again = load_memory(tmp_path / "base", tmp_path / "memory")
    for block, layer in model.memory_layers().items():
        assert same_bytes(again.memory_layers()[block].values_SV, layer.values_SV)


def test_a_table_without_empty_slots_is_kept_as_it_is():
    table_SV = torch.ones(6, 4)
    assert list(packed({"values_SV": table_SV})) == ["values_SV"]
    table_SV[:3] = 0
    few = packed({"values_SV": table_SV})
    assert few["values_SV.slots"].tolist() == [3, 4, 5]
    assert same_bytes(unpacked("here", few, 6)["values_SV"], table_SV)


@pytest.mark.parametrize(
    "change",
    [
        {"values_SV.slots": torch.tensor([1, 0])},
        {"values_SV.slots": torch.tensor([1, 6])},
        {"values_SV.slots": torch.tensor([-1, 3])},
        {"values_SV.slots": torch.tensor([1])},
        {"values_SV.slots": torch.tensor([1.0, 2.0])},
        {"values_SV.rows": torch.ones(2)},
    ],
)
def test_slots_that_contradict_their_rows_are_refused(change):
    tensors = {"values_SV.slots": torch.tensor([1, 3]), "values_SV.rows": torch.ones(2, 4)}
    assert unpacked("here", tensors, 6)["values_SV"].sum() == 8
    with pytest.raises(CheckpointError, match="here: the slots of values_SV contradict its rows"):
        unpacked("here", tensors | change, 6)


# Which base


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A base, in its own folder, and a memory of it."""
    folder = tmp_path_factory.mktemp("saved")
    save_checkpoint(base_model(), tokenizer(), folder / "base")
    save_memory(taught(load_model(folder / "base")), folder / "memory", base_name="tiny/base", revision="c0ffee" * 7)
    return folder


@pytest.mark.parametrize(
    ("foreign", "told", "remedy"),
    [
        (lambda: base_model(seed=1), r"Qwen2ForCausalLM, 33,056 weights in float32", "onto tiny/base at that revision"),
        (lambda: base_model(num_hidden_layers=4), r"Qwen2ForCausalLM, 4\d,\d\d\d weights", "onto tiny/base at that"),
        (lambda: base_model("llama"), r"LlamaForCausalLM, \d\d,\d\d\d weights", "onto tiny/base at that revision"),
        (lambda: base_model().to(torch.bfloat16), "33,056 weights in bfloat16", r"with dtype=torch\.float32"),
    ],
    ids=["other weights", "other sizes", "other architecture", "other type"],
)
def test_another_base_is_refused_with_both_named_and_the_remedy(saved, foreign, told, remedy):
    base = foreign()
    wanted = (
        r"belongs to tiny/base at revision c0ffeec0ffee \(Qwen2ForCausalLM, 33,056 weights in float32, hash \w{12}\)"
    )
    before = logits(base)
    with pytest.raises(
        CheckpointError, match=rf"{wanted}, but this is an unnamed model .*{told}.*hash \w{{12}}\); load .*{remedy}"
    ):
        load_memory(base, saved / "memory")
    assert same_bytes(logits(base), before)


def test_a_base_is_the_same_wherever_it_lies_and_however_its_files_are_cut(saved, tmp_path):
    load_model(saved / "base").save_pretrained(tmp_path / "copy", max_shard_size="50KB")
    assert len(list((tmp_path / "copy").glob("*.safetensors"))) > 1
    load_memory(tmp_path / "copy", saved / "memory")


@pytest.mark.parametrize(
    ("where", "name", "revision"),
    [
        ("/hub/models--owner--a-model/snapshots/0123abc", "owner/a-model", "0123abc"),
        ("/models/mine", "/models/mine", None),
        ("owner/name", "owner/name", None),
        ("", None, None),
    ],
)
def test_a_base_in_the_hubs_cache_is_called_by_its_name_and_commit(where, name, revision):
    assert hub_name(where) == (name, revision)


def test_a_memory_of_a_folder_of_smf_retrofit_knows_the_base_that_it_was_made_of(saved, tmp_path):
    save_checkpoint(taught(load_model(saved / "base")), tokenizer(), tmp_path / "full")
    write_json(tmp_path / "full/report.json", {"base": "tiny/base", "commit": "0123abc"})
    save_memory(load_model(tmp_path / "full"), tmp_path / "memory")
    config = json.loads((tmp_path / "memory" / CONFIG).read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("tiny/base", "0123abc")


def test_a_base_that_is_named_is_asked_for_at_its_revision(saved, monkeypatch):
    asked = []

    def find(name, revision):
        asked.append((name, revision))
        return saved / "base", revision

    monkeypatch.setattr("smf.adapters.memory.find_model", find)
    load_memory("tiny/base", saved / "memory")
    load_memory("tiny/copy", saved / "memory")
    assert asked == [("tiny/base", "c0ffee" * 7), ("tiny/copy", "main")]


# What cannot be saved or loaded


def test_a_memory_that_replaced_networks_and_a_model_without_one_are_not_saved(tmp_path):
    with pytest.raises(CheckpointError, match=r"mode replace replaced .*networks.*save_checkpoint"):
        save_memory(memory_model(mode="replace"), tmp_path / "memory")
    with pytest.raises(CheckpointError, match="a Qwen2ForCausalLM has no memory to save; retrofit it"):
        save_memory(base_model(), tmp_path / "memory")
    assert not (tmp_path / "memory").exists()


def test_a_model_with_a_memory_gets_no_second_one(saved):
    with pytest.raises(CheckpointError, match="already has a memory"):
        load_memory(taught(load_model(saved / "base")), saved / "memory")


def rewritten(change):
    """Change the tensors, and let the configuration know."""

    def damage(folder):
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)
        edited(weights_sha256=sha256(folder / WEIGHTS))(folder)

    return damage


def edited(**changes):
    def damage(folder):
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | changes))

    return damage


def flip_a_byte(folder):
    whole = bytearray((folder / WEIGHTS).read_bytes())
    whole[-5] ^= 1
    (folder / WEIGHTS).write_bytes(whole)


GATE = "base_model.model.model.layers.0.mlp.sparse_memory_layer.gate.weight"
SETTINGS = memory_settings(output_gate="scalar", query_norm="rms").plain()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / CONFIG).unlink(), r"holds no memory: there is no adapter_config\.json in it"),
        (lambda folder: (folder / WEIGHTS).unlink(), r"holds no memory: there is no adapter_model\.safetensors in it"),
        (lambda folder: (folder / CONFIG).write_text("{"), r"adapter_config\.json is not valid JSON"),
        (lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9]), "or is damaged"),
        (flip_a_byte, r"safetensors is not the file that adapter_config\.json belongs to, or is damaged"),
        (lambda folder: ((folder / WEIGHTS).write_bytes(b"x"), edited(weights_sha256=sha256(folder / WEIGHTS))(folder)),
         r"cannot read .*adapter_model\.safetensors"),
        (edited(peft_type="LORA"), "is for an adapter of type LORA.*load it with peft"),
        (edited(smf_format=2), "has smf format 2, this version reads 1"),
        (edited(base={"sha256": 3}), "does not say which base its memory belongs to"),
        (edited(memory=None), "holds no memory settings"),
        (edited(memory={**SETTINGS, "top_k": 0}), r"adapter_config\.json: memory\.top_k is 0, but must be at least 1"),
        (edited(memory={**SETTINGS, "mode": "replace"}), "mode replace replaced"),
        (edited(memory={**SETTINGS, "layers": [7]}), "names block 7, but the model has blocks 0 to 2"),
        (edited(memory={**SETTINGS, "num_keys": 4}), r"keys_H2NC is float32 of \[2, 2, 8, 4\], but must be .*4, 4\]"),
        (rewritten(lambda tensors: tensors.pop(GATE)), rf"{re.escape(GATE)} is not there, but must be float32 of"),
        (rewritten(lambda tensors: tensors.update({GATE + "s": tensors[GATE] * 1})), "but must be not there"),
        (rewritten(lambda tensors: tensors.update({GATE: tensors[GATE].half()})), "is float16 of .*must be float32"),
    ],
)  # fmt: skip
def test_a_damaged_memory_is_refused_and_leaves_the_base_as_it_was(saved, damage, message, tmp_path):
    folder = tmp_path / "memory"
    folder.mkdir()
    for name in (CONFIG, WEIGHTS):
        (folder / name).write_bytes((saved / "memory" / name).read_bytes())
    damage(folder)
    base = load_model(saved / "base")
    before = copy_of_state(base)
    with pytest.raises(CheckpointError, match=message):
        load_memory(base, folder)
    after = copy_of_state(base)
    assert after.keys() == before.keys()
    assert all(same_bytes(after[name], before[name]) for name in before)


def test_a_memory_that_could_not_be_written_leaves_the_earlier_one_and_else_none(saved, tmp_path, monkeypatch):
    model = taught(load_model(saved / "base"))
    save_memory(model, tmp_path / "memory")
    before = {path.name: path.read_bytes() for path in (tmp_path / "memory").iterdir()}
    monkeypatch.setattr("smf.adapters.folder.save_file", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    for folder in ("memory", "new"):
        with pytest.raises(OSError, match="disk full"):
            save_memory(retrofit(load_model(saved / "base")), tmp_path / folder)
    assert {path.name: path.read_bytes() for path in (tmp_path / "memory").iterdir()} == before
    with pytest.raises(CheckpointError, match=r"there is no adapter_config\.json"):
        load_memory(saved / "base", tmp_path / "new")


def test_the_example_of_the_docs_puts_memory_and_patch_on_the_base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(base_model(), tokenizer(), "base")
    save_checkpoint(taught(load_model("base")), tokenizer(), "with_memory")
    model = load_model("with_memory")
    background = background_counts(model)
    learned = learn_stream(
        model,
        tokenizer(),
        FACTS,
        MethodSettings("smf", top_t=8),
        StreamSettings(steps_per_fact=1),
        background=background,
    )
    write_patch("facts.safetensors", learned.patch)
    names = {}
    exec(example("memory alone"), names)
    assert not same_bytes(logits(model), logits(load_model("with_memory")))
    assert same_bytes(logits(names["model"]), logits(model))
