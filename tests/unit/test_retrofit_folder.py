"""`smf retrofit`: a folder that answers as its base does and that `smf teach` takes with no option."""

import json
from pathlib import Path

import pytest
import torch

from smf import cli
from smf.errors import DataError
from smf.files.artifacts import read_json, sha256, write_jsonl
from smf.files.model_folder import COUNTS_FILE
from smf.models.checkpoint import load_model, model_hash, save_checkpoint
from smf.selection.background import BackgroundCounts, count_background
from smf.streams.background_texts import text_batches
from smf.streams.batches import collate, encode
from smf.streams.examples import Example
from smf.teaching.given_files import read_user_texts
from smf.teaching.retrofit_folder import OWN_TEXT, Retrofit, retrofit_folder
from tests.helpers import FAMILIES, MAX_LENGTH, base_model, logits, memory_model, same_bytes, tokenizer

TEXTS = [
    {"text": f"{name} lives in {town}."} for name in ("Mara", "Ina", "Karl") for town in ("Ostry", "Melvik", "Vel")
]


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture
def base(tmp_path):
    return write_base(tmp_path)


def write_base(folder, family="qwen2", dtype=torch.float32, **sizes):
    save_checkpoint(base_model(family, **sizes).to(dtype), tokenizer(), folder / "base")
    write_jsonl(folder / "text.jsonl", TEXTS)
    return folder / "base"


def command(tmp_path, *options):
    few = ("--text", tmp_path / "text.jsonl", "--num-keys", 16)
    return run("retrofit", tmp_path / "base", "-o", tmp_path / "new/model", *few, *options)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_new_folder_gives_the_logits_of_its_base_bit_for_bit(family, tmp_path):
    base = write_base(tmp_path, family)
    assert command(tmp_path) == 0
    assert same_bytes(logits(load_model(tmp_path / "new/model", "cpu")), logits(load_model(base, "cpu")))


