"""Contrast texts: where they come from, how they are counted, and what their weight means."""

from dataclasses import replace

import pytest
import torch

from smf import cli
from smf.config.experiment import Experiment
from smf.errors import CheckpointError, ConfigError
from smf.files.artifacts import read_jsonl, write_jsonl
from smf.methods.smf import SparseMemoryFinetuning
from smf.models.checkpoint import save_checkpoint
from smf.selection.background import BackgroundCounts, DocumentCounts, LayerCounts
from smf.selection.joined import joined, read_background
from smf.selection.trust_region import TrustRegion
from smf.stages.contrast import count_contrast, even_batches, write_contrast_counts
from smf.stages.prepare import prepare_data
from smf.stages.run import Learning, Run, read_inputs
from smf.streams.asking import solved_examples
from smf.streams.contrast import set_aside, swap, texts_beside
from smf.streams.examples import Example, read_corpus, write_corpus
from smf.streams.fact_batches import facts_batch
from smf.streams.facts import Fact, read_facts, write_facts
from smf.streams.other_subjects import OTHER_SUBJECTS, num_nameless, swapped_texts
from smf.teaching.lessons import BEST_ARM, Lessons, check
from smf.teaching.teach import teach
from smf.wordings.lesson_wordings import lesson_fact
from tests.helpers import (
    FACTS,
    MAX_LENGTH,
    background_counts,
    base_model,
    encoded_text,
    memory_model,
    same_bytes,
    start_method,
    tokenizer,
    write_results,
)
from tests.workflow.runs import tiny


def counts_of(accesses, squares, batches, num_batches, sequences, num_sequences, model_hash="m"):
    layer = LayerCounts(
        torch.tensor(accesses),
        torch.tensor(batches),
        num_batches,
        torch.tensor(squares, dtype=torch.double),
        "batch",
        DocumentCounts(torch.tensor(sequences), num_sequences),
    )
    return BackgroundCounts({3: layer}, {"model_hash": model_hash})


TEXT = counts_of([6, 2, 0, 0], [3.0, 1.0, 0.0, 0.0], [4, 1, 0, 0], 4, [7, 2, 0, 0], 8)
CONTRAST = counts_of([0, 1, 3, 0], [0.0, 0.2, 0.6, 0.0], [0, 1, 2, 0], 2, [0, 1, 5, 0], 5)


def test_with_weight_one_both_corpora_weigh_the_same_whatever_their_sizes():
    layer = joined(TEXT, CONTRAST, 1.0).layers[3]
    assert layer.accesses_S.tolist() == [6, 4, 6, 0]  # the contrast's four accesses count as the text's eight
    assert layer.squared_weights_S.tolist() == pytest.approx([3, 1.4, 1.2, 0])
    assert (layer.document_frequency_S.tolist(), layer.num_documents) == ([4, 3, 4, 0], 8)
    sequences = layer.in_documents("sequence")
    assert sequences.document_frequency_S.tolist() == pytest.approx([7, 3.6, 8, 0])
    assert sequences.num_documents == 16


def test_a_corpus_that_is_repeated_weighs_what_it_did():
    twice = counts_of([0, 2, 6, 0], [0.0, 0.4, 1.2, 0.0], [0, 2, 4, 0], 4, [0, 2, 10, 0], 10)
    once, again = (joined(TEXT, contrast, 0.3).layers[3] for contrast in (CONTRAST, twice))
    for name in ("accesses_S", "squared_weights_S", "document_frequency_S"):
        torch.testing.assert_close(getattr(once, name), getattr(again, name))


def test_the_trust_region_bounds_the_disturbance_of_a_mixture_of_both():
    weight, damping = 3.0, 0.5
    region = TrustRegion(joined(TEXT, CONTRAST, weight).layers[3], damping=damping, disturbance="squared_weights")
    of_text, of_contrast = ([3 / 8, 1 / 8, 0, 0], [0, 0.2 / 4, 0.6 / 4, 0])
    mixed = [(text + weight * contrast) / (1 + weight) for text, contrast in zip(of_text, of_contrast, strict=True)]
    q = [value / (sum(mixed) / 4) for value in mixed]
    assert region.shares(torch.arange(4)).tolist() == pytest.approx([damping / (value + damping) for value in q])


