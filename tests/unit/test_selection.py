"""Background counts, scores and the choice of slots: by hand, by plain loops, and with padding."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smf.errors import CheckpointError
from smf.files.tensors import read_tensors, write_tensors
from smf.memory import SlotReads, record_slot_reads
from smf.selection.background import BackgroundCounts, DocumentCounts, LayerCounts, count_background
from smf.selection.names import SELECTORS
from smf.selection.scores import SCORES, BatchCounts, ScoreInputs
from smf.selection.select import Selection, count_reads, select_slots
from smf.streams.batches import Batch, collate
from tests.helpers import background_batches, background_counts, encoded_text, memory_model

# A batch that reads slot 2 four times, slot 5 once and slot 7 three times (8 reads), of a table of 10 slots, after a
# background of 9 documents: 50 reads in all, document frequencies that sum to 15.
SLOTS, COUNTS = [2, 5, 7], [4, 1, 3]
ACCESSES = [10, 0, 30, 0, 0, 0, 0, 10, 0, 0]
DOCUMENTS = [5, 0, 9, 0, 0, 0, 0, 1, 0, 0]
BY_HAND = {
    # c / 8 * ln((9 + 1) / (df + 1))
    ("tfidf", "accesses"): [
        4 / 8 * math.log(10 / 10),  # in every document: worth nothing
        1 / 8 * math.log(10 / 1),  # never in the background
        3 / 8 * math.log(10 / 2),
    ],
    # p ln(p / q), q = (accesses + 1) / (50 + 10)
    ("kl", "accesses"): [
        0.5 * math.log(0.5 / (31 / 60)),  # less often than in the background: negative
        0.125 * math.log(0.125 / (1 / 60)),
        0.375 * math.log(0.375 / (11 / 60)),
    ],
    # p ln(p / q), q = (df + 1) / (15 + 10)
    ("kl", "documents"): [
        0.5 * math.log(0.5 / (10 / 25)),
        0.125 * math.log(0.125 / (1 / 25)),
        0.375 * math.log(0.375 / (2 / 25)),
    ],
    ("tf", "accesses"): [0.5, 0.125, 0.375],
}
IN_NUMBERS = {
    ("tfidf", "accesses"): [0.0, 0.287823, 0.603539],
    ("kl", "accesses"): [-0.016395, 0.251863, 0.268358],
    ("kl", "documents"): [0.111572, 0.142429, 0.579337],
    ("tf", "accesses"): [0.5, 0.125, 0.375],
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_counts(slots=SLOTS, counts=COUNTS):
    return BatchCounts(torch.tensor(slots, dtype=torch.long), torch.tensor(counts, dtype=torch.long))


def layer_counts(accesses=ACCESSES, documents=DOCUMENTS, num_documents=9):
    squares = torch.tensor(accesses, dtype=torch.double) / 4
    sequences = DocumentCounts(torch.tensor(documents) * 3, 40)
    return LayerCounts(torch.tensor(accesses), torch.tensor(documents), num_documents, squares, "batch", sequences)


def score(selector, batch, layer, kl_background="accesses", seed=0):
    return SCORES[selector](ScoreInputs(batch, layer, kl_background, generator(seed))).tolist()


# Scores


@pytest.mark.parametrize(("selector", "kl_background"), BY_HAND)
def test_scores_worked_by_hand(selector, kl_background):
    found = score(selector, batch_counts(), layer_counts(), kl_background)
    assert found == pytest.approx(BY_HAND[selector, kl_background], rel=1e-12, abs=1e-15)
    assert found == pytest.approx(IN_NUMBERS[selector, kl_background], abs=2e-6)


def slow_score(selector, kl_background, counts, accesses, documents, num_documents, slot):
    """A score of one slot from dictionaries of counts."""
    share = counts[slot] / sum(counts.values())
    if selector == "tf":
        return share
    if selector == "tfidf":
        return share * math.log((num_documents + 1) / (documents[slot] + 1))
    background = {"accesses": accesses, "documents": documents}[kl_background]
    smoothed = [number + 1 for number in background]
    return share * math.log(share / (smoothed[slot] / sum(smoothed)))


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["tfidf", "kl", "tf"]),
    st.sampled_from(["accesses", "documents"]),
    st.dictionaries(st.integers(0, 15), st.integers(1, 500), min_size=1),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 40)), min_size=16, max_size=16),
)
def test_scores_equal_plain_loops(selector, kl_background, counts, background):
    counts = dict(sorted(counts.items()))
    accesses, documents = ([pair[side] for pair in background] for side in (0, 1))
    batch, layer = batch_counts(list(counts), list(counts.values())), layer_counts(accesses, documents, 40)
    found = score(selector, batch, layer, kl_background)
    expected = [slow_score(selector, kl_background, counts, accesses, documents, 40, slot) for slot in counts]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_every_selector_is_a_score_or_takes_all():
    assert sorted(SELECTORS) == sorted([*SCORES, "none"])


def test_random_scores_follow_from_the_generator():
    first, again, other = (score("random", batch_counts(), layer_counts(), seed=seed) for seed in (1, 1, 2))
    assert first == again != other


# Choice


def choose(batches, layers, generator_=None, **selection):
    chosen = select_slots(
        batches, BackgroundCounts(layers, {}), Selection(**selection), generator() if generator_ is None else generator_
    )
    assert all(int(slots.number) == len(slots.slots_R) for slots in chosen.values())
    return {block: slots.slots_R.tolist() for block, slots in chosen.items()}


def choose_one(batch, layer, generator_=None, **selection):
    return choose({1: batch}, {1: layer}, generator_, **selection)[1]


@pytest.mark.parametrize(
    ("selector", "kl_background", "top_t", "expected"),
    [
        ("tfidf", "accesses", 1, [7]),
        ("tfidf", "accesses", 2, [5, 7]),
        ("kl", "accesses", 2, [5, 7]),
        ("kl", "documents", 1, [7]),
        ("tf", "accesses", 1, [2]),
        ("tf", "accesses", 2, [2, 7]),
    ],
)
def test_the_highest_scores_are_chosen_in_ascending_order_of_slots(selector, kl_background, top_t, expected):
    selection = {"selector": selector, "top_t": top_t, "kl_background": kl_background}
    assert choose_one(batch_counts(), layer_counts(), **selection) == expected


def test_selector_none_takes_all_accessed_slots_whatever_top_t_says():
    assert choose_one(batch_counts(), layer_counts(), selector="none", top_t=1) == SLOTS


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("pooled", [False, True])
def test_top_t_larger_than_what_was_accessed_takes_what_was_accessed(selector, pooled):
    assert choose_one(batch_counts(), layer_counts(), selector=selector, top_t=10**6, pooled=pooled) == SLOTS


@pytest.mark.parametrize(("top_t", "expected"), [(1, [1]), (2, [1, 4]), (3, [1, 4, 6]), (4, [1, 4, 6, 8])])
def test_of_equal_scores_the_lower_slot_wins(top_t, expected):
    batch = batch_counts([1, 4, 6, 8, 9], [3, 3, 3, 3, 1])
    assert choose_one(batch, layer_counts(), selector="tf", top_t=top_t) == expected


def test_many_equal_scores_are_cut_at_the_lower_slots():
    """Sorting that is stable only by luck on short lists fails here."""
    batch = batch_counts(list(range(2000)), [1] * 2000)
    layer = layer_counts([0] * 2000, [0] * 2000, 1)
    assert choose_one(batch, layer, selector="tfidf", top_t=700) == list(range(700))


def test_pooled_selection_takes_the_best_slots_of_all_layers():
    """Term frequencies: 0.6, 0.4 in block 1; 0.5, 0.3, 0.2 in block 3; 0.85, 0.15 in block 5."""
    batches = {
        1: batch_counts([4, 8], [6, 4]),
        3: batch_counts([0, 1, 2], [2, 3, 5]),
        5: batch_counts([3, 6], [85, 15]),
    }
    layers = dict.fromkeys(batches, layer_counts())
    assert choose(batches, layers, selector="tf", top_t=1) == {1: [4], 3: [2], 5: [3]}
    assert choose(batches, layers, selector="tf", top_t=1, pooled=True) == {1: [4], 3: [2], 5: [3]}
    assert choose(batches, layers, selector="tf", top_t=2) == {1: [4, 8], 3: [1, 2], 5: [3, 6]}
    assert choose(batches, layers, selector="tf", top_t=2, pooled=True) == {1: [4, 8], 3: [0, 1, 2], 5: [3]}


def test_pooled_selection_may_leave_a_layer_empty():
    batches = {1: batch_counts([4, 8], [1, 1]), 3: batch_counts(list(range(10)), [1] * 10)}
    layers = dict.fromkeys(batches, layer_counts())
    assert choose(batches, layers, selector="tf", top_t=1, pooled=True) == {1: [4, 8], 3: []}


def test_pooled_ties_go_to_the_lower_block():
    batches = {1: batch_counts([8, 9], [1, 1]), 3: batch_counts([0, 1], [1, 1])}  # four times 0.5
    layers = dict.fromkeys(batches, layer_counts())
    assert choose(batches, layers, selector="tf", top_t=1, pooled=True) == {1: [8, 9], 3: []}


def test_random_choice_is_seeded_among_the_accessed_and_even():
    batch = batch_counts([1, 3, 5, 6, 8], [100, 1, 1, 1, 1])
    source, again = generator(7), generator(7)
    draws = [choose_one(batch, layer_counts(), source, selector="random", top_t=2) for _ in range(2000)]
    assert draws == [choose_one(batch, layer_counts(), again, selector="random", top_t=2) for _ in range(2000)]
    assert draws[0] != draws[1] or draws[0] != draws[2]
    for slot in (1, 3, 5, 6, 8):  # 2000 * 2 / 5 = 800, standard deviation 22
        assert 690 < sum(slot in draw for draw in draws) < 910
    assert {slot for draw in draws for slot in draw} == {1, 3, 5, 6, 8}


# Counts


def test_reads_of_a_batch_are_counted_token_by_token_without_padding():
    slots_BTHK = torch.tensor([[[[3, 1]], [[1, 0]]], [[[3, 2]], [[9, 9]]]])  # the last token is padding
    reads = {2: SlotReads(slots_BTHK, torch.ones(2, 2, 1, 2))}
    counts = count_reads([(reads, torch.tensor([[1, 1], [1, 0]]))])[2]
    assert counts.slots_U.tolist() == [0, 1, 2, 3]
    assert counts.counts_U.tolist() == [1, 2, 1, 2]


class ScriptedModel:
    """Token ``i`` reads the slots ``i`` and ``i + 1``; the padding token is 0."""

    device = torch.device("cpu")

    def __init__(self):
        self.layer = SimpleNamespace(num_slots=8, on_read=None)

    def eval(self):
        return self

    def memory_layers(self):
        return {4: self.layer}

    def read_memories(self, input_ids, attention_mask):
        slots = torch.stack([input_ids, input_ids + 1], dim=-1).unsqueeze(2)
        self.layer.on_read(slots, torch.ones(slots.shape))


def scripted_batches():
    ids = [[[1, 2, 0], [2, 3, 4]], [[4, 0]]]
    masks = [[[1, 1, 0], [1, 1, 1]], [[1, 0]]]
    pairs = zip(map(torch.tensor, ids), map(torch.tensor, masks), strict=True)
    return [Batch(ids, mask, ids) for ids, mask in pairs]


@pytest.mark.parametrize(
    ("document", "frequency", "number"),
    [
        ("batch", [0, 1, 1, 1, 2, 2, 0, 0], 2),  # {1..5} and {4, 5}
        ("sequence", [0, 1, 2, 2, 2, 2, 0, 0], 3),  # {1, 2, 3}, {2, 3, 4, 5} and {4, 5}
    ],
)
def test_background_counts_worked_by_hand(document, frequency, number):
    counts = count_background(ScriptedModel(), scripted_batches(), document=document, provenance={}).layers[4]
    assert counts.accesses_S.tolist() == [0, 1, 3, 3, 3, 2, 0, 0]  # tokens 1, 2; 2, 3, 4; 4
    assert counts.document_frequency_S.tolist() == frequency
    assert counts.num_documents == number


def padded(batch, columns):
    """The same batch with more padding on the right."""

    def wider(tensor, fill):
        return torch.cat([tensor, tensor.new_full((len(tensor), columns), fill)], dim=1)

    return Batch(wider(batch.input_ids_BT, 0), wider(batch.attention_mask_BT, 0), wider(batch.labels_BT, -100))


def read_counts(model, batch):
    with torch.no_grad(), record_slot_reads(model.memory_layers()) as reads:
        model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT)
    return {
        block: dict(zip(counts.slots_U.tolist(), counts.counts_U.tolist(), strict=True))
        for block, counts in count_reads([(reads, batch.attention_mask_BT)]).items()
    }


def test_padding_is_not_counted_in_training():
    """Two texts of different length: as one padded batch, with still more padding, and one by one."""
    model, rows = memory_model(), encoded_text()[:2]
    assert len(rows[0][0]) != len(rows[1][0])
    batch = collate(rows, 0)
    together = read_counts(model, batch)
    assert read_counts(model, padded(batch, 9)) == together
    alone = [read_counts(model, collate([row], 0)) for row in rows]
    for block, counts in together.items():
        slots = {slot for part in alone for slot in part[block]}
        assert counts == {slot: sum(part[block].get(slot, 0) for part in alone) for slot in slots}
        num_tokens = sum(len(ids) for ids, _ in rows)
        assert sum(counts.values()) == num_tokens * 2 * 4  # heads times top_k


@pytest.mark.parametrize("document", ["batch", "sequence"])
def test_padding_is_not_counted_in_the_background(document):
    model, rows = memory_model(), encoded_text()
    batches = [collate(rows[:3], 0), collate(rows[3:5], 0)]
    plain = count_background(model, batches, document=document, provenance={})
    wide = count_background(model, [padded(batch, 11) for batch in batches], document=document, provenance={})
    alone = count_background(model, [collate([row], 0) for row in rows[:5]], document=document, provenance={})
    for block, counts in plain.layers.items():
        assert torch.equal(wide.layers[block].accesses_S, counts.accesses_S)
        assert torch.equal(wide.layers[block].document_frequency_S, counts.document_frequency_S)
        assert torch.allclose(wide.layers[block].squared_weights_S, counts.squared_weights_S)
        assert torch.allclose(alone.layers[block].squared_weights_S, counts.squared_weights_S)
        assert torch.equal(alone.layers[block].accesses_S, counts.accesses_S)
        if document == "sequence":
            assert torch.equal(alone.layers[block].document_frequency_S, counts.document_frequency_S)
            assert alone.layers[block].num_documents == counts.num_documents == 5


@pytest.mark.parametrize("layers", [(0,), (0, 1), (1, 2)], ids=str)
def test_the_background_is_counted_as_whole_passes_read_it(layers):
    """Against a pass through all blocks; the counting pass stops after the last memory layer."""
    model, batches = memory_model(layers=layers), background_batches()
    expected = [read_counts(model, batch) for batch in batches]
    counted = count_background(model, batches, document="batch", provenance={})
    assert set(counted.layers) == set(layers)
    for block, counts in counted.layers.items():
        for slot in range(64):
            assert counts.accesses_S[slot] == sum(counts_of[block].get(slot, 0) for counts_of in expected)
            assert counts.document_frequency_S[slot] == sum(slot in counts_of[block] for counts_of in expected)


def test_the_padding_token_itself_is_counted_where_it_is_text():
    """End-of-text also pads: what tells them apart is the mask, not the token."""
    model, rows = memory_model(), encoded_text()[:1]
    ids, labels = rows[0]
    assert ids[-1] == 0
    with_end, without = read_counts(model, collate(rows, 0)), read_counts(model, collate([(ids[:-1], labels[:-1])], 0))
    assert sum(with_end[0].values()) == sum(without[0].values()) + 2 * 4


def test_counting_leaves_the_model_as_it_was():
    model = memory_model()
    background_counts(model)
    assert all(layer.on_read is None for layer in model.memory_layers().values())


def test_recording_stops_when_the_block_raises():
    model = memory_model()
    with pytest.raises(ZeroDivisionError), record_slot_reads(model.memory_layers()):
        raise ZeroDivisionError
    assert all(layer.on_read is None for layer in model.memory_layers().values())


# Files


@pytest.fixture
def saved(tmp_path):
    counts = BackgroundCounts(
        {1: layer_counts(), 3: layer_counts([1] * 10, [0] * 10, 4)}, {"model_hash": "abc", "num_batches": 9}
    )
    counts.save(tmp_path / "counts.safetensors")
    return tmp_path / "counts.safetensors"


def test_saved_counts_come_back_with_their_provenance(saved):
    counts = BackgroundCounts.load(saved, model_hash="abc")
    assert counts.provenance == {"model_hash": "abc", "num_batches": 9}
    assert list(counts.layers) == [1, 3]
    assert counts.layers[1].accesses_S.tolist() == ACCESSES
    assert counts.layers[1].document_frequency_S.tolist() == DOCUMENTS
    assert counts.layers[1].squared_weights_S.tolist() == [accesses / 4 for accesses in ACCESSES]
    assert counts.layers[1].num_documents == 9
    assert counts.layers[3].num_documents == 4
    by_sequence = counts.in_documents("sequence").layers[1]
    assert by_sequence.document_frequency_S.tolist() == [3 * documents for documents in DOCUMENTS]
    assert by_sequence.num_documents == 40


def test_counts_of_another_model_are_refused(saved):
    with pytest.raises(CheckpointError, match=r"counts\.safetensors was counted with model abc, not with other"):
        BackgroundCounts.load(saved, model_hash="other")
    assert BackgroundCounts.load(saved).provenance["model_hash"] == "abc"


def test_counts_without_squared_weights_are_refused(saved):
    tensors, metadata = read_tensors(saved)
    write_tensors(saved, {name: tensor for name, tensor in tensors.items() if "squared" not in name}, metadata)
    with pytest.raises(CheckpointError, match=r"counts\.safetensors has no squared weights; .* count again"):
        BackgroundCounts.load(saved)


def test_counts_of_one_kind_of_document_are_refused(saved):
    tensors, metadata = read_tensors(saved)
    write_tensors(saved, {name: tensor for name, tensor in tensors.items() if "sequence" not in name}, metadata)
    with pytest.raises(CheckpointError, match=r"counts\.safetensors does not count documents of both .* count again"):
        BackgroundCounts.load(saved)


def test_the_kind_of_document_that_was_to_be_used_is_kept(tmp_path):
    model = memory_model()
    for document in ("batch", "sequence"):
        counted = background_counts(model, document)
        counted.save(tmp_path / "counts.safetensors")
        loaded = BackgroundCounts.load(tmp_path / "counts.safetensors")
        for block, layer in loaded.layers.items():
            assert layer.document == document
            assert torch.equal(layer.document_frequency_S, counted.layers[block].document_frequency_S)
            assert layer.num_documents == counted.layers[block].num_documents == {"batch": 6, "sequence": 12}[document]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_counts_are_refused(saved, share):
    saved.write_bytes(saved.read_bytes()[: int(share * saved.stat().st_size)])
    with pytest.raises(CheckpointError, match=r"cannot read .*counts\.safetensors"):
        BackgroundCounts.load(saved)


def test_missing_counts_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="cannot read"):
        BackgroundCounts.load(tmp_path / "nothing.safetensors")


def test_another_artifact_is_not_taken_for_counts(tmp_path):
    write_tensors(tmp_path / "delta.safetensors", {"1.slots": torch.arange(3)}, {"seed": 1})
    with pytest.raises(CheckpointError, match=r"delta\.safetensors holds no background counts"):
        BackgroundCounts.load(tmp_path / "delta.safetensors")


@pytest.mark.parametrize("document", ["batch", "sequence"])
def test_a_batch_that_is_passed_through_in_parts_is_still_one_document(document, monkeypatch):
    model, batches = memory_model(), [collate(encoded_text()[:5], 0), collate(encoded_text()[5:9], 0)]
    whole = count_background(model, batches, document=document, provenance={})
    monkeypatch.setattr("smf.selection.background._PART_SIZE", 2)
    parts = count_background(model, batches, document=document, provenance={})
    for block, counts in whole.layers.items():
        assert parts.layers[block].num_documents == counts.num_documents == (2 if document == "batch" else 9)
        assert torch.equal(parts.layers[block].accesses_S, counts.accesses_S)
        assert torch.equal(parts.layers[block].document_frequency_S, counts.document_frequency_S)
