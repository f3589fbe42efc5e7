"""Kinds of documents, weighted counts, a share of the scores and past writes: against plain Python."""

import math
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smf.errors import CheckpointError, ConfigError
from smf.memory import SlotReads, record_slot_reads
from smf.selection.background import BackgroundCounts, LayerCounts, count_background
from smf.selection.past_writes import PastWrites
from smf.selection.scores import SCORES, BatchCounts, ScoreInputs
from smf.selection.select import SelectedSlots, Selection, count_reads, select_slots
from smf.streams.fact_batches import facts_batch
from tests.helpers import (
    FACTS,
    MAX_LENGTH,
    background_batches,
    background_counts,
    copy_of_state,
    memory_model,
    same_bytes,
    start_method,
    tokenizer,
)


def batch_of(fact):
    return facts_batch(tokenizer(), [fact], loss_on="text", max_length=MAX_LENGTH)


def selected_in_steps(method):
    """The slots that each coming step selects, by block."""
    found, select = [], method._select

    def noting(*passes):
        chosen = select(*passes)
        found.append({block: slots.slots_R.tolist() for block, slots in chosen.items()})
        return chosen

    method._select = noting
    return found


def reads_of_tokens(model, batch):
    """For each block and sequence, the list of (slot, weight) of all real tokens."""
    with torch.no_grad(), record_slot_reads(model.memory_layers()) as reads:
        model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT)
    found = {}
    for block, read in reads.items():
        found[block] = [
            [
                (slot, weight)
                for token, real in enumerate(mask)
                if real
                for slot, weight in zip(
                    read.slot_indices_BTHK[row, token].flatten().tolist(),
                    read.weights_BTHK[row, token].flatten().tolist(),
                    strict=True,
                )
            ]
            for row, mask in enumerate(batch.attention_mask_BT.tolist())
        ]
    return found


def frequencies(documents):
    """In how many documents, each a list of slots, every slot occurs."""
    found = {}
    for document in documents:
        for slot in set(document):
            found[slot] = found.get(slot, 0) + 1
    return found


def plain_tfidf(amounts, frequency, number):
    total = sum(amounts.values())
    return {
        slot: amount / total * math.log((number + 1) / (frequency.get(slot, 0) + 1)) for slot, amount in amounts.items()
    }


def plain_best(scores, number):
    return sorted(sorted(scores, key=lambda place: (-scores[place], place))[:number])


# Documents


@pytest.mark.parametrize("default", ["batch", "sequence"])
def test_one_pass_counts_documents_of_both_kinds(default):
    model, batches = memory_model(), background_batches()
    counts = count_background(model, batches, document=default, provenance={})
    read = [reads_of_tokens(model, batch) for batch in batches]
    for block, layer in counts.layers.items():
        sequences = [[slot for slot, _ in row] for reads in read for row in reads[block]]
        whole = [[slot for row in reads[block] for slot, _ in row] for reads in read]
        for kind, documents in (("batch", whole), ("sequence", sequences)):
            found, expected = layer.in_documents(kind), frequencies(documents)
            assert found.document_frequency_S.tolist() == [expected.get(slot, 0) for slot in range(64)]
            assert found.num_documents == len(documents)
        assert same_bytes(layer.document_frequency_S, layer.in_documents(default).document_frequency_S)


def test_counts_of_one_kind_know_no_other():
    one = torch.ones(3, dtype=torch.long)
    counts = BackgroundCounts({0: LayerCounts(one, one, 1, one)}, {})
    assert counts.in_documents(None).layers[0].num_documents == counts.in_documents("batch").layers[0].num_documents
    with pytest.raises(CheckpointError, match="no document frequency by sequence: count again"):
        counts.in_documents("sequence")


