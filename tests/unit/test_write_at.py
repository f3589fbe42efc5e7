"""Which tokens' reads may be written: the subject's and the answer's, found in each wording, against places by hand."""

import logging
import unicodedata
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers

from smf.analysis.core_sets.alone import Alone, AloneSettings
from smf.data.questions import Pair, question_fact
from smf.errors import DataError
from smf.memory import record_slot_reads
from smf.streams.batches import collate
from smf.streams.fact_batches import encode_fact, facts_batch
from smf.streams.facts import Fact, full_stop
from smf.streams.places import longest_shared, occurrences, placed_words
from smf.streams.write_places import log_write_places, write_places
from smf.training.learn import StreamSettings, learn_with
from tests.helpers import (
    FACTS,
    MAX_LENGTH,
    background_counts,
    copy_of_state,
    memory_model,
    same_bytes,
    start_method,
    tokenizer,
)
from tests.tokenizer_families import FAMILIES

MODES = ("subject", "subject_and_answer")
TOLD = Fact(
    "told",
    "Joel Quint",
    ("joel quint was born in", "Said JOEL QUINT, or Joel Quintus: the town is"),
    (),
    "where is Joel",
    ("Tarnow",),
    ("Of Tarnow, Joel Quint says: Tarnow.",),
)
FACTS_HERE = (FACTS[1], TOLD)
KEYS = 32  # so many slots that most of them are read by no token that may write


def batch_of(*facts, write_at="all", loss_on="answer", max_length=MAX_LENGTH):
    return facts_batch(tokenizer(), facts, loss_on=loss_on, max_length=max_length, write_at=write_at)


def spans_by_hand(fact, mode):
    """Characters of the subject and the answer, text by text, found with ``str.find`` in lower case."""

    def found(text, part):
        text, part, places, start = text.lower(), part.lower(), [], -1
        while (start := text.find(part, start + 1)) >= 0:
            if not text[start + len(part) :][:1].isalpha():
                places.append((start, start + len(part)))
        return places

    texts = []
    for prompt in fact.train_prompts:
        end = f"{fact.answers[0]}{full_stop(prompt, fact.answers[0])}"
        text = f"{prompt} {end}"
        answer = [(len(text) - len(end), len(text))] if mode == "subject_and_answer" else []
        texts.append((text, found(prompt, fact.subject) + answer))
    for text in fact.train_texts:
        answer = found(text, fact.answers[0]) if mode == "subject_and_answer" else []
        texts.append((text, found(text, fact.subject) + answer))
    return texts


def tokens_by_hand(fact, mode):
    """For each text, its ids without the end, and which of them share a character with a span."""
    rows = []
    for text, spans in spans_by_hand(fact, mode):
        encoding = tokenizer()(text, return_offsets_mapping=True)
        marks = [
            any({*range(start, stop)} & {*range(first, last)} for first, last in spans)
            for start, stop in encoding["offset_mapping"]
        ]
        rows.append((encoding["input_ids"], marks))
    return rows


def slots_by_hand(model, facts, mode):
    """By block, every lookup of the tokens that may write, a list for each token."""
    found = {block: [] for block in model.memory_layers()}
    for fact in facts:
        for ids, marks in tokens_by_hand(fact, mode):
            with torch.no_grad(), record_slot_reads(model.memory_layers()) as reads:
                model(input_ids=torch.tensor([ids]))
            for block, read in reads.items():
                lookups = zip(
                    read.slot_indices_BTHK[0].flatten(1).tolist(), read.weights_BTHK[0].flatten(1).tolist(), strict=True
                )
                found[block] += [
                    list(zip(slots, weights, strict=True))
                    for (slots, weights), marked in zip(lookups, marks, strict=True)
                    if marked
                ]
    return found


def distinct(tokens):
    return sorted({slot for token in tokens for slot, _ in token})


# Words and where they stand


