"""Tables that start at zero: in memory and in files only what was written, and equal to ordinary tables bit for bit."""

import json
import mmap
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from smf.adapters.memory import load_memory, save_memory
from smf.errors import CheckpointError
from smf.memory import MemoryLayer, layer, tables
from smf.memory.tables import copy_differing_rows, copy_of_table, written_slots, zero_table
from smf.models.checkpoint import load_model, model_hash, save_checkpoint
from smf.patches.apply import apply
from smf.patches.folder import apply_to_folder, revert_folder
from smf.patches.patch import patch_of, read_patch, write_patch
from smf.streams.fact_batches import facts_batch
from tests.helpers import (
    FACTS,
    MAX_LENGTH,
    base_model,
    copy_of_state,
    logits,
    memory_model,
    raw_bytes,
    same_bytes,
    start_method,
    tokenizer,
)

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a table is an ordinary tensor")
HUGE = 2**12  # keys per half: a table of 2^24 slots of 896 numbers is 60 GB
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def resident():
    """Bytes of memory that this process has."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return 1024 * int(line.split()[1])


def held(table):
    """Bytes of memory in a table's mapping; those of the process also count what its allocator keeps."""
    bounds, size = range(0), 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *values = line.split()
        if not name.endswith(":"):
            bounds = range(*(int(address, 16) for address in name.split("-")))
        elif name == "Rss:" and table.data_ptr() in bounds:
            size = 1024 * int(values[0])
    return size


def zero_model(**settings):
    """A model with a memory that starts with zero values."""
    return memory_model(start="values", **{"open_output": False, **settings})


def written_model(**settings):
    """The same with a few slots written, one of them to the zero that is not all zero bits."""
    model = zero_model(**settings)
    with torch.no_grad():
        for block, memory in model.memory_layers().items():
            memory.values_SV[torch.tensor([3, 17 + block])] = 0.5
            memory.values_SV[9] = -0.0
    return model


