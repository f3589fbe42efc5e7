"""Read overlap: which slots are scored, how far a write to them carries, and what is drawn of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from smf.analysis.read_overlap.choice import FirstChoice, choice_key
from smf.analysis.read_overlap.figure import read_overlap_figure
from smf.analysis.read_overlap.reads import as_rows, read_asked, read_taught
from smf.analysis.read_overlap.stream import stream_overlap
from smf.analysis.read_overlap.table import OVERLAP_COLUMNS, LayerReads, overlap_numbers, overlap_table
from smf.config.experiment import Experiment
from smf.errors import CheckpointError, DataError
from smf.files.artifacts import read_table
from smf.memory import record_slot_reads
from smf.methods.smf import SparseMemoryFinetuning
from smf.models.checkpoint import model_hash, save_checkpoint
from smf.selection.background import BackgroundCounts
from smf.selection.joined import joined
from smf.stages.read_overlap import write_read_overlap
from smf.stages.run import Learning
from smf.streams.asking import Asking, solved_examples
from smf.streams.fact_batches import facts_batch
from smf.streams.facts import question_prompt, write_facts
from smf.training.learn import StreamSettings
from tests.helpers import (
    FACTS,
    MAX_LENGTH,
    background_counts,
    memory_model,
    method_settings,
    tokenizer,
    typed_settings,
)
from tests.workflow.runs import tiny

STREAM = StreamSettings(max_length=MAX_LENGTH, seed=7)
NEIGHBOUR = question_prompt("where was Mara Teller")
WITH_NEIGHBOURS = [replace(fact, locality_prompts=(NEIGHBOUR,), locality_answers=("Velburg",)) for fact in FACTS]
HEADS, LAYERS, SLOTS = 2, (0, 2), 64


def read_alone(model, prompt, completion, *, marked=None, skipped=0):
    """W of one text by a plain forward pass of it alone: (block) → dense vector; of tokens whose place is marked."""
    ids = [*tokenizer()(prompt + completion)["input_ids"], tokenizer().eos_token_id]
    with torch.no_grad(), record_slot_reads(model.memory_layers()) as reads:
        model(input_ids=torch.tensor([ids]))
    found = {}
    for block, read in reads.items():
        found[block] = np.zeros(SLOTS)
        for place in range(skipped, len(ids)):
            if marked is None or marked[place]:
                for head in range(HEADS):
                    for slot, weight in zip(
                        read.slot_indices_BTHK[0, place, head].tolist(),
                        read.weights_BTHK[0, place, head].tolist(),
                        strict=True,
                    ):
                        found[block][slot] += weight
    return found


def mean_of(model, texts, block):
    return np.mean([read_alone(model, *text)[block] for text in texts], axis=0)


def first_step(model, background, settings, fact, *, micro_batch_size=None, asking=None):
    """The slots that a run of kind smf writes in its first step, by block."""
    values = {block: layer.values_SV.detach().clone() for block, layer in model.memory_layers().items()}
    learner = SparseMemoryFinetuning(model, settings, background, STREAM.seed)
    learner.micro_batch_size = micro_batch_size
    learner.model.eval()
    options = {} if asking is None else {"asking": asking}
    learner.step(
        facts_batch(
            tokenizer(), [fact], loss_on="answer", max_length=STREAM.max_length, write_at=learner.write_at, **options
        )
    )
    delta = learner.delta()
    for block, layer in model.memory_layers().items():
        layer.row_gradient = None
        with torch.no_grad():
            layer.values_SV.copy_(values[block])
    return {block: delta[f"{block}.slots"].tolist() for block in LAYERS}


def chosen(model, background, settings, fact, stream=STREAM):
    (taught,) = read_taught(model, tokenizer(), [fact], stream, settings.write_at)
    return FirstChoice(settings, background, stream.seed).shares(taught.passes)


@pytest.mark.parametrize(
    "options",
    [
        {"selector": "tfidf", "top_t": 5},
        {"selector": "kl", "top_t": 9, "document": "sequence", "kl_background": "documents"},
        {"selector": "tf", "top_t": 5, "count_by": "weights"},
        {"selector": "random", "top_t": 5},
        {"selector": "tfidf", "top_t": 20, "score_share": 0.5},
        {"selector": "tfidf", "top_t": 5, "pooled": True},
        {"selector": "tf", "top_t": 5, "write_at": "subject"},
        {"selector": "none", "damping": 0.1, "write_at": "subject_and_answer"},
        {"selector": "tfidf", "top_t": 5, "past_writes": 1, "damping": 0.5, "past_weight": 1},
    ],
)
@pytest.mark.parametrize("micro_batch_size", [None, 2])
def test_the_slots_scored_are_those_that_a_run_writes_in_its_first_step(options, micro_batch_size):
    model = memory_model()
    background = background_counts(model)
    behind = solved_examples()[:20]
    for fact in (FACTS[1], replace(FACTS[1], train_contexts=("", behind, behind))):
        stream = STREAM.model_copy(update={"micro_batch_size": micro_batch_size})
        shares = chosen(model, background, typed_settings("smf", **options), fact, stream)
        written = first_step(
            model, background, method_settings("smf", **options), fact, micro_batch_size=micro_batch_size
        )
        assert {block: slots.tolist() for block, (slots, _) in shares.items()} == written


def test_a_trust_region_gives_each_slot_its_share_and_nothing_else_gives_less_than_whole_steps():
    model = memory_model()
    background = background_counts(model)
    shares = chosen(model, background, typed_settings("smf", selector="none", damping=0.3), FACTS[0])
    for block, (slots, found) in shares.items():
        squares = background.layers[block].squared_weights_S.numpy()
        assert found == pytest.approx(0.3 / (squares[slots] / squares.mean() + 0.3))
    whole = chosen(model, background, typed_settings("smf", selector="none"), FACTS[0])
    assert all((found == 1).all() for _, found in whole.values())


@pytest.mark.parametrize("options", [{"selector": "tfidf", "top_t": 6}, {"selector": "none", "damping": 0.1}])
def test_the_numbers_are_those_of_a_dense_computation_text_by_text(options):
    model = memory_model()
    background = background_counts(model)
    disturbance = {block: {"text": np.linspace(0, 1, SLOTS)} for block in LAYERS}
    settings = typed_settings("smf", **options)
    numbers = stream_overlap(model, tokenizer(), WITH_NEIGHBOURS, STREAM, {"a": (settings, background)}, disturbance)[
        "a"
    ]
    for block in LAYERS:
        taught, unseen, asked, near, shares = [], [], [], [], []
        for fact in WITH_NEIGHBOURS:
            answer = f" {fact.answer}"
            taught.append(mean_of(model, [(prompt, f"{answer}.") for prompt in fact.train_prompts], block))
            unseen.append(mean_of(model, [(prompt, answer) for prompt in fact.unseen_prompts], block))
            asked.append(mean_of(model, [(question_prompt(fact.question), answer)], block))
            near.append(mean_of(model, [(NEIGHBOUR, " Velburg")], block))
            slots, found = chosen(model, background, settings, fact)[block]
            shares.append(np.zeros(SLOTS))
            shares[-1][slots] = found
        ratios = {name: [] for name in ("unseen", "question", "neighbours", "other_facts", "past", "text")}
        for one in range(3):
            moved = shares[one] * taught[one] / (shares[one] * taught[one] * taught[one]).sum()
            others = [other for other in range(3) if other != one]
            ratios["unseen"].append(moved @ unseen[one])
            ratios["question"].append(moved @ asked[one])
            ratios["neighbours"].append(moved @ near[one])
            ratios["other_facts"].append(np.mean([moved @ asked[other] for other in others]))
            ratios["past"].append(np.mean([moved @ taught[other] for other in others]))
            ratios["text"].append((moved**2 * np.linspace(0, 1, SLOTS)).sum())
        for name, values in ratios.items():
            assert numbers[block][name] == pytest.approx(np.mean(values), rel=1e-5), name
        assert numbers[block]["slots"] == np.mean([(share > 0).sum() for share in shares])


def test_a_write_changes_the_reads_of_other_texts_by_as_much_as_the_numbers_say():
    """Moves every slot as one step with equal error signals would, and reads the memory itself."""
    model = memory_model(layers=(0,))
    background = background_counts(model)
    settings = typed_settings("smf", selector="tfidf", top_t=6)
    fact = WITH_NEIGHBOURS[0]
    numbers = stream_overlap(model, tokenizer(), [fact], STREAM, {"a": (settings, background)}, {0: {}})["a"][0]
    (taught,) = read_taught(model, tokenizer(), [fact], STREAM, "all")
    slots, weights = taught.facts[0][0]
    selected, shares = FirstChoice(settings, background, STREAM.seed).shares(taught.passes)[0]
    error = torch.randn(16, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    step = torch.zeros(SLOTS, 16, dtype=torch.double)
    weight_of = dict(zip(slots.tolist(), weights.tolist(), strict=True))
    for slot, share in zip(selected.tolist(), shares.tolist(), strict=True):
        step[slot] = -0.1 * share * weight_of[slot] * error

    def change(prompt, completion):
        ids = [*tokenizer()(prompt + completion)["input_ids"], tokenizer().eos_token_id]
        with torch.no_grad(), record_slot_reads(model.memory_layers()) as reads:
            model(input_ids=torch.tensor([ids]))
        read = reads[0]
        return (read.weights_BTHK[..., None].double() * step[read.slot_indices_BTHK]).sum((0, 1, 2, 3))

    own = sum(change(prompt, f" {fact.answer}.") for prompt in fact.train_prompts) / len(fact.train_prompts)
    unseen = sum(change(prompt, f" {fact.answer}") for prompt in fact.unseen_prompts) / len(fact.unseen_prompts)
    assert torch.allclose(unseen, numbers["unseen"] * own, rtol=1e-4)
    assert torch.allclose(change(NEIGHBOUR, " Velburg"), numbers["neighbours"] * own, rtol=1e-4)


def test_only_tokens_that_may_write_count_as_taught():
    model = memory_model()
    fact = FACTS[0]
    (taught,) = read_taught(model, tokenizer(), [fact], STREAM, "subject")
    batch = facts_batch(tokenizer(), [fact], loss_on="answer", max_length=MAX_LENGTH, write_at="subject")
    for block in LAYERS:
        expected = np.zeros(SLOTS)
        for row, prompt in enumerate(fact.train_prompts):
            marked = batch.write_mask_BT[row].tolist()
            expected += read_alone(model, prompt, f" {fact.answer}.", marked=marked)[block] / len(fact.train_prompts)
        slots, weights = taught.facts[0][block]
        assert weights == pytest.approx(expected[slots], rel=1e-5)
        assert np.delete(expected, slots).sum() == 0
        assert weights.sum() == pytest.approx(HEADS * batch.write_mask_BT.sum().item() / len(fact.train_prompts))


def test_facts_of_one_step_share_its_choice_but_each_has_its_own_reads():
    model = memory_model()
    together = STREAM.model_copy(update={"facts_per_step": 2})
    lessons = list(read_taught(model, tokenizer(), FACTS, together, "all"))
    assert [len(lesson.facts) for lesson in lessons] == [2, 1]
    alone = [lesson.facts[0] for lesson in read_taught(model, tokenizer(), FACTS, STREAM, "all")]
    for one, other in zip([*lessons[0].facts, *lessons[1].facts], alone, strict=True):
        for block in LAYERS:
            assert one[block][0].tolist() == other[block][0].tolist()
            assert one[block][1] == pytest.approx(other[block][1], rel=1e-5)


def test_a_question_is_read_behind_the_solved_examples_whose_own_tokens_do_not_count():
    model = memory_model()
    fact, asking = WITH_NEIGHBOURS[0], Asking("few_shot", tokenizer())
    stream = STREAM.model_copy(update={"asking": asking})
    found = read_asked(model, tokenizer(), fact, stream)
    skipped = len(tokenizer()(solved_examples())["input_ids"])
    prompts = {"question": question_prompt(fact.question), "neighbours": NEIGHBOUR}
    answers = {"question": f" {fact.answer}", "neighbours": " Velburg"}
    for name, prompt in prompts.items():
        for block in LAYERS:
            expected = read_alone(model, solved_examples() + prompt, answers[name], skipped=skipped)[block]
            slots, weights = found[name][block]
            assert weights == pytest.approx(expected[slots], rel=1e-4)
            assert weights.sum() == pytest.approx(expected.sum(), rel=1e-5)
    plain = read_asked(model, tokenizer(), fact, STREAM)
    assert found["unseen"][0][1].tolist() == plain["unseen"][0][1].tolist()  # a prompt to complete is asked as it is


def test_a_text_that_is_too_long_is_refused_with_the_fact():
    fact = replace(FACTS[0], unseen_prompts=("The home town " * 40,))
    with pytest.raises(DataError, match=r"fact 'joel-quint': .*base\.max_length is 64"):
        read_asked(memory_model(), tokenizer(), fact, STREAM)


def rows(*texts):
    """Dense rows as the sparse matrix that the numbers are made of; an empty row is no text."""
    return csr_array(np.array(texts, dtype=float))


NO_TEXT = (0, 0, 0)


def test_a_fact_without_unseen_wordings_question_or_neighbours_is_left_out_of_their_means():
    taught = rows((1, 2, 0), (0, 1, 1))
    shares = rows((1, 1, 0), (0, 0, 1))
    reads = LayerReads(taught, rows((1, 1, 1), NO_TEXT), rows(NO_TEXT, (0, 2, 2)), rows(NO_TEXT, NO_TEXT))
    found = overlap_numbers(shares, reads, {})
    assert found["slots"] == 1.5
    assert found["unseen"] == pytest.approx(3 / 5)
    assert found["question"] == pytest.approx(2)
    assert found["other_facts"] == pytest.approx(4 / 5)  # the second fact has no other that is asked
    assert found["past"] == pytest.approx((2 / 5 + 0) / 2)
    assert np.isnan(found["neighbours"])
    assert found.keys() == set(OVERLAP_COLUMNS[4:]) - {"text", "contrast"}


def test_a_fact_alone_in_its_stream_has_no_others():
    found = overlap_numbers(rows((1, 0, 0)), LayerReads(*[rows((1, 1, 0))] * 4), {})
    assert np.isnan([found["other_facts"], found["past"]]).all()
    assert found["unseen"] == 1


def test_a_layer_in_which_nothing_is_selected_for_a_fact_writes_nothing():
    reads = LayerReads(*[rows((1, 1, 0), (0, 1, 1))] * 4)
    found = overlap_numbers(rows((1, 1, 0), NO_TEXT), reads, {"text": np.array([2.0, 0.0, 1.0])})
    assert found["slots"] == 1
    assert found["unseen"] == 1
    assert found["text"] == pytest.approx(2 * (1 / 2) ** 2)
    nothing = overlap_numbers(rows(NO_TEXT, NO_TEXT), reads, {})
    assert nothing.pop("slots") == 0
    assert np.isnan(list(nothing.values())).all()


def test_rows_hold_each_facts_slots_and_are_empty_where_it_has_no_text():
    found = as_rows([{3: (np.array([0, 2]), np.array([0.5, 1.5]))}, {}], 3, 4)
    assert found.toarray().tolist() == [[0.5, 0, 1.5, 0], [0, 0, 0, 0]]


def test_only_what_decides_the_choice_tells_settings_apart():
    first = typed_settings("smf", top_t=5, learning_rate=0.1)
    assert choice_key(first) == choice_key(typed_settings("smf", top_t=5, learning_rate=3.0, optimizer="adamw"))
    replayed = typed_settings("smf_replay", top_t=5)
    assert choice_key(first) == choice_key(replayed)
    for other in ({"top_t": 6}, {"top_t": 5, "contrast": 1}, {"top_t": 5, "damping": 1}, {"top_t": 5, "pooled": True}):
        assert choice_key(first) != choice_key(typed_settings("smf", **other))


# The table

RUNS = [
    ("smf_tfidf", "top_t 5", {"kind": "smf", **method_settings("smf", top_t=5)}),
    ("smf_replay", "as configured", {"kind": "smf_replay", **method_settings("smf_replay", top_t=5)}),
    ("subject", "as configured", {"kind": "smf", **method_settings("smf", top_t=5, write_at="subject")}),
]
CONTRAST = ("contrast", "contrast 2", {"kind": "smf", **method_settings("smf", top_t=5, contrast=2)})


def healed(folder):
    """A healed model with two kinds of counts, and a stream without neighbours."""
    model = memory_model()
    save_checkpoint(model, tokenizer(), folder / "healed")
    counts = BackgroundCounts(background_counts(model).layers, {"model_hash": model_hash(folder / "healed")})
    counts.save(folder / "counts.safetensors")
    layers = {
        block: replace(layer, document_frequency_S=layer.document_frequency_S.roll(9), others=layer.others)
        for block, layer in counts.layers.items()
    }
    contrast = BackgroundCounts(layers, counts.provenance)
    contrast.save(folder / "contrast.safetensors")
    write_facts(folder / "stream.jsonl", FACTS)
    return model, counts, contrast


def written(folder, runs, **options):
    stream = Experiment(tiny()).learning
    write_read_overlap(
        runs,
        Learning(stream, MAX_LENGTH),
        folder / "healed",
        folder / "counts.safetensors",
        {0: folder / "stream.jsonl", 7: folder / "stream.jsonl"},
        device="cpu",
        path=folder / "table.csv",
        **options,
    )
    return read_table(folder / "table.csv")


def test_the_table_has_a_row_a_setting_seed_and_layer_and_leaves_empty_what_is_not_there(tmp_path):
    model, counts, _ = healed(tmp_path)
    table = written(tmp_path, RUNS)
    assert tuple(table.columns) == OVERLAP_COLUMNS
    names = [(method, setting) for method, setting, _ in RUNS]
    expected = [(*name, seed, block) for seed in (0, 7) for name in names for block in LAYERS]
    assert list(table[["method", "setting", "seed", "layer"]].itertuples(index=False, name=None)) == expected
    assert table[["neighbours", "contrast"]].isna().all(axis=None)
    assert table.drop(columns=["neighbours", "contrast"]).notna().all(axis=None)
    first = table[(table["seed"] == 7) & (table["method"] == "smf_tfidf")].set_index("layer")
    disturbance = {
        block: {"text": (layer.squared_weights_S * HEADS * 4 / layer.total_accesses).numpy()}
        for block, layer in counts.layers.items()
    }
    same = stream_overlap(
        model, tokenizer(), FACTS, STREAM, {"a": (typed_settings("smf", top_t=5), counts)}, disturbance
    )["a"]
    for block in LAYERS:
        for name in ("slots", "unseen", "question", "other_facts", "past", "text"):
            assert first.loc[block, name] == pytest.approx(same[block][name], rel=1e-6)


def test_a_method_that_weighs_contrast_texts_selects_against_both_backgrounds(tmp_path):
    model, counts, contrast = healed(tmp_path)
    table = written(tmp_path, [RUNS[0], CONTRAST], contrast_path=tmp_path / "contrast.safetensors")
    assert table["contrast"].notna().all()
    settings = typed_settings("smf", top_t=5, contrast=2)
    same = stream_overlap(
        model,
        tokenizer(),
        FACTS,
        STREAM,
        {"a": (settings, joined(counts, contrast, 2))},
        {block: {} for block in LAYERS},
    )["a"]
    found = table[(table["seed"] == 7) & (table["method"] == "contrast")].set_index("layer")
    assert [found.loc[block, "past"] for block in LAYERS] == pytest.approx([same[block]["past"] for block in LAYERS])
    other = table[(table["seed"] == 7) & (table["method"] == "smf_tfidf")].set_index("layer")
    assert (found["past"] != other["past"]).all()
    with pytest.raises(CheckpointError, match="contrast is 2, but no counts of contrast texts are given"):
        written(tmp_path, [CONTRAST])


def test_every_setting_of_the_frontier_that_selects_slots_is_scored_and_every_method_that_it_omits():
    config = tiny()
    rated = {"learning_rate": 1.0}
    config["methods"] |= {
        "alone": {"kind": "smf", "top_t": 4, "frontier_only": True, **rated},
        "replayed": {"kind": "smf_replay", "top_t": 4, **rated},
        "omitted": {"kind": "smf", "top_t": 4, **rated},
        "vectors": {"kind": "sparse", **rated},
    }
    config["frontier"] = {**config["frontier"], "methods": ["lora", "smf_tfidf", "alone", "replayed"]}
    config["sweeps"] = {"replayed": {"top_t": [1, 2]}}
    assert list(Experiment(config).selecting.values()) == [
        ("smf_tfidf", "learning_rate 1"),
        ("smf_tfidf", "learning_rate 10"),
        ("alone", "as configured"),
        ("replayed", "top_t 1"),
        ("replayed", "top_t 2"),
        ("omitted", "as configured"),
    ]
    config["methods"] = {"full": config["methods"]["full"]}
    assert Experiment({**config, "frontier": {}, "sweeps": {}}).selecting == {}


# The figure


def table_of(*points, layers=(3,), **empty):
    """A table of points: method, setting, unseen, neighbours."""
    found = [
        {"method": method, "setting": setting, "seed": seed, "layer": layer, "unseen": unseen, "question": 0.5,
         "neighbours": near, "other_facts": 0.25, "slots": 4, "past": 0.1, "text": 1e-6, **empty}
        for method, setting, unseen, near in points
        for seed in (0, 1)
        for layer in layers
    ]  # fmt: skip
    return overlap_table(found)


POINTS = [("a", "top_t 5", 0.9, 0.1), ("a", "top_t 9", 0.8, 0.2), ("b", "rate 1", 0.9, 0.1), ("b", "rate 2", 0.9, 0.1)]


def texts_in(axes):
    return [text.get_text() for text in axes.texts]


def test_settings_that_select_the_same_slots_are_one_point_with_both_names(recwarn):
    figure = read_overlap_figure(table_of(*POINTS, layers=(1, 3)), {}, ["full", "a", "b"])
    assert len(figure.axes) == 2
    for axes in figure.axes:
        marks = [line for line in axes.lines if line.get_marker() != "None"]
        assert sorted((mark.get_xdata()[0], mark.get_ydata()[0]) for mark in marks) == [(0.1, 0.9), (0.2, 0.8)]
        assert {"a, top_t 5\nb", "a, top_t 9"} <= set(texts_in(axes))
    assert not recwarn.list


def test_the_axes_say_what_takes_the_place_of_texts_that_facts_do_not_have():
    (axes,) = read_overlap_figure(table_of(*POINTS), {}, ["a", "b"]).axes
    assert "unseen wordings" in axes.get_ylabel()
    assert axes.get_xlabel().endswith("neighbours")
    (axes,) = read_overlap_figure(table_of(*POINTS, neighbours=None, unseen=None), {}, ["a", "b"]).axes
    assert axes.get_ylabel().startswith("arrives in the fact's question")
    assert axes.get_xlabel().endswith("questions about other facts")


def test_a_table_that_cannot_be_drawn_is_refused():
    table = table_of(*POINTS)
    with pytest.raises(DataError, match="no column unseen; make it again"):
        read_overlap_figure(table.drop(columns="unseen"), {}, ["a", "b"])
    with pytest.raises(DataError, match="is empty; a method of kind smf is needed"):
        read_overlap_figure(table.iloc[:0], {}, ["a", "b"])
    with pytest.raises(DataError, match="no numbers in its columns unseen and question"):
        read_overlap_figure(table.assign(unseen=np.nan, question=np.nan), {}, ["a", "b"])