def test_counts_of_two_models_are_not_joined():
    other = replace(CONTRAST, provenance={"model_hash": "other"})
    with pytest.raises(CheckpointError, match="model m, contrast texts with other"):
        joined(TEXT, other, 1.0)


def test_without_weight_the_background_is_that_of_ordinary_text_bit_for_bit(tmp_path):
    TEXT.save(tmp_path / "counts.safetensors")
    alone = read_background(tmp_path / "counts.safetensors", tmp_path / "missing.safetensors", 0.0)
    for name in ("accesses_S", "squared_weights_S", "document_frequency_S"):
        assert same_bytes(getattr(alone.layers[3], name), getattr(TEXT.layers[3], name))
    assert joined(TEXT, CONTRAST, 0) is TEXT
    assert read_background(None, None, 0.0) is None
    with pytest.raises(CheckpointError, match="count_contrast"):
        read_background(tmp_path / "counts.safetensors", None, 0.5)


def test_a_method_sees_slots_that_contrast_texts_read_as_busy():
    """The slot that a fact would take first goes last once every contrast text reads it."""
    model = memory_model()
    plain = background_counts(model)
    method = start_method("smf", model=model, selector="tfidf", top_t=1, learning_rate=1.0)
    batch = facts_batch(tokenizer(), [FACTS[0]], loss_on="text", max_length=MAX_LENGTH)
    method.step(batch)
    first = {int(name.split(".")[0]): int(slots) for name, slots in method.delta().items() if name.endswith("slots")}
    layers = {}
    for block, layer in plain.layers.items():
        one = torch.zeros_like(layer.accesses_S).index_fill_(0, torch.tensor([first[block]]), 5)
        layers[block] = LayerCounts(one, one, 5, one.double(), "batch", DocumentCounts(one, 5))
    contrast = BackgroundCounts(layers, plain.provenance)
    other = type(method)(memory_model(), method.settings, joined(plain, contrast, 100.0), 0)
    other.step(batch)
    second = {int(name.split(".")[0]): int(slots) for name, slots in other.delta().items() if name.endswith("slots")}
    assert all(second[block] != first[block] for block in first)


def test_batches_of_contrast_texts_hold_each_once_and_as_many_tokens_as_the_texts():
    encoded = encoded_text()
    lengths = [len(ids) for ids, _ in encoded]
    found = even_batches(encoded, sum(lengths) / 4, 0, seed=1)
    assert len(found) == 4
    assert sorted(sum((batch.attention_mask_BT.sum(1).tolist() for batch in found), [])) == sorted(lengths)
    sizes = [len(batch.input_ids_BT) for batch in found]
    assert max(sizes) - min(sizes) <= 1
    assert len(even_batches(encoded, 1e9, 0, seed=1)) == 1
    assert len(even_batches(encoded, 1e-9, 0, seed=1)) == len(encoded)


def test_counts_of_contrast_texts_are_those_of_the_texts_in_a_pass_of_their_own(tmp_path):
    results = write_results(tmp_path)
    write_corpus(tmp_path / "contrast.jsonl", examples := [Example("", "Ina was born in"), Example("", "The town of")])
    write_contrast_counts(
        results / "healed",
        results / "background" / "counts.safetensors",
        tmp_path / "contrast.jsonl",
        max_length=MAX_LENGTH,
        seed=0,
        device="cpu",
        path=tmp_path / "contrast.safetensors",
    )
    both = read_background(
        results / "background" / "counts.safetensors", tmp_path / "contrast.safetensors", 1.0, model_hash=None
    )
    text = BackgroundCounts.load(results / "background" / "counts.safetensors")
    model = memory_model()
    alone = count_contrast(
        model, tokenizer(), examples, text, max_length=MAX_LENGTH, seed=0, provenance=text.provenance
    )
    tokens = sum(len(tokenizer()(example.completion).input_ids) + 1 for example in examples)
    for block, layer in model.memory_layers().items():
        counted = alone.layers[block]
        assert counted.accesses_S.sum() == tokens * layer.num_heads * layer.top_k
        total = float(text.layers[block].total_accesses)
        scaled = counted.accesses_S.double() * total / float(counted.total_accesses)
        torch.testing.assert_close(both.layers[block].accesses_S, text.layers[block].accesses_S + scaled)