def states_agree(first, second):
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(same_bytes(one[name], two[name]) for name in one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_a_zero_table_is_equal_to_zeros_and_can_be_written(dtype):
    table, plain = zero_table(300, 7, dtype), torch.zeros(300, 7, dtype=dtype)
    assert same_bytes(table, plain)
    slots = torch.tensor([0, 5, 299])
    for each in (table, plain):
        each[slots] = torch.arange(21, dtype=dtype).view(3, 7) - 4
    assert same_bytes(table, plain)


@linux
@pytest.mark.parametrize("value_dim", [3, 896, 1500])
def test_written_slots_are_found_wherever_they_lie_on_the_pages_of_a_mapping(value_dim):
    generator = torch.Generator().manual_seed(value_dim)
    table = zero_table(5000, value_dim, torch.float32)
    table[torch.randint(5000, (40,), generator=generator)] += 0.0  # touched, and still zero
    slots = torch.randint(5000, (60,), generator=generator).unique()
    table[slots, torch.randint(value_dim, (len(slots),), generator=generator)] = 1.0
    assert written_slots(table).tolist() == slots.tolist()
    assert written_slots(table.clone()).tolist() == slots.tolist()
    target = zero_table(5000, value_dim, torch.float32)
    target[:100] = 2.0
    copy_differing_rows(target, table)
    assert same_bytes(target, table)


@linux
def test_a_kernel_that_does_not_tell_which_pages_are_held_is_not_believed(monkeypatch):
    table = zero_table(5000, 8, torch.float32)
    table[[0, 4321]] = 1.0
    for answer in (lambda *_: b"", lambda _, size, __: b"\0" * size):
        monkeypatch.setattr(tables.os, "pread", answer)
        assert written_slots(table).tolist() == [0, 4321]


@linux
def test_a_table_larger_than_memory_costs_what_is_written():
    table = zero_table(HUGE**2, 896, torch.float32)
    slots = torch.arange(0, HUGE**2, 2**14)
    table[slots] = 1.0
    read = torch.nn.functional.embedding_bag(torch.arange(0, HUGE**2, 2**8).view(1, -1), table, mode="sum")
    assert (read == len(slots)).all()
    assert written_slots(table).tolist() == slots.tolist()
    assert len(slots) * 896 * 4 <= held(table) <= len(slots) * 2 * mmap.PAGESIZE + mmap.PAGESIZE  # two pages a row


@pytest.mark.parametrize("reason", ["refused", "another system"])
def test_where_there_is_no_mapping_the_table_is_made_of_zeros(reason, monkeypatch):
    def refuse(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    if reason == "another system":
        monkeypatch.setattr(tables.sys, "platform", "darwin")
    assert same_bytes(zero_table(8, 4, torch.float32), torch.zeros(8, 4))


def test_a_zero_table_is_where_torch_puts_new_tensors():
    with torch.device("meta"):
        assert zero_table(8, 4, torch.float32).is_meta


def test_written_slots_are_those_with_any_bit_set_in_pieces_of_any_size(monkeypatch):
    monkeypatch.setattr(tables, "_AT_ONCE", 3)
    table = torch.zeros(10, 2)
    table[2, 1], table[7, 0], table[9, 1] = 1e-45, -0.0, float("nan")
    assert written_slots(table).tolist() == [2, 7, 9]


def test_tables_are_made_equal_to_the_bit_and_equal_rows_are_left_alone(monkeypatch):
    monkeypatch.setattr(tables, "_AT_ONCE", 3)
    source, target = torch.zeros(10, 2), torch.zeros(10, 2)
    source[1], source[8, 1], target[4], target[9] = 2.0, -0.0, 1.0, float("nan")
    source[9] = float("nan")
    copy_differing_rows(target, source)
    assert same_bytes(target, source)
    assert same_bytes(copy_of_table(source), source)


@linux
def test_loading_a_state_into_a_layer_does_not_write_its_zeros():
    before = resident()
    sizes = {"num_keys": 2**10, "num_heads": 1, "top_k": 2, "key_dim": 4, "value_dim": 896}
    first, second = (MemoryLayer(8, zero_output=False, zero_values=True, **sizes) for _ in range(2))
    with torch.no_grad():
        first.values_SV[5], second.values_SV[6] = 1.0, 2.0
    second.load_state_dict(first.state_dict())
    assert written_slots(second.values_SV).tolist() == [5]
    assert resident() - before < 200 * 2**20  # a table of such layers is 3.8 GB


@linux
def test_a_model_whose_table_is_larger_than_memory_is_taught_saved_and_loaded(tmp_path):
    before = resident()
    model = zero_model(num_keys=HUGE, value_dim=896, layers=(1,))
    start = logits(model)
    save_checkpoint(model, tokenizer(), tmp_path / "start")
    assert (tmp_path / "start" / WEIGHTS).stat().st_size < 4 * 2**20
    loaded = load_model(tmp_path / "start")
    assert same_bytes(logits(loaded), start)
    with torch.no_grad():
        loaded.memory_layers()[1].values_SV[:: 2**16] = 0.25
    save_checkpoint(loaded, tokenizer(), tmp_path / "written")
    save_memory(loaded, tmp_path / "alone")
    again = load_model(tmp_path / "written")
    alone = load_memory(base_model(), tmp_path / "alone")
    for each in (again, alone):
        assert written_slots(each.memory_layers()[1].values_SV).tolist() == list(range(0, HUGE**2, 2**16))
        assert same_bytes(logits(each), logits(loaded))
    assert resident() - before < 600 * 2**20  # four tables of 60 GB


@pytest.mark.parametrize("options", [{}, {"optimizer": "adamw", "selector": "none", "weight_decay": 0.1}])
def test_a_stream_on_such_a_table_is_that_on_an_ordinary_one_bit_for_bit(options, monkeypatch):
    found = []
    for ordinary in (False, True):
        if ordinary:
            monkeypatch.setattr(layer, "zero_table", lambda *size: torch.zeros(*size[:2], dtype=size[2]))
        model = zero_model()
        method = start_method("smf", model=model, **options)
        losses = [
            float(method.step(facts_batch(tokenizer(), [fact], loss_on="answer", max_length=MAX_LENGTH)).loss)
            for fact in FACTS
        ]
        found.append((losses, method.delta(), logits(model), copy_of_state(model)))
    (losses, delta, ends, state), (losses_2, delta_2, ends_2, state_2) = found
    assert losses == losses_2
    assert same_bytes(ends, ends_2)
    for one, two in ((delta, delta_2), (state, state_2)):
        assert one.keys() == two.keys()
        assert all(same_bytes(one[name], two[name]) for name in one)
    assert any(part.any() for name, part in delta.items() if name.endswith("values"))


def test_a_table_of_zeros_is_not_in_the_file(tmp_path):
    model = zero_model()
    save_checkpoint(model, tokenizer(), tmp_path)
    assert not [name for name in load_file(tmp_path / WEIGHTS) if "values" in name or "written" in name]
    assert json.loads((tmp_path / CONFIG).read_text())["written_slots"] == {"0": 0, "2": 0}
    assert states_agree(load_model(tmp_path), model)
    assert model.config.written_slots == load_model(tmp_path).config.written_slots == {}


@pytest.mark.parametrize("value_dtype", ["float32", "bfloat16"])
def test_of_a_written_table_the_file_holds_the_written_slots(value_dtype, tmp_path):
    model = written_model(value_dtype=value_dtype)
    save_checkpoint(model, tokenizer(), tmp_path)
    stored = load_file(tmp_path / WEIGHTS)
    prefix = "language_model.model.layers.2.mlp.memory."
    assert stored[prefix + "written_slots_R"].tolist() == [3, 9, 19]
    assert same_bytes(stored[prefix + "written_rows_RV"], model.memory_layers()[2].values_SV[[3, 9, 19]])
    loaded = load_model(tmp_path)
    assert states_agree(loaded, model)
    assert loaded.memory_layers()[2].values_SV.requires_grad
    save_checkpoint(loaded, tokenizer(), tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / WEIGHTS).read_bytes()


def test_a_table_that_is_written_all_over_is_stored_whole_and_so_are_those_that_started_with_drawn_values(tmp_path):
    healed, drawn = zero_model(), memory_model()
    with torch.no_grad():
        for memory in healed.memory_layers().values():
            memory.values_SV.normal_()
    for name, model in (("healed", healed), ("drawn", drawn)):
        save_checkpoint(model, tokenizer(), tmp_path / name)
        assert "written_slots" not in json.loads((tmp_path / name / CONFIG).read_text())
        assert len([key for key in load_file(tmp_path / name / WEIGHTS) if key.endswith("values_SV")]) == 2
        assert states_agree(load_model(tmp_path / name), model)


def stored_whole(folder, model):
    """Make a folder what an earlier version wrote: with all zeros of the tables, and no word of written slots."""
    tensors = {name: part for name, part in load_file(folder / WEIGHTS).items() if ".written_" not in name}
    tensors |= {name: part.detach() for name, part in model.state_dict().items() if name.endswith("values_SV")}
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    config = json.loads((folder / CONFIG).read_text())
    del config["written_slots"]
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def test_a_folder_of_an_earlier_version_loads_as_before(tmp_path):
    model = written_model()
    save_checkpoint(model, tokenizer(), tmp_path)
    stored_whole(tmp_path, model)
    assert states_agree(load_model(tmp_path), model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda slots: slots.flip(0), "its written slots are not those of a table of 64"),
        (lambda slots: slots + 60, "its written slots are not those of a table of 64"),
        (lambda slots: slots[:-1].clone(), "mismatched keys, the first .*written_slots_R"),
    ],
    ids=["falling", "beyond the table", "too few"],
)
def test_slots_that_cannot_be_a_tables_are_refused(change, message, tmp_path):
    save_checkpoint(written_model(), tokenizer(), tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    name = next(name for name in sorted(tensors) if name.endswith("written_slots_R"))
    save_file({**tensors, name: change(tensors[name])}, tmp_path / WEIGHTS, {"format": "pt"})
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path)