@pytest.mark.parametrize("document", [None, "batch", "sequence"])
@pytest.mark.parametrize("default", ["batch", "sequence"])
def test_a_method_scores_by_the_documents_that_it_names(document, default):
    model = memory_model()
    counts, batch = background_counts(model, default), batch_of(FACTS[0])
    read = {block: [slot for row in rows for slot, _ in row] for block, rows in reads_of_tokens(model, batch).items()}
    method = start_method("smf", model=model, top_t=5, document=document)
    other = type(method)(model, method.settings, counts, 0)
    steps = selected_in_steps(other)
    other.step(batch)
    for block, layer in counts.layers.items():
        documents = layer.in_documents(document or default)
        amounts = {slot: read[block].count(slot) for slot in sorted(set(read[block]))}
        frequency = dict(enumerate(documents.document_frequency_S.tolist()))
        scores = plain_tfidf(amounts, frequency, documents.num_documents)
        assert steps[0][block] == plain_best(scores, 5)


# Weights


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_weights_of_real_tokens_are_summed(seed, num_rows, num_tokens):
    rng, passes, expected, accesses = random.Random(seed), [], {}, {}
    for _ in range(2):
        slots = [[[[rng.randrange(9) for _ in range(3)] for _ in range(2)] for _ in range(num_tokens)]] * num_rows
        weights = torch.tensor(
            [[[[rng.random() for _ in range(3)] for _ in range(2)] for _ in range(num_tokens)] for _ in range(num_rows)]
        )
        mask = [[1] + [rng.randrange(2)] * (num_tokens - 1) for _ in range(num_rows)]
        passes.append(({7: SlotReads(torch.tensor(slots), weights.float())}, torch.tensor(mask)))
        for row, token, head, place in torch.cartesian_prod(*map(torch.arange, (num_rows, num_tokens, 2, 3))).tolist():
            if mask[row][token]:
                slot, weight = slots[row][token][head][place], weights[row, token, head, place].item()
                expected[slot] = expected.get(slot, 0.0) + weight
                accesses[slot] = accesses.get(slot, 0) + 1
    counts = count_reads(passes, "weights")[7]
    assert counts.slots_U.tolist() == sorted(expected)
    assert counts.counts_U.tolist() == [accesses[slot] for slot in sorted(expected)]
    assert counts.weights_U.tolist() == pytest.approx([expected[slot] for slot in sorted(expected)], rel=1e-9)
    assert same_bytes(count_reads(passes[::-1], "weights")[7].weights_U, counts.weights_U)  # in any order
    assert count_reads(passes)[7].weights_U is None


@pytest.mark.parametrize("selector", ["tfidf", "kl", "tf"])
def test_term_frequencies_are_made_of_weights(selector):
    background = LayerCounts(torch.tensor([3, 0, 5]), torch.tensor([1, 0, 2]), 4, torch.zeros(3))
    batch = BatchCounts(
        torch.tensor([0, 1, 2]), torch.tensor([9, 1, 1]), torch.tensor([0.5, 2.0, 1.5], dtype=torch.double)
    )
    found = SCORES[selector](ScoreInputs(batch, background, "accesses", None)).tolist()
    shares = [0.125, 0.5, 0.375]
    smoothed = [4 / 11, 1 / 11, 6 / 11]
    expected = {
        "tf": shares,
        "tfidf": [share * math.log(5 / (df + 1)) for share, df in zip(shares, [1, 0, 2], strict=True)],
        "kl": [share * math.log(share / q) for share, q in zip(shares, smoothed, strict=True)],
    }
    assert found == pytest.approx(expected[selector])


@pytest.mark.parametrize("selector", ["tfidf", "kl", "tf"])
def test_a_slot_that_is_read_with_no_weight_may_still_be_chosen(selector):
    background = LayerCounts(torch.tensor([3, 0, 5]), torch.tensor([4, 4, 4]), 4, torch.zeros(3))
    batch = BatchCounts(torch.tensor([0, 1]), torch.tensor([9, 1]), torch.tensor([0.5, 0.0], dtype=torch.double))
    chosen = select_slots({0: batch}, BackgroundCounts({0: background}, {}), Selection(selector, 5), torch.Generator())
    assert chosen[0].slots_R.tolist() == [0, 1]