def pool(num_subjects, facts_each=3):
    return [
        Fact(f"{subject}-{place}", f"Person {subject}", (f"Person {subject} likes", "Yes,"), (), "", ("tea",))
        for subject in range(num_subjects)
        for place in range(facts_each)
    ]


def test_facts_are_set_aside_by_whole_subjects_and_their_prompts_lose_nothing_but_the_answer():
    facts = pool(6)
    aside = set_aside(facts, 4, seed=1)
    gone = {fact.subject for fact in facts} - {fact.subject for fact in aside.facts}
    assert len(gone) == 2
    assert aside.facts == [fact for fact in facts if fact.subject not in gone]
    named = [text.completion for text in aside.texts if text.completion != "Yes,"]
    assert len(named) == 4
    assert {text.removesuffix(" likes") for text in named} == gone
    assert aside == set_aside(facts, 4, seed=1)
    assert aside != set_aside(facts, 4, seed=2)
    whole = [replace(fact, train_prompts=(), train_texts=(f"{fact.subject} likes tea.",)) for fact in facts]
    assert {text.completion for text in set_aside(whole, 4, seed=1).texts} == {f"{name} likes tea." for name in gone}


@pytest.mark.parametrize("number", [16, 18, 40])
def test_a_pool_that_would_be_left_empty_is_refused(number):
    with pytest.raises(ConfigError, match=rf"num_facts is {number}, but the data holds 18 new facts about 6"):
        set_aside(pool(6), number, seed=1)


def test_contrast_facts_are_in_no_file_of_facts(tmp_path):
    data = Experiment(tiny(data={"world": {"num_new_people": 5}, "contrast": {"num_facts": 6}})).config["data"]
    prepare_data(data, tmp_path / "with", num_facts=4)
    prepare_data({**data, "contrast": {"num_facts": 0}}, tmp_path / "without", num_facts=4)
    everything, left = (read_facts(tmp_path / name / "facts.jsonl") for name in ("without", "with"))
    texts = {text.completion for text in read_corpus(tmp_path / "with" / "contrast.jsonl")}
    assert len(everything) - len(left) == 8  # two people
    gone = [fact for fact in everything if fact not in left]
    assert texts <= {prompt for fact in gone for prompt in fact.train_prompts}
    assert not any(fact.subject in text for fact in left for text in texts)
    assert not (tmp_path / "without" / "contrast.jsonl").exists()
    for name in ("pretraining", "background", "healing"):
        assert (tmp_path / "with" / f"{name}.jsonl").read_bytes() == (
            tmp_path / "without" / f"{name}.jsonl"
        ).read_bytes()
    with pytest.raises(ConfigError, match="stream.num_facts is 13, but the data holds 12 facts beside .* \\(6\\)"):
        prepare_data(data, tmp_path / "more", num_facts=13)


def test_a_users_own_facts_all_stay_and_other_subjects_take_their_place(tmp_path):
    rows = [
        {"statements": [f"{name} was born in Tarnow."], "subject": name, "question": f"where is {name} from"}
        for name in ("Joel Quint", "Rosa Varga")
    ]
    write_jsonl(tmp_path / "facts.jsonl", [{**row, "answers": ["Tarnow"]} for row in rows])
    for name in ("text", "held_out"):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"text": f"Rain is wet, says the {name}."}])
    source = {"file": str(tmp_path / "facts.jsonl"), "format": "facts"}
    text = {"file": str(tmp_path / "text.jsonl"), "format": "text"}
    held_out = {"web": {**text, "file": str(tmp_path / "held_out.jsonl")}}
    collection = {"background": text, "facts": source, "held_out": held_out}
    changes = {
        "data": {"source": "collection", "collection": collection, "contrast": {"num_facts": 7}},
        "base": {"min_recall": 0.0},
        "stream": {"num_facts": 2},
    }
    prepare_data(Experiment(tiny(**changes)).config["data"], tmp_path / "data", num_facts=2)
    assert len(read_facts(tmp_path / "data" / "facts.jsonl")) == 2
    texts = [row["completion"] for row in read_jsonl(tmp_path / "data" / "contrast.jsonl", {"completion": str})]
    assert len(texts) == 7
    assert all(text.endswith(" was born in") for text in texts)
    others = {other.casefold() for other in OTHER_SUBJECTS}
    assert {text.removesuffix(" was born in").casefold() for text in texts} <= others
    with pytest.raises(ConfigError, match="num_facts is 1000, but the 2 facts make only"):
        swap(read_facts(tmp_path / "data" / "facts.jsonl"), 1000, 1)