# Patches on folders


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that starts with zero values, and patches of two facts and of one."""
    path = tmp_path_factory.mktemp("zero")
    save_checkpoint(zero_model(), tokenizer(), path / "healed")
    for name, facts in (("two", FACTS[:2]), ("one", FACTS[2:3])):
        model = load_model(path / "healed")
        method = start_method("smf", model=model, selector="tf", top_t=5, learning_rate=3.0)
        known = []
        for place, fact in enumerate(facts):
            method.step(facts_batch(tokenizer(), [fact], loss_on="answer", max_length=MAX_LENGTH))
            method.end_lesson((place,))
            row = {"fact_id": fact.fact_id, "subject": fact.subject, "question": fact.question, "answer": "a"}
            known.append({**row, "stream": name, "position": place + 1})
        history, lessons = method.history()
        patch = patch_of(method.delta(), history, model_hash(path / "healed"), known, lessons)
        write_patch(path / f"{name}.safetensors", patch)
    return path


def files_of(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_patches_come_off_a_folder_without_zeros_and_leave_no_bit(folder, tmp_path):
    paths = [folder / "two.safetensors", folder / "one.safetensors"]
    apply_to_folder(folder / "healed", paths, tmp_path / "both")
    assert model_hash(tmp_path / "both") != model_hash(folder / "healed")
    revert_folder(tmp_path / "both", None, tmp_path / "reverted")
    assert files_of(tmp_path / "reverted") == files_of(folder / "healed")
    revert_folder(tmp_path / "both", paths[0], tmp_path / "left")
    apply_to_folder(folder / "healed", paths[1:], tmp_path / "alone")
    assert files_of(tmp_path / "left") == files_of(tmp_path / "alone")
    apply_to_folder(tmp_path / "alone", [], tmp_path / "same")
    assert files_of(tmp_path / "same") == files_of(tmp_path / "alone")


def test_a_patched_folder_without_zeros_is_what_saving_the_patched_model_writes(folder, tmp_path):
    paths = [folder / "two.safetensors", folder / "one.safetensors"]
    apply_to_folder(folder / "healed", paths, tmp_path / "applied")
    model = load_model(folder / "healed")
    apply(model, [read_patch(path) for path in paths])
    assert states_agree(load_model(tmp_path / "applied"), model)
    save_checkpoint(model, tokenizer(), tmp_path / "saved")
    assert (tmp_path / "applied" / WEIGHTS).read_bytes() == (tmp_path / "saved" / WEIGHTS).read_bytes()
    written = [json.loads((tmp_path / name / CONFIG).read_text())["written_slots"] for name in ("applied", "saved")]
    assert written[0] == written[1] != {"0": 0, "2": 0}


def test_a_patch_whose_rows_the_folder_does_not_hold_is_refused(folder, tmp_path):
    wrong = tmp_path / "wrong"
    apply_to_folder(folder / "healed", [folder / "two.safetensors"], wrong)
    (wrong / "patches.json").unlink()
    patch = read_patch(folder / "one.safetensors")
    write_patch(tmp_path / "one.safetensors", replace(patch, base_hash=model_hash(wrong)))
    with pytest.raises(CheckpointError, match="are not what the patches say"):
        apply_to_folder(wrong, [tmp_path / "one.safetensors"], tmp_path / "out")


def test_a_sharded_folder_without_zeros_takes_patches_too(folder, tmp_path):
    load_model(folder / "healed").save_pretrained(tmp_path / "cut", max_shard_size="20KB")
    tokenizer().save_pretrained(tmp_path / "cut")
    patch = read_patch(folder / "two.safetensors")
    write_patch(tmp_path / "two.safetensors", replace(patch, base_hash=model_hash(tmp_path / "cut")))
    apply_to_folder(tmp_path / "cut", [tmp_path / "two.safetensors"], tmp_path / "applied")
    model = load_model(folder / "healed")
    apply(model, [patch])
    assert states_agree(load_model(tmp_path / "applied"), model)
    assert raw_bytes(model.memory_layers()[0].values_SV) != raw_bytes(zero_model().memory_layers()[0].values_SV)
    revert_folder(tmp_path / "applied", None, tmp_path / "reverted")
    assert model_hash(tmp_path / "reverted") == model_hash(tmp_path / "cut")