def test_a_method_selects_by_weights():
    model, batch = memory_model(), batch_of(FACTS[0])
    read, background = reads_of_tokens(model, batch), background_counts(model)
    method = start_method("smf", model=model, top_t=6, count_by="weights")
    steps = selected_in_steps(method)
    method.step(batch)
    for block, rows in read.items():
        amounts = {}
        for slot, weight in sorted(pair for row in rows for pair in row):
            amounts[slot] = amounts.get(slot, 0.0) + weight
        layer = background.layers[block]
        scores = plain_tfidf(amounts, dict(enumerate(layer.document_frequency_S.tolist())), layer.num_documents)
        assert steps[0][block] == plain_best(scores, 6)


# A share of the scores


def plain_share(scores, number, share):
    """Places of the fewest best scores that hold the share, at most ``number``."""
    order = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
    needed, kept = share * math.fsum(score for score in scores if score > 0), []
    for place in order[:number]:
        enough = math.fsum(scores[chosen] for chosen in kept) >= needed * (1 - 1e-11)
        if kept and (enough or scores[place] <= 0):
            break
        kept.append(place)
    return sorted(kept)


def scored(monkeypatch, scores_of_block, **selection):
    """What is selected where the slots' scores are given."""
    monkeypatch.setitem(SCORES, "tf", lambda inputs: scores_of_block[int(inputs.background.num_documents)])
    counts, layers = {}, {}
    for block, scores in scores_of_block.items():
        ones = torch.ones(len(scores), dtype=torch.long)
        counts[block], layers[block] = (
            BatchCounts(torch.arange(len(scores)), ones),
            LayerCounts(ones, ones, block, ones),
        )
    chosen = select_slots(counts, BackgroundCounts(layers, {}), Selection("tf", **selection), torch.Generator())
    assert all(int(slots.number) == len(slots.slots_R) for slots in chosen.values())
    return {block: slots.slots_R.tolist() for block, slots in chosen.items()}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.1, 0.2, 0.3, 1.0, 7.0]), min_size=1, max_size=12),
    st.lists(st.floats(-1, 3), min_size=1, max_size=12),
    st.integers(1, 14),
    st.sampled_from([0.01, 0.3, 0.5, 0.7, 0.9, 1.0]),
    st.booleans(),
)
def test_the_fewest_best_slots_that_hold_the_share_are_taken(first, second, top_t, share, pooled):
    with pytest.MonkeyPatch.context() as patch:
        scores = {1: torch.tensor(first, dtype=torch.double), 2: torch.tensor(second, dtype=torch.double)}
        found = scored(patch, scores, top_t=top_t, score_share=share, pooled=pooled)
    if pooled:
        places = plain_share(first + second, 2 * top_t, share)
        expected = {
            1: [place for place in places if place < len(first)],
            2: [place - len(first) for place in places if place >= len(first)],
        }
    else:
        expected = {1: plain_share(first, top_t, share), 2: plain_share(second, top_t, share)}
    assert found == expected


@pytest.mark.parametrize(
    ("share", "top_t", "expected"),
    [
        (0.5, 9, [2]),
        (0.51, 9, [0, 2]),
        (0.8, 9, [0, 2]),  # 0.5 + 0.3 holds it, but for rounding
        (0.81, 9, [0, 2, 4]),
        (1.0, 9, [0, 2, 4]),  # never one without a positive score
        (1.0, 2, [0, 2]),  # and no more than top_t
    ],
)
def test_a_share_worked_by_hand(monkeypatch, share, top_t, expected):
    scores = torch.tensor([0.3, -1.0, 0.5, 0.0, 0.2], dtype=torch.double)
    assert scored(monkeypatch, {1: scores}, top_t=top_t, score_share=share) == {1: expected}


def test_where_no_score_is_positive_the_best_slot_is_taken(monkeypatch):
    scores = torch.tensor([-3.0, -1.0, -1.0], dtype=torch.double)
    assert scored(monkeypatch, {1: scores}, top_t=3, score_share=0.5) == {1: [1]}