def of(subject, prompts=(), texts=(), answers=("Ostry",), question="where"):
    return Fact("f", subject, tuple(prompts), (), question, tuple(answers), tuple(texts))


def said(fact, seed=0):
    """What is said of other subjects, with X in their place."""
    names = sorted(OTHER_SUBJECTS, key=len, reverse=True)
    found = set()
    for texts in swapped_texts([fact], seed):
        for text in texts:
            name = next(name for name in names if name.casefold() in text.completion.casefold())
            start = text.completion.casefold().index(name.casefold())
            found.add(text.completion[:start] + "X" + text.completion[start + len(name) :])
    return found


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        (of("Ann Lee", ["Ann Lee was born in", "In ANN LEE's town,"]), {"X was born in", "In X's town,"}),
        (of("Ann Lee", texts=["Ann Lee, born in Ostry in 1950, sings."]), {"X, born in"}),
        (of("Ann Lee", texts=["Ostry is where Ann Lee was born."]), {"Is where X was born."}),
        (of("where", ["Ann Lee was born in", "The town of Ann Lee is"]), {"X was born in", "The town of X is"}),
        (of("Ann Lee", ["Ann Lee was born in", "The answer is"]), {"X was born in"}),
        (of("where", ["Ann Lee was born in"]), set()),
    ],
)
def test_other_subjects_stand_where_the_facts_own_did_and_no_answer_is_said(fact, expected):
    assert said(fact) == expected


def test_subjects_that_the_facts_are_about_or_answer_with_are_no_other_ones():
    facts = [of("Victoria Bank", ["Victoria Bank is in"], answers=["Paris"])]
    texts = [text.completion for texts in swapped_texts(facts, 0) for text in texts]
    assert not any(word in text for text in texts for word in ("Victoria", "Paris", "Northfield Bank"))
    assert len(texts) == len(set(texts)) == len(OTHER_SUBJECTS) - 4


def test_wordings_without_a_subject_are_counted():
    assert num_nameless([of("Ann Lee", ["Ann Lee was born in", "The answer is"]), of("who", ["She lives in"])]) == 2


def test_a_users_few_facts_make_some_hundred_texts_and_many_facts_one_each_at_least(caplog):
    few = texts_beside([of("Ann Lee", [f"{number}: Ann Lee was born in" for number in range(8)])], 0)
    assert 400 <= len(few) < 408
    many = [of(f"Ann Lee{number}", [f"Ann Lee{number}, number {number}, was born in"]) for number in range(500)]
    assert len(texts_beside(many, 0)) == 500
    assert not caplog.records
    assert texts_beside([of("who", ["She lives in"])], 0) == []
    assert "1 of 1 training wordings do not name what their fact is about" in caplog.text


def test_teaching_counts_the_facts_wordings_about_other_subjects_as_background(tmp_path, monkeypatch):
    """The method sees the mixture of both; with --contrast 0 it sees the text's counts as they are."""
    results, seen = write_results(tmp_path), {}
    facts, counts = results / "facts.jsonl", results / "background" / "counts.safetensors"
    init = SparseMemoryFinetuning.__init__

    def noting(self, model, settings, background, seed, texts=None):
        seen[settings["contrast"]] = background
        init(self, model, settings, background, seed, texts)

    monkeypatch.setattr(SparseMemoryFinetuning, "__init__", noting)
    options = {"counts_path": counts, "lessons": Lessons(steps=1, max_new_tokens=8)}
    for weight in (0.0, 2.0):
        settings = {**BEST_ARM, "contrast": weight}
        teach(results / "healed", facts, tmp_path / f"{weight}.patch", settings=settings, **options)
    text = BackgroundCounts.load(counts)
    others = texts_beside([lesson_fact(fact) for fact in read_facts(facts)], 0)
    alone = count_contrast(
        memory_model(), tokenizer(), others, text, max_length=128, seed=0, provenance=text.provenance
    )
    for block, expected in joined(text, alone, 2.0).layers.items():
        assert same_bytes(seen[0.0].layers[block].accesses_S, text.layers[block].accesses_S)
        assert same_bytes(seen[2.0].layers[block].squared_weights_S, expected.squared_weights_S)
    assert not {fact.subject for fact in FACTS} & {word for other in others for word in other.completion.split()}


