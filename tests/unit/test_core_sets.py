"""Core sets: the slots that all texts of a fact read, those that train, and how few are enough to answer."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from smf.analysis.core_sets.alone import Alone, AloneSettings, Enough, questions
from smf.analysis.core_sets.shared_slots import common, read_fact, size
from smf.analysis.core_sets.table import CORE_SET_COLUMNS, answered_shares, core_sets_table
from smf.config.experiment import Experiment
from smf.errors import ConfigError, DataError
from smf.files.artifacts import read_table
from smf.memory import record_slot_reads
from smf.methods.loss import language_model_loss
from smf.methods.smf import SparseMemoryFinetuning
from smf.models.checkpoint import model_hash, save_checkpoint
from smf.selection.background import count_background
from smf.stages.core_sets import write_core_sets
from smf.stages.run import Learning
from smf.streams.batches import collate, encode
from smf.streams.fact_batches import facts_batch
from smf.streams.facts import question_prompt, write_facts
from tests.helpers import (
    FACTS,
    MAX_LENGTH,
    background_batches,
    background_counts,
    copy_of_state,
    memory_model,
    method_settings,
    same_bytes,
    start_method,
    tokenizer,
)
from tests.workflow.runs import tiny

SETTINGS = AloneSettings(num_steps=8, loss_on="answer", max_length=MAX_LENGTH)
TOP_T, RATES = (1, 4, 64), (0.1, 1.0)


def read(model, fact, **options):
    return read_fact(model, tokenizer(), fact, **{"max_length": MAX_LENGTH, **options})


def slots_read_alone(model, text):
    """(block, slot) of every read of a text and its end, by a plain forward pass of this text without padding."""
    ids = [*tokenizer()(text)["input_ids"], tokenizer().eos_token_id]
    with torch.no_grad(), record_slot_reads(model.memory_layers()) as reads:
        model(input_ids=torch.tensor([ids]))
    return {(block, slot) for block, part in reads.items() for slot in part.slot_indices_BTHK.flatten().tolist()}


def as_pairs(slots):
    return {(block, slot) for block, part in slots.items() for slot in part.tolist()}


def texts_of(fact):
    """The texts of a fact by role, as they are taught and asked."""
    (answer,) = fact.answers
    taught = [f"{prompt} {answer}." for prompt in fact.train_prompts]
    unseen = [f"{prompt} {answer}." for prompt in fact.unseen_prompts]
    return taught, unseen, f"{question_prompt(fact.question)} {answer}"


def alone(model, settings=SETTINGS):
    return Alone(model, tokenizer(), background_counts(model), settings)


def same_state(model, before):
    return all(same_bytes(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_core_set_is_what_all_texts_read_each_in_a_forward_pass_of_its_own():
    model = memory_model()
    for fact in FACTS:
        taught, unseen, question = texts_of(fact)
        training = [slots_read_alone(model, text) for text in taught]
        tested = [slots_read_alone(model, text) for text in (*unseen, question)]
        reads = read(model, fact)
        assert as_pairs(reads.core) == set.intersection(*training, *tested)
        assert as_pairs(reads.training_core) == set.intersection(*training)
        assert as_pairs(reads.training_union) == set.union(*training)
        assert as_pairs(reads.question) == tested[-1]
        assert common(reads.question, reads.training_union) == len(tested[-1] & set.union(*training))
        assert size(reads.core) == len(as_pairs(reads.core)) > 0


def test_padding_never_counts():
    """Beside a long wording the others are padded; they read what they read without it."""
    model, (fact, *_) = memory_model(), FACTS
    longer = replace(fact, train_prompts=(*fact.train_prompts, f"{fact.subject} " + "was seen in the city " * 2))
    short, padded = read(model, fact), read(model, longer)
    for before, after in zip(short.texts, [text for i, text in enumerate(padded.texts) if i != 3], strict=True):
        assert as_pairs(before) == as_pairs(after)


def test_a_fact_without_a_question_has_the_core_of_its_wordings():
    model = memory_model()
    fact = replace(FACTS[0], question="")
    taught, unseen, _ = texts_of(FACTS[0])
    reads = read(model, fact)
    assert reads.question is None
    assert as_pairs(reads.core) == set.intersection(*(slots_read_alone(model, text) for text in (*taught, *unseen)))
    assert alone(model).fewest_slots(method_settings("smf"), fact, (1,), (1.0,))["question"] is None


def test_a_long_text_in_several_sequences_is_one_text():
    model, text = memory_model(), "Ina was born in Ostry and in her letters the town of Tarnow is far away."
    fact = replace(FACTS[0], train_prompts=(), train_texts=(text,), unseen_prompts=(), question="")
    whole, parts = read(model, fact), read(model, fact, max_wording_length=12)
    assert len(parts.training) == len(whole.training) == 1
    assert as_pairs(parts.core) == as_pairs(parts.training_union)
    assert as_pairs(parts.core) != as_pairs(whole.core)


def test_a_text_that_is_too_long_is_refused_with_its_fact():
    with pytest.raises(DataError, match=r"fact 'joel-quint': the text .* tokens, but base.max_length is .*; raise it"):
        read(memory_model(), FACTS[0], max_length=10)


@pytest.mark.parametrize(
    "settings",
    [{}, {"selector": "kl"}, {"selector": "random"}, {"pooled": True}, {"selector": "none"}],
    ids=["tfidf", "kl", "random", "pooled", "all"],
)
def test_the_slots_shown_are_those_that_the_methods_first_step_trains(settings):
    method = start_method("smf", top_t=5, **settings)
    method.step(facts_batch(tokenizer(), FACTS[1:2], loss_on="answer", max_length=MAX_LENGTH))
    selected = alone(memory_model()).selected(method.settings.plain(), FACTS[1])
    assert {f"{block}.slots": slots.tolist() for block, slots in selected.items()} == {
        name: slots.tolist() for name, slots in method.delta().items() if name.endswith(".slots")
    }


def test_after_each_trial_the_model_is_bit_for_bit_what_it_was():
    model = memory_model()
    before, learner = copy_of_state(model), alone(model)
    for settings in ({"optimizer": "sgd"}, {"optimizer": "adamw"}, {"learning_rate": 1e30}):
        learner.selected(method_settings("smf", **settings), FACTS[0])
        assert same_state(model, before)
        learner.fewest_slots(method_settings("smf", **settings), FACTS[0], TOP_T, (1.0, 1e30))
        assert same_state(model, before)


def test_a_trial_that_fails_leaves_the_model_as_it_was(monkeypatch):
    model = memory_model()
    before, learner, step = copy_of_state(model), alone(model), SparseMemoryFinetuning.step

    def step_and_fail(self, batch):
        step(self, batch)
        assert not same_state(model, before)
        raise KeyboardInterrupt

    monkeypatch.setattr(SparseMemoryFinetuning, "step", step_and_fail)
    with pytest.raises(KeyboardInterrupt):
        learner.fewest_slots(method_settings("smf"), FACTS[0], TOP_T, RATES)
    assert same_state(model, before)


def likely(model, tokenizer, asked, max_length):
    """Stands for recall, which a model of random weights hardly learns: an answer's loss falls below a limit."""
    batches = [collate(encode(tokenizer, [one], loss_on="answer", max_length=max_length), 0) for one in asked]
    with torch.no_grad():
        return [language_model_loss(model, batch).item() < 6.5 for batch in batches]