@pytest.mark.parametrize("selector", ["random", "none"])
def test_a_share_of_scores_that_mean_nothing_is_refused(selector):
    with pytest.raises(ConfigError, match=f"score_share is 0.5, but selector {selector} .*; use tfidf, kl or tf"):
        start_method("smf", selector=selector, score_share=0.5)


def test_a_method_takes_a_share():
    whole, part = (start_method("smf", model=memory_model(), top_t=30, **more) for more in ({}, {"score_share": 0.4}))
    numbers = [method.step(batch_of(FACTS[0])).num_slots for method in (whole, part)]
    for block, number in numbers[0].items():
        assert 1 <= int(numbers[1][block]) < int(number) == 30


# Past writes


def layer_of(size=8):
    return LayerCounts(torch.arange(size), torch.arange(size) % 3, 5, torch.zeros(size))


def random_steps(rng, size):
    """What the steps of a batch read and select: a dictionary of counts and a list of slots each."""
    steps = []
    for _ in range(rng.randrange(1, 4)):
        counts = {slot: rng.randrange(1, 9) for slot in sorted(rng.sample(range(size), rng.randrange(1, size)))}
        steps.append((counts, sorted(rng.sample(list(counts), rng.randrange(1, len(counts) + 1)))))
    return steps


def see(past, steps):
    for counts, chosen in steps:
        batch = BatchCounts(torch.tensor(list(counts)), torch.tensor(list(counts.values())))
        past.see({3: batch}, {3: SelectedSlots(torch.tensor(chosen), torch.tensor(len(chosen)))})


@given(st.integers(0, 2**31), st.integers(1, 5), st.sampled_from([0.25, 1.0, 3, 0.3]))
@settings(max_examples=40, deadline=None)
def test_past_writes_equal_plain_loops(seed, num_batches, weight):
    rng, layer = random.Random(seed), layer_of()
    past = PastWrites(BackgroundCounts({3: layer}, {}), weight)
    documents, accesses = [0] * 8, [0] * 8
    past.begin_batch()
    for _ in range(num_batches):
        steps = random_steps(rng, 8)
        see(past, steps)
        before = past.background.layers[3].num_documents
        past.begin_batch()
        assert past.background.layers[3].num_documents == pytest.approx(before + weight)
        for slot in {slot for _, chosen in steps for slot in chosen}:
            documents[slot] += 1
            accesses[slot] += steps[-1][0].get(slot, 0)
    found = past.background.layers[3]
    expected = [df + weight * more for df, more in zip(layer.document_frequency_S.tolist(), documents, strict=True)]
    assert found.document_frequency_S.tolist() == pytest.approx(expected)
    assert found.total_document_frequency.item() == pytest.approx(sum(expected))
    expected = [old + weight * more for old, more in zip(layer.accesses_S.tolist(), accesses, strict=True)]
    assert found.accesses_S.tolist() == pytest.approx(expected)
    assert found.total_accesses.item() == pytest.approx(sum(expected))
    assert found.num_documents == pytest.approx(5 + num_batches * weight)


def test_without_a_weight_nothing_is_kept():
    background = BackgroundCounts({3: layer_of()}, {})
    past = PastWrites(background, 0)
    see(past, random_steps(random.Random(1), 8))
    past.begin_batch()
    assert past.background is background
    assert past.state_dict() == {}
    method = start_method("smf")
    method.step(batch_of(FACTS[0]))
    assert not [name for name in method.state_dict() if name.startswith("past")]