def test_teaching_goes_on_only_from_a_state_of_the_same_contrast(tmp_path):
    results = write_results(tmp_path)
    keys = {
        check(
            results / "healed",
            results / "facts.jsonl",
            results / "background" / "counts.safetensors",
            (),
            {**BEST_ARM, "contrast": weight},
            Lessons(max_new_tokens=8),
        ).key
        for weight in (0, 1.0, 2.0)
    }
    assert len(keys) == 3


@pytest.mark.parametrize("weight", ["-1", "nan", "inf"])
def test_a_weight_that_is_none_is_refused_before_anything_is_read(tmp_path, weight, capsys):
    assert cli.main(["teach", str(tmp_path), str(tmp_path / "facts.jsonl"), "-o", "p", "--contrast", weight]) == 1
    assert f"contrast is {float(weight)}, but must be a number of at least 0" in capsys.readouterr().err


METHOD = {"smf_tfidf": {"contrast": 0.5, "sweep": None}}


def test_a_method_with_contrast_needs_contrast_texts():
    with pytest.raises(ConfigError, match=r"contrast is 0.5 in smf_tfidf, but data.contrast.num_facts is 0"):
        Experiment(tiny(methods=METHOD))
    sweeps = {"smf_tfidf": {"contrast": [0, 2]}}
    with pytest.raises(ConfigError, match="contrast is 2 in smf_tfidf"):
        Experiment(tiny(sweeps=sweeps))
    people = {"world": {"num_new_people": 4}}
    Experiment(tiny(methods=METHOD, data={**people, "contrast": {"num_facts": 9}}))


@pytest.mark.parametrize("anchor_on", ["contrast", "both"])
def test_an_anchor_on_contrast_texts_needs_some(anchor_on):
    anchored = {"kept": {"kind": "lora_self_distillation", "learning_rate": 1e-4, "anchor_on": anchor_on}}
    with pytest.raises(ConfigError, match=f"anchor_on is {anchor_on} in kept, .* or anchor_on: background in the"):
        Experiment(tiny(methods=anchored))
    Experiment(tiny(methods={"kept": {**anchored["kept"], "anchor_on": "background"}}))
    people = {"world": {"num_new_people": 4}}
    Experiment(tiny(methods=anchored, data={**people, "contrast": {"num_facts": 9}}))


def test_an_anchor_on_contrast_texts_reads_them_in_the_form_in_which_facts_are_taught(tmp_path):
    """Half of the texts stand behind solved examples here, and none is background text."""
    save_checkpoint(base_model(), tokenizer(), tmp_path / "start")
    write_facts(tmp_path / "facts.jsonl", FACTS)
    told = [Example("", f"The town of Nor{letter} lies in") for letter in "abcd"]
    write_corpus(tmp_path / "contrast.jsonl", told)
    run = Run(
        {"kind": "lora_self_distillation", "learning_rate": 1e-4, "anchor_on": "contrast"},
        tmp_path / "start",
        tmp_path / "facts.jsonl",
        contrast_texts_path=tmp_path / "contrast.jsonl",
    )
    experiment = Experiment(tiny(stream={"behind_examples": 0.5}, prompt_format="few_shot"))
    texts = read_inputs(run, Learning(experiment.learning, 512), [3]).texts.draw(4)
    shown = [
        tokenizer().decode(ids[mask == 1], skip_special_tokens=True)
        for ids, mask in zip(texts.input_ids_BT, texts.attention_mask_BT, strict=True)
    ]
    alone, behind = [text for text in shown if "Q:" not in text], [text for text in shown if "Q:" in text]
    assert len(alone) == len(behind) == 2
    assert {*alone, *(text.removeprefix(solved_examples()) for text in behind)} == {text.completion for text in told}


def test_a_stream_and_contrast_texts_must_have_facts_for_both():
    """Subjects are set aside whole: of nine facts, three people with four facts each."""
    with pytest.raises(ConfigError, match=r"stream.num_facts is 5 and data.contrast.num_facts sets 12 .* 16"):
        Experiment(tiny(data={"world": {"num_new_people": 4}, "contrast": {"num_facts": 9}}, stream={"num_facts": 5}))