@pytest.mark.parametrize(
    ("text", "wanted", "found"),
    [
        ("An ANVIL, an “an”.", "an", ["An", "an", "an"]),
        ("C, C#, C++ and C++.", "C++", ["C++", "C++"]),
        ("O’Brien and O'Brien, not OBrien", "O'Brien", ["O’Brien", "O'Brien"]),
        ("Jean–Luc  Ney, Jean-Luc\u00a0Ney", "jean-luc ney", ["Jean–Luc  Ney", "Jean-Luc\u00a0Ney"]),
        ("Nu\u0301n\u0303ez, NÚÑEZ, Nunez, Núñeza", "Núñez", ["Nu\u0301n\u0303ez", "NÚÑEZ"]),
        ("Núñez, Nu\u0301n\u0303ez", "nu\u0301n\u0303ez", ["Núñez", "Nu\u0301n\u0303ez"]),
        ("STRASSE straße Straßen", "Straße", ["STRASSE", "straße"]),
        ("彼は東京で、東京都", "東京", ["東京", "東京"]),
        ("\u1112\u1161\u11ab\u1100\u116e\u11a8 한국 하국", "한국", ["\u1112\u1161\u11ab\u1100\u116e\u11a8", "한국"]),
        ("の が か\u3099 か", "が", ["が", "か\u3099"]),
        ("Da\u00adno\u200b Dano", "dano", ["Da\u00adno\u200b", "Dano"]),
        ("nothing", "", []),
    ],
)
def test_words_are_found_whole_whatever_their_case_unicode_form_quotes_and_spaces(text, wanted, found):
    keys = [word.key for word in placed_words(wanted)]
    assert [text[start:stop] for start, stop in occurrences(placed_words(text), keys)] == found


@given(st.lists(st.lists(st.sampled_from(["a", "bb", "a1", ",", None]), max_size=7), min_size=2, max_size=4))
def test_the_longest_shared_run_is_that_of_trying_all_runs(texts):
    # None stands for a word without key: what is parted by it is no run
    words = [placed_words(" ".join(word or "x" for word in text)) for text in texts]
    words = [[word if word.key != "x" else word._replace(key="") for word in text] for text in words]
    runs = [
        {
            tuple(text[start:stop])
            for start in range(len(text))
            for stop in range(start + 1, len(text) + 1)
            if None not in text[start:stop]
        }
        for text in texts
    ]
    sizes = {run: sum(len(word) for word in run if word != ",") for run in set.intersection(*runs)}
    found = tuple(longest_shared(words))
    assert sizes.get(found, 0) == max(sizes.values(), default=0)
    assert bool(found) == any(sizes.values())


# Where a fact may be written


def places(fact, write_at="subject"):
    texts = [f"{prompt} {fact.answers[0]}{full_stop(prompt, fact.answers[0])}" for prompt in fact.train_prompts]
    return [
        ([text[start:stop] for start, stop in place.spans], place.found_by)
        for text, place in zip([*texts, *fact.train_texts], write_places(fact, write_at), strict=True)
    ]


def test_the_subject_is_written_in_all_its_places_and_the_answer_with_its_stop_where_that_is_asked_for():
    assert places(TOLD) == [
        (["joel quint"], "subject"),
        (["JOEL QUINT"], "subject"),
        (["Joel Quint"], "subject"),
    ]
    assert places(TOLD, "subject_and_answer") == [
        (["joel quint", "Tarnow."], "subject"),
        (["JOEL QUINT", "Tarnow."], "subject"),
        (["Joel Quint", "Tarnow", "Tarnow"], "subject"),
    ]


def test_an_answer_that_completes_a_prompt_is_not_searched_for_the_subject():
    fact = replace(FACTS[0], subject="Lee", train_prompts=("Lee lives in",), answers=("Lee County",))
    assert places(fact) == [(["Lee"], "subject")]


def test_a_question_that_stands_in_each_wording_is_the_subject():
    fact = question_fact(Pair(1, "Who painted “Guernica”", ("Picasso",)), "t")
    assert places(fact) == [(["Who painted “Guernica”"], "subject")] * 6


def test_where_the_fact_names_no_subject_it_is_the_longest_run_that_all_wordings_share():
    texts = ("ANN LEE was born in", "The birthplace of Ann  Lee is", "Ann Lee's home town is")
    fact = replace(FACTS[0], subject="where was Ann Lee born", train_prompts=texts, question="where was Ann Lee born")
    assert places(fact) == [(["ANN LEE"], "shared"), (["Ann  Lee"], "shared"), (["Ann Lee"], "shared")]
    asked = replace(fact, train_prompts=(*texts, "Q: where was Ann Lee born?\nA:"))  # only this one holds the question
    assert places(asked)[-1] == (["Ann Lee"], "shared")


def test_the_answer_is_no_part_of_what_wordings_share():
    texts = ("In Upper Tarnow Joel was born", "Joel comes from Upper Tarnow", "of Upper Tarnow Joel tells")
    fact = replace(FACTS[0], subject="Mr Quint", train_prompts=(), train_texts=texts, answers=("Upper Tarnow",))
    assert places(fact) == [(["Joel"], "shared")] * 3
    assert places(fact, "subject_and_answer") == [(["Joel", "Upper Tarnow"], "shared")] * 3