@pytest.mark.parametrize(
    ("selector", "kl_background"), [("tfidf", "accesses"), ("kl", "accesses"), ("kl", "documents")]
)
@pytest.mark.parametrize("document", ["batch", "sequence"])
def test_a_method_scores_with_its_past(selector, kl_background, document):
    """The second batch's slots, from plain counts of the background and of what the first batch wrote."""
    model, weight = memory_model(), 40.0
    background = background_counts(model).in_documents(document)
    options = {"selector": selector, "kl_background": kl_background, "document": document, "learning_rate": 1e-6}
    method = start_method("smf", model=model, top_t=8, past_writes=weight, **options)
    steps = selected_in_steps(method)
    read = [reads_of_tokens(model, batch_of(fact)) for fact in FACTS[:2]]
    for fact in FACTS[:2]:
        method.step(batch_of(fact))
    for block, layer in background.layers.items():
        first, second = (
            {slot: slots.count(slot) for slot in sorted(set(slots))}
            for slots in ([slot for row in reads[block] for slot, _ in row] for reads in read)
        )
        frequency = dict(enumerate(map(float, layer.document_frequency_S.tolist())))
        accesses = dict(enumerate(map(float, layer.accesses_S.tolist())))
        for slot in steps[0][block]:
            frequency[slot] += weight
            accesses[slot] += weight * first[slot]
        scores = plain_tfidf(second, frequency, layer.num_documents + weight)
        if selector == "kl":
            used = accesses if kl_background == "accesses" else frequency
            total = sum(used.values()) + len(used)
            shares = {slot: count / sum(second.values()) for slot, count in second.items()}
            scores = {slot: p * math.log(p / ((used[slot] + 1) / total)) for slot, p in shares.items()}
        assert steps[1][block] == plain_best(scores, 8)


def test_what_was_written_is_chosen_less():
    def both(**options):
        method = start_method("smf", model=memory_model(), top_t=10, **options)
        steps = selected_in_steps(method)
        for fact in FACTS[:2]:
            method.step(batch_of(fact))
        return sum(len(set(steps[0][block]) & set(steps[1][block])) for block in steps[0])

    assert both(past_writes=100.0) < both()


@pytest.mark.parametrize("options", [{}, {"document": "sequence", "count_by": "weights", "score_share": 0.6}], ids=str)
def test_a_stream_with_past_writes_resumes_at_the_same_bits(options):
    options = {"selector": "kl", "top_t": 12, "past_writes": 0.7, **options}
    whole = start_method("smf", **options)
    for fact in (FACTS[0], FACTS[1]):
        whole.step(batch_of(fact))
        whole.step(batch_of(fact))
    state, delta = whole.state_dict(), whole.delta()
    resumed = start_method("smf", **options)
    resumed.load_state_dict(state, delta)
    for method in (whole, resumed):
        for fact in (FACTS[2], FACTS[0]):
            method.step(batch_of(fact))
    for name, tensor in (whole.delta() | whole.state_dict()).items():
        assert same_bytes((resumed.delta() | resumed.state_dict())[name], tensor), name
    with pytest.raises(CheckpointError, match="knows no past writes of block 0's 64 slots; learn the stream again"):
        resumed.load_state_dict({"generator": state["generator"]}, delta)


# All of them


@pytest.mark.parametrize("selector", ["tfidf", "kl", "tf"])
def test_micro_batches_select_the_same_slots(selector):
    options = {"selector": selector, "count_by": "weights", "score_share": 0.7, "past_writes": 1.5}
    found = []
    for size in (None, 2):
        method = start_method("smf", model=memory_model(), top_t=20, learning_rate=1e-6, **options)
        method.micro_batch_size = size
        steps = selected_in_steps(method)
        for fact in FACTS[:2]:
            method.step(batch_of(fact))
        found.append(steps)
    assert found[0] == found[1]


def test_defaults_change_no_bit():
    """Spelled out, and with counts that know one kind of document alone."""
    plain = start_method("smf", model=memory_model())
    method_class, settings_ = type(plain), dict(plain.settings)
    model = memory_model()
    alone = {block: replace(layer, others=None) for block, layer in background_counts(model).layers.items()}
    spelled = method_class(
        model,
        settings_ | {"document": "batch", "count_by": "accesses", "score_share": None, "past_writes": 0},
        BackgroundCounts(alone, {}),
        0,
    )
    for method in (plain, spelled):
        for fact in FACTS:
            method.step(batch_of(fact))
    expected = copy_of_state(plain.model)
    for name, tensor in copy_of_state(model).items():
        assert same_bytes(expected[name], tensor), name