def test_the_fewest_slots_are_those_of_trials_on_fresh_models(monkeypatch):
    monkeypatch.setattr("smf.analysis.core_sets.alone.recall", likely)
    learner, found = alone(memory_model()), set()
    for fact in FACTS:
        trials = []
        for number, rate in ((number, rate) for number in TOP_T for rate in RATES):
            method = start_method("smf", optimizer="adamw", top_t=number, learning_rate=rate)
            batch = facts_batch(tokenizer(), [fact], loss_on="answer", max_length=MAX_LENGTH)
            for _ in range(SETTINGS.num_steps):
                method.step(batch)
            changed = sum(len(slots) for name, slots in method.delta().items() if name.endswith(".slots"))
            trials.append((method.model, Enough(number, rate, changed)))
        enough = learner.fewest_slots(method_settings("smf", optimizer="adamw"), fact, TOP_T[::-1], RATES)
        for name, asked in questions(fact).items():
            right = (what for model, what in trials if all(likely(model, tokenizer(), asked, MAX_LENGTH)))
            assert enough[name] == next(right, None)
            found.add(enough[name] and (enough[name].top_t, enough[name].learning_rate))
    assert {None, (4, 1.0), (64, 1.0)} <= found  # otherwise nothing but trials of one outcome would be compared


def test_what_the_start_model_knows_takes_no_slot_and_no_trial(monkeypatch):
    monkeypatch.setattr(
        "smf.analysis.core_sets.alone.recall", lambda model, tokenizer, asked, max_length: [True] * len(asked)
    )
    monkeypatch.setattr(SparseMemoryFinetuning, "step", None)
    enough = alone(memory_model()).fewest_slots(method_settings("smf"), FACTS[0], TOP_T, RATES)
    assert enough == {"wordings": Enough(0, None, 0), "question": Enough(0, None, 0)}


def test_answered_shares_count_facts_that_are_asked_up_to_each_number():
    rows = [
        {"wordings_asked": True, "wordings_top_t": 0, "question_asked": False},
        {"wordings_asked": True, "wordings_top_t": 5, "question_asked": False},
        {"wordings_asked": True, "question_asked": False},
        {"wordings_asked": False, "question_asked": False},
    ]
    table = core_sets_table(rows, [1], ["smf"])
    assert answered_shares(table, "wordings", (1, 5, 100)) == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert answered_shares(table, "question", (1, 5, 100)) == []