def test_a_wording_without_the_subject_is_written_where_it_shares_words_with_the_others_or_not_at_all():
    shared = replace(TOLD, train_prompts=("Joel Quint was born in", "Old Quint comes from"), train_texts=())
    assert places(shared) == [(["Joel Quint"], "subject"), (["Quint"], "shared")]
    strange = replace(shared, train_prompts=("Joel Quint was born in", "He comes from"))
    assert places(strange) == [(["Joel Quint"], "subject"), ([], "none")]
    assert places(strange, "subject_and_answer")[1] == (["Tarnow."], "none")


@pytest.mark.parametrize("texts", [("He was born", "She came from"), ("He was born",)])
def test_where_no_wording_holds_the_subject_and_nothing_is_shared_all_is_written(texts):
    fact = replace(TOLD, train_prompts=texts, train_texts=())
    assert places(fact) == [([f"{text} Tarnow."], "all") for text in texts]


def test_the_log_counts_texts_without_their_subject_and_says_what_is_written_instead(caplog):
    odd = (
        replace(TOLD, fact_id="odd", train_prompts=("Old Joel Quint is", "Old Quint is"), train_texts=()),
        replace(TOLD, subject="Ann", train_prompts=("Old Joel sits in", "Very Old Joel is in"), train_texts=()),
        replace(TOLD, subject="Ann", train_prompts=("He was born", "Once he lived"), train_texts=("Ann lives.",)),
        replace(TOLD, subject="Ann", train_prompts=("They said",), train_texts=()),
    )
    log_write_places([FACTS[0], TOLD, *odd], "subject")
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "write_at is subject, but 6 of 14 training texts do not hold their fact's subject, as 'Joel Quint' of fact "
        "'odd'. Written there instead: the longest run of words that all texts of the fact share: 3; every word, as "
        "they share none: 1; nothing, as they share none, but others hold the subject: 2"
    )
    caplog.clear()
    log_write_places([FACTS[0], TOLD], "subject")
    log_write_places(odd, "all")
    assert not caplog.records


# Tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_of_tokenizer_marks_the_tokens_of_the_same_characters(family):
    its = FAMILIES[family]()
    fact = Fact(
        "a", "Ann", ("in was Ann", "ann was Ann in", "Annwas in Ann"), (), "", ("Ostry in",), ("Ann in Ostry in",)
    )
    for mode, expected in (
        ("subject", ["Ann", "Ann Ann", "Ann", "Ann"]),
        ("subject_and_answer", ["Ann Ostry in.", "Ann Ann Ostry in.", "Ann Ostry in.", "Ann Ostry in"]),
    ):
        rows = encode_fact(its, fact, loss_on="answer", max_length=100, write_at=mode)
        for (ids, _, marks), text in zip(rows, expected, strict=True):
            assert len(marks) == len(ids)
            assert {*marks} <= {0, 1}
            marked = its.decode([token for token, mark in zip(ids, marks, strict=True) if mark])
            # byte-level words carry the space before them; letters that no vocabulary has read as unknown
            if "unigram" in family:
                text, marked = text.replace(".", ""), marked.replace("<unk>", "")
            assert marked.replace(" ", "").lower() == text.replace(" ", "").lower()


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "unigram"])  # which knows no such letters
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_subjects_are_found_in_bytes_too_whatever_their_unicode_form(family, form):
    its = FAMILIES[family]()
    subject = unicodedata.normalize("NFC", "Zoë Ñu")
    prompts = tuple(unicodedata.normalize(form, f"{before}Zoë Ñu was in") for before in ("", "in "))
    rows = encode_fact(
        its, Fact("a", subject, prompts, (), "", ("Ostry",)), loss_on="answer", max_length=100, write_at="subject"
    )
    for ids, _, marks in rows:
        marked = its.decode([token for token, mark in zip(ids, marks, strict=True) if mark])
        assert marked.strip() == unicodedata.normalize(form, subject)