def test_a_base_saved_in_bfloat16_gives_a_folder_in_float32_unless_asked_otherwise(tmp_path):
    base = write_base(tmp_path, dtype=torch.bfloat16)
    assert command(tmp_path) == 0
    model = load_model(tmp_path / "new/model", "cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert same_bytes(logits(model), logits(load_model(base, "cpu", torch.float32)))
    assert run("retrofit", base, "-o", tmp_path / "half", "--text", tmp_path / "text.jsonl", "--dtype", "bfloat16") == 0
    types = {
        name.endswith("values_SV"): each.dtype for name, each in load_model(tmp_path / "half", "cpu").named_parameters()
    }
    assert types == {True: torch.float32, False: torch.bfloat16}


def test_what_is_said_is_what_was_done(base, tmp_path, capsys):
    assert command(tmp_path, "--layers", 2, 0) == 0
    out = tmp_path / "new/model"
    counts = BackgroundCounts.load(out / COUNTS_FILE, model_hash=model_hash(out))
    said = capsys.readouterr().out
    for block in (0, 2):
        read = int((counts.layers[block].accesses_S > 0).sum())
        assert f"block {block} got a memory of 256 slots; ordinary text reads {read} of them\n" in said
    assert "counted on 3 batches: 9 sequences of at most 128 tokens, from 9 texts\n" in said
    assert f"smf teach {out} FACTS -o PATCH" in said
    report = read_json(out / "report.json")
    assert report["background"]["corpus_sha256"] == sha256(tmp_path / "text.jsonl")
    assert (report["memory"]["start"], report["memory"]["layers"]) == ("values", [0, 2])


def test_the_counts_are_those_of_every_text_once(base, tmp_path):
    assert command(tmp_path) == 0
    model = load_model(tmp_path / "new/model", "cpu")
    texts = encode(tokenizer(), read_user_texts(tmp_path / "text.jsonl"), loss_on="text", max_length=MAX_LENGTH)
    expected = count_background(model, [collate(texts, 0)], document="batch", provenance={}).layers[1]
    found = BackgroundCounts.load(tmp_path / "new/model" / COUNTS_FILE).layers[1]
    assert torch.equal(found.accesses_S, expected.accesses_S)
    torch.testing.assert_close(found.squared_weights_S, expected.squared_weights_S)


@pytest.mark.parametrize("texts", [[], ["", ""]], ids=["no text", "empty texts"])
def test_text_that_holds_nothing_is_refused_before_the_model_is_asked_to_read_it(texts):
    with pytest.raises(DataError, match=f"none of {len(texts)} texts has any content"):
        text_batches(tokenizer(), texts)


def test_of_a_large_text_a_random_part_is_counted_none_of_it_twice(tmp_path):
    texts = [Example("", f"{number}, {number + 1}") for number in range(3000)]
    stream = text_batches(tokenizer(), texts)
    number = sum(len(batch.input_ids_BT) for batch in stream)
    rows = [tuple(row) for batch in stream for row in batch.input_ids_BT.tolist()]
    assert (len(stream), number, len({tuple(filter(None, row)) for row in rows})) == (200, 800, 800)


@pytest.mark.parametrize(("num_blocks", "low"), [(1, 0), (2, 1), (3, 1), (18, 2), (30, 3)])
def test_the_memory_goes_into_one_low_block_unless_told_otherwise(tmp_path, num_blocks, low):
    base = write_base(tmp_path, num_hidden_layers=num_blocks, hidden_size=16)
    memory = retrofit_folder(base, tmp_path / "out", Retrofit(text=tmp_path / "text.jsonl", num_keys=8)).memory
    assert (memory.layers, memory.value_dim, memory.mode) == ((low,), 16, "additive")


def test_the_text_that_comes_with_smf_is_short_varied_and_counted_by_default(base, tmp_path, capsys):
    rows = [json.loads(line)["text"] for line in Path(OWN_TEXT).read_text(encoding="utf-8").splitlines()]
    assert 150 <= len(rows) == len(set(rows)) <= 250
    assert Path(OWN_TEXT).stat().st_size < 60_000
    assert run("retrofit", base, "-o", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert f"from {len(rows)} texts\n" in said
    assert "block 1 got a memory of 65,536 slots" in said
    assert load_model(tmp_path / "out", "cpu").config.top_k == 16


def test_teach_ask_apply_and_revert_work_on_the_folder_with_no_option(base, tmp_path, capsys):
    assert command(tmp_path) == 0
    out, patch = tmp_path / "new/model", tmp_path / "p.safetensors"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    question = "where is Ann"
    fact = {"prompts": [f"Q: {question}?\nA:"], "question": question, "answers": ["Ostry"]}
    write_jsonl(tmp_path / "facts.jsonl", [fact])
    cut = ("--max-new-tokens", len(tokenizer()(" Ostry", add_special_tokens=False).input_ids))
    many = ("--steps", 100)
    assert run("teach", out, tmp_path / "facts.jsonl", "-o", patch, *many, *cut) == 0
    capsys.readouterr()
    assert run("ask", out, patch, f"{question}?", *cut) == 0
    assert capsys.readouterr().out == "Ostry\n"
    assert run("patch", "apply", out, patch, "-o", tmp_path / "taught") == 0
    capsys.readouterr()
    assert run("ask", tmp_path / "taught", f"{question}?", *cut) == 0
    assert capsys.readouterr().out == "Ostry\n"
    assert run("patch", "revert", tmp_path / "taught", "-o", tmp_path / "again") == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == before


def test_the_same_command_gives_the_same_weights_and_counts(base, tmp_path):
    chosen = Retrofit(text=tmp_path / "text.jsonl", num_keys=16)
    for name in ("one", "two"):
        retrofit_folder(base, tmp_path / name, chosen)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("when", ["calibrate_queries", "count_background", "save_checkpoint", "model_hash"])
def test_an_interrupt_leaves_nothing_behind(base, tmp_path, monkeypatch, capsys, when):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"smf.teaching.retrofit_folder.{when}", interrupt)
    assert command(tmp_path) == 130
    assert not list((tmp_path / "new").iterdir())
    assert "stopped by Ctrl-C\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{base}", "-o", "{base}"), "exists and is not overwritten"),
        (("{base}", "-o", "{out}", "--layers", "3"), "names block 3, but the model has blocks 0 to 2"),
        (("{base}", "-o", "{out}", "--num-keys", "1"), "num_keys is 1, but must be 2 at least"),
        (("{base}", "-o", "{out}", "--text", "{base}/none.txt"), "cannot read"),
        (("{base}", "-o", "{out}", "--text", "{base}/../empty.txt"), "holds no text, only empty rows"),
        (("{base}", "-o", "{out}", "--text", "{base}/config.json"), "no column 'text'"),
        (("{base}", "-o", "{out}", "--device", "gpu"), "device is 'gpu', but must be cpu, cuda"),
        (("{base}/..", "-o", "{out}"), "is not a model folder, as it has no config.json"),
        (("nowhere", "-o", "{out}"), "name one, or a model on the hub (owner/name)"),
        (("no/where", "-o", "{out}"), "HF_HUB_OFFLINE is set"),
        (("{base}/../memory", "-o", "{out}"), "already has memory layers"),
    ],
)
def test_mistakes_end_with_one_message_and_leave_nothing(base, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr("smf.models.hub.is_offline_mode", lambda: True)
    (tmp_path / "empty.txt").write_text("\n \n")
    save_checkpoint(memory_model(), tokenizer(), tmp_path / "memory")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert run("retrofit", *(word.format(base=base, out=tmp_path / "out") for word in arguments)) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "content"), [("t.txt", "one\n\n two \n"), ("t.jsonl", '{"text": "one"}\n{"text": "two"}\n')]
)
def test_texts_are_lines_or_rows_and_empty_ones_are_left_out(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert [example.completion for example in read_user_texts(tmp_path / name)] == ["one", "two"]