def test_the_table_has_a_row_a_fact_and_says_what_was_found(tmp_path):
    model = memory_model()
    save_checkpoint(model, tokenizer(), tmp_path / "healed")
    provenance = {"model_hash": model_hash(tmp_path / "healed")}
    counts = count_background(model, background_batches(), document="batch", provenance=provenance)
    counts.save(tmp_path / "counts.safetensors")
    facts = [FACTS[0], replace(FACTS[1], question=""), FACTS[2]]
    write_facts(tmp_path / "facts.jsonl", facts)
    methods = {"smf_tfidf": method_settings("smf", top_t=5), "smf_all": method_settings("smf", selector="none")}
    stream = {"steps_per_fact": 4, "epochs": 2, "loss_on": "answer", "max_length": None, "micro_batch_size": None}
    write_core_sets(
        {"num_facts": 2, "top_t": [1, 64], "rate_factors": [1, 30], "method": "smf_tfidf", "seed": 7},
        methods,
        Learning(stream | {"max_gradient_norm": None}, MAX_LENGTH),
        tmp_path / "healed",
        tmp_path / "counts.safetensors",
        tmp_path / "facts.jsonl",
        device="cpu",
        path=tmp_path / "core_sets.csv",
    )
    table = read_table(tmp_path / "core_sets.csv")
    assert tuple(table.columns[: len(CORE_SET_COLUMNS)]) == CORE_SET_COLUMNS
    assert table["fact_id"].tolist() == ["joel-quint", "rosa-varga"]
    assert table["seed"].tolist() == [7, 7]
    assert table["texts"].tolist() == [6, 5]
    assert table["question_asked"].tolist() == [True, False]
    assert table.loc[1, ["question_reads", "question_shared", "question_top_t", "question_rate"]].isna().all()
    reads = [read(model, fact) for fact in facts[:2]]
    assert table["core"].tolist() == [size(one.core) for one in reads]
    assert (table["core_block_0"] + table["core_block_2"] == table["core"]).all()
    assert table["trained_smf_tfidf"].tolist() == [10, 10]
    # Whatever is read trains, so all of the core does.
    assert table["trained_core_smf_all"].tolist() == table["core"].tolist()
    assert table["trained_smf_all"].tolist() == table["training_reads"].tolist()
    selected = alone(model).selected(methods["smf_tfidf"], facts[0])
    assert table["trained_core_smf_tfidf"][0] == len(as_pairs(selected) & as_pairs(reads[0].core))
    learner = alone(model)  # the settings of the test have as many steps
    for row, fact in zip(table.itertuples(), facts, strict=False):
        enough = learner.fewest_slots(methods["smf_tfidf"], fact, [1, 64], [0.1, 3.0])["wordings"]
        assert (None if pd.isna(row.wordings_top_t) else row.wordings_top_t) == (enough and enough.top_t)


def test_the_first_method_that_selects_and_the_first_tuning_seed_are_the_default():
    everything = {"kind": "smf", "selector": "none", "learning_rate": 1.0}
    methods = {"all_slots": everything, **tiny()["methods"]}
    experiment = Experiment({**tiny(tuning={"seeds": [7, 8]}), "methods": methods})
    assert (experiment.core_sets["method"], experiment.core_sets["seed"]) == ("smf_tfidf", 7)
    assert list(experiment.memory_methods) == ["all_slots", "smf_tfidf"]


def test_a_method_without_a_rate_is_tried_once_with_each_number_of_slots(monkeypatch):
    free, rated = (tiny(), tiny())
    free["methods"]["smf_tfidf"] = {"kind": "smf"}
    assert Experiment(free).core_sets["rate_factors"] == []
    assert Experiment(rated).core_sets["rate_factors"] == tiny()["core_sets"]["rate_factors"]
    method = method_settings("smf", selector="none", learning_rate=None)
    answers = iter([False, False, False, False, True, True])  # of wordings and question: at the start, in two trials
    monkeypatch.setattr("smf.analysis.core_sets.alone.recall", lambda *_: [next(answers)])
    enough = alone(memory_model()).fewest_slots(method, FACTS[0], [1, 64], [None])
    assert enough["wordings"] == (64, None, enough["question"].num_slots)
    assert enough["wordings"].num_slots > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"core_sets": {"method": "smf_tfid"}},
            "core_sets.method is smf_tfid, but must be a method of kind smf of the",
        ),
        (
            {"core_sets": {"method": "full"}},
            "core_sets.method is full, but must be a method of kind smf of the",
        ),
        ({"core_sets": {"method": "smf_tfidf"}, "methods": {"smf_tfidf": {"selector": "none"}}}, "other than none"),
        ({"core_sets": {"seed": 5}}, r"core_sets.seed is 5, but must be one of seeds or tuning.seeds \(0, 100\)"),
        ({"core_sets": {"top_t": []}}, "core_sets.top_t"),
    ],
    ids=["unknown", "no memory", "all slots", "seed", "nothing to try"],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Experiment(tiny(**changes))


def test_an_experiment_without_selection_is_valid_but_has_no_core_sets():
    experiment = Experiment(tiny(methods={"smf_tfidf": None}))
    with pytest.raises(ConfigError, match="needs a method of kind smf that selects slots; add one under methods"):
        _ = experiment.core_sets