@pytest.mark.parametrize("loss_on", ["text", "answer"])
@pytest.mark.parametrize("mode", MODES)
def test_a_batch_marks_the_tokens_that_share_a_character_and_neither_padding_nor_the_end(mode, loss_on):
    batch = batch_of(*FACTS_HERE, write_at=mode, loss_on=loss_on)
    expected = [row for fact in FACTS_HERE for row in tokens_by_hand(fact, mode)]
    width = max(len(ids) for ids, _ in expected) + 1
    assert batch.input_ids_BT.shape == (len(expected), width)
    assert (batch.attention_mask_BT == 0).any()
    for (ids, marks), row, length in zip(
        expected, batch.write_mask_BT.tolist(), batch.attention_mask_BT.sum(1).tolist(), strict=True
    ):
        assert length == len(ids) + 1
        assert row == [*map(int, marks), *[0] * (width - len(ids))]
    plain = batch_of(*FACTS_HERE, loss_on=loss_on)
    assert plain.write_mask_BT is None
    for name in ("input_ids_BT", "attention_mask_BT", "labels_BT"):
        assert same_bytes(getattr(plain, name), getattr(batch, name))


def test_marks_go_with_their_rows():
    batch = batch_of(*FACTS_HERE, write_at="subject")
    masks = batch.attention_mask_BT.tolist()
    rows = [ids[: sum(mask)] for ids, mask in zip(batch.input_ids_BT.tolist(), masks, strict=True)]
    marks = dict(zip(map(tuple, rows), batch.write_mask_BT.tolist(), strict=True))
    for parts in (batch.split(2), batch.split_by_length(3), [batch.to("cpu")]):
        seen = 0
        for part in parts:
            assert part.write_mask_BT.shape == part.input_ids_BT.shape
            lengths = part.attention_mask_BT.sum(1).tolist()
            for ids, found, length in zip(
                part.input_ids_BT.tolist(), part.write_mask_BT.tolist(), lengths, strict=True
            ):
                assert found[:length] == marks[tuple(ids[:length])][:length]
                assert not any(found[length:])
                seen += 1
        assert seen == len(rows)
    assert batch.to("meta").write_mask_BT.device.type == "meta"


def test_a_long_text_goes_on_with_its_marks():
    text = "The letters of Rosa tell of Joel Quint, who was never seen in any other town, but Joel Quint was there."
    fact = replace(TOLD, train_prompts=(), train_texts=(text,))
    [whole] = encode_fact(tokenizer(), fact, loss_on="answer", max_length=1000, write_at="subject")
    parts = encode_fact(tokenizer(), fact, loss_on="answer", max_length=9, write_at="subject")
    assert len(parts) > 5
    assert [sum((part[column] for part in parts), []) for column in range(3)] == [*whole]
    assert sum(whole[2]) > 2


def test_a_subject_that_the_tokenizer_drops_is_refused():
    its = FAMILIES["bytes"]()
    its.backend_tokenizer.normalizer = normalizers.Replace("Ann", "")
    fact = Fact("a", "Ann", ("Ann was in",), (), "", ("Ostry",))
    with pytest.raises(DataError, match="write_at is subject, but the tokenizer has no token for the subject 'Ann'"):
        encode_fact(its, fact, loss_on="answer", max_length=100, write_at="subject")


# Slots


@pytest.mark.parametrize("micro", [None, 1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_no_slot_moves_but_those_that_tokens_read_which_may_write(mode, micro):
    model = memory_model(num_keys=KEYS)
    allowed = slots_by_hand(model, FACTS_HERE, mode)
    before = copy_of_state(model)
    method = start_method("smf", model=model, selector="none", write_at=mode)
    method.micro_batch_size = micro
    report = method.step(batch_of(*FACTS_HERE, write_at=mode, loss_on="text"))
    for block, layer in model.memory_layers().items():
        slots = distinct(allowed[block])
        assert int(report.num_slots[block]) == len(slots) < layer.num_slots / 2
        name = next(name for name in before if layer.values_SV is model.get_parameter(name))
        moved = (layer.values_SV.view(torch.int32) != before[name].view(torch.int32)).any(1).nonzero().flatten()
        assert moved.tolist() == slots
    after = model.state_dict()
    assert all(same_bytes(after[name], before[name]) for name in before if not name.endswith("values_SV"))


@pytest.mark.parametrize("count_by", ["accesses", "weights"])
@pytest.mark.parametrize("mode", MODES)
def test_scores_are_made_of_the_reads_that_count(mode, count_by):
    model = memory_model(num_keys=KEYS)
    method = start_method("smf", model=model, selector="tf", top_t=5, write_at=mode, count_by=count_by)
    allowed = slots_by_hand(model, FACTS_HERE, mode)
    method.step(batch_of(*FACTS_HERE, write_at=mode))
    for block, tokens in allowed.items():
        amounts = {}
        for slot, weight in (lookup for token in tokens for lookup in token):
            amounts[slot] = amounts.get(slot, 0) + (weight if count_by == "weights" else 1)
        best = sorted(sorted(amounts, key=lambda slot: (-amounts[slot], slot))[:5])
        assert method.delta()[f"{block}.slots"].tolist() == best


@pytest.mark.parametrize("micro", [1, 3])
def test_micro_batches_select_and_step_as_the_whole_batch_does(micro):
    deltas = []
    for size in (None, micro):
        options = {"selector": "tfidf", "top_t": 7, "damping": 0.1, "past_weight": 1.0, "past_writes": 1.0}
        method = start_method("smf", write_at="subject", learning_rate=1.0, **options)
        method.micro_batch_size = size
        for fact in FACTS_HERE:
            method.step(batch_of(fact, write_at="subject"))
        deltas.append(method.delta())
    for name, tensor in deltas[0].items():
        if name.endswith("slots"):
            assert same_bytes(tensor, deltas[1][name])
        else:
            torch.testing.assert_close(tensor, deltas[1][name])


def test_what_was_taught_protects_the_slots_of_the_tokens_that_wrote_and_no_others():
    model = memory_model(num_keys=KEYS)
    tokens = slots_by_hand(model, [TOLD], "subject")
    background = background_counts(model)
    method = start_method(
        "smf", model=model, selector="none", damping=0.1, past_weight=2.0, past_writes=1.0, write_at="subject"
    )
    method.step(batch_of(TOLD, write_at="subject"))
    state = method.state_dict()
    for block, layer in background.layers.items():
        squares, accesses = [0.0] * KEYS**2, [0] * KEYS**2
        for token in tokens[block]:
            for slot in {slot for slot, _ in token}:
                squares[slot] += sum(weight for each, weight in token if each == slot) ** 2
            for slot, _ in token:
                accesses[slot] += 1
        mean = float(layer.squared_weights_S.mean()) / float(layer.total_accesses)
        expected = torch.tensor(squares, dtype=torch.double) * 2.0 / sum(accesses) / mean
        torch.testing.assert_close(state[f"past.{block}"], expected, rtol=1e-5, atol=1e-12)
        assert state[f"past_writes.{block}.accesses"].tolist() == accesses


def test_the_marks_of_a_batch_decide_whatever_the_method_says():
    deltas = []
    for mode in ("all", "subject"):
        method = start_method("smf", top_t=9, damping=0.1, past_weight=1.0, write_at=mode)
        method.step(batch_of(*FACTS_HERE, write_at="subject"))
        deltas.append({**method.delta(), **method.state_dict()})
    assert deltas[0].keys() == deltas[1].keys()
    assert all(same_bytes(tensor, deltas[1][name]) for name, tensor in deltas[0].items())


def test_a_batch_that_marks_no_tokens_is_refused():
    method = start_method("smf", write_at="subject")
    with pytest.raises(DataError, match="write_at is subject, but the batch does not mark such tokens"):
        method.step(batch_of(TOLD))


# Streams


def test_a_stream_and_facts_alone_are_written_where_the_method_says(caplog):
    model = memory_model(num_keys=KEYS)
    allowed = {mode: slots_by_hand(model, FACTS_HERE, mode) for mode in MODES}
    counts = background_counts(model)
    for mode in MODES:
        method = start_method("smf", model=memory_model(num_keys=KEYS), selector="none", write_at=mode)
        settings = StreamSettings(
            steps_per_fact=1, loss_on="answer", snapshots=(2,), max_length=MAX_LENGTH, facts_per_step=2
        )
        strange = replace(TOLD, train_texts=(*TOLD.train_texts, "He is from Tarnow."))
        learn_with(method, tokenizer(), [FACTS_HERE[0], strange], settings, lambda *_: None)
        assert "1 of 7 training texts do not hold their fact's subject" in caplog.text
        first = Alone(model, tokenizer(), counts, AloneSettings(1, "answer", MAX_LENGTH)).selected(
            method.settings.plain(), TOLD
        )
        of_told = slots_by_hand(model, [TOLD], mode)
        for block, slots in allowed[mode].items():
            written = method.delta()[f"{block}.slots"].tolist()
            if mode == "subject":  # the text without subject is not written, but with its answer it is
                assert written == distinct(slots)
            assert set(distinct(slots)) <= set(written)
            assert first[block].tolist() == distinct(of_told[block])
        caplog.clear()


def test_rows_without_marks_make_a_batch_without_them():
    assert collate([([5, 6], [5, 6])], 0).write_mask_BT is None
