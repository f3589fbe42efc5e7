"""KL(start‖now) against torch's own divergence of whole passes, one text at a time, without padding and slices."""

import math

import pytest
import torch
import torch.nn.functional as F

from smf.evaluation.harness import Evaluator
from smf.evaluation.settings import EvaluationSettings
from smf.files.artifacts import read_json, write_jsonl
from smf.files.tensors import write_tensors
from smf.models.checkpoint import model_hash, save_checkpoint
from smf.scores.summary import summary_table
from smf.scores.table import scores_table
from smf.stages.evaluate import Run, evaluate_held_out, evaluate_run, evaluate_start
from smf.streams.fact_batches import facts_batch
from smf.streams.facts import write_facts
from tests.helpers import FACTS, MAX_LENGTH, base_model, memory_model, start_method, tokenizer

TEXTS = [
    "Mara Teller was born in Velburg.",
    "Ina Brandt was born in Ostry. " * 3,
    "In her letters the town of Karl Stone is Melvik.",
]
TAUGHT = {"num_facts": 9, "loss_on": "answer", "max_length": MAX_LENGTH}


def ids_of(text):
    return tokenizer()(text, add_special_tokens=False)["input_ids"]


def by_hand(now, start, ids):
    """The divergence of the token that follows each one, by torch, from passes over one text alone."""
    with torch.no_grad():
        now, start = (model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1) for model in (now, start))
    return [float(F.kl_div(now[i], start[i], reduction="sum", log_target=True)) for i in range(len(ids))]


def of_text(now, start, text):
    """At each token of a running text, which begins behind an end of text."""
    return by_hand(now, start, [tokenizer().eos_token_id, *ids_of(text)])[:-1]


def of_fact(now, start, fact):
    """At each token of the answer in the training wordings, its full stop, and the end of text."""
    found = []
    for prompt in fact.train_prompts:
        context, whole = ids_of(prompt), ids_of(f"{prompt} {fact.answers[0]}.")
        assert whole[: len(context)] == context
        found += by_hand(now, start, whole)[len(context) - 1 :]
    return found


def mean_and_error(documents):
    """Of the divergences of several documents; the error as of a ratio of two sums (Cochran 6.4)."""
    number = len(documents)
    tokens = sum(map(len, documents))
    mean = sum(map(sum, documents)) / tokens
    squares = sum((sum(document) - mean * len(document)) ** 2 for document in documents)
    return mean, math.sqrt(number / (number - 1) * squares) / tokens


@pytest.fixture
def measured(tmp_path):
    """The divergences of a model from its start: value and standard error by metric."""

    def rows(now, start, position=0, **settings):
        write_jsonl(tmp_path / "stories.jsonl", [{"text": text} for text in TEXTS])
        asked = {"batch_size": 4, "max_new_tokens": 4, "kl_texts": 9, "kl_facts": TAUGHT, **settings}
        probes = {"stories": ("texts", tmp_path / "stories.jsonl")}
        result = Evaluator(probes, FACTS, EvaluationSettings(**asked)).evaluate(now, tokenizer(), position, start=start)
        return {row["metric"]: (row["value"], row["stderr"]) for row in result["scores"] if "_kl" in row["metric"]}

    return rows


@pytest.mark.parametrize(("positions", "batch_size"), [(10**6, 1), (5, 4)], ids=["whole", "sliced and padded"])
@pytest.mark.parametrize(("kind", "rate"), [("full", 0.01), ("lora", 0.01), ("smf", 100.0)])
def test_divergences_are_those_of_whole_passes_over_single_texts(
    measured, monkeypatch, kind, rate, positions, batch_size
):
    start = memory_model() if kind == "smf" else base_model()
    method = start_method(kind, learning_rate=rate)
    method.step(facts_batch(tokenizer(), FACTS[:1], loss_on="text", max_length=MAX_LENGTH))
    now = method.model
    monkeypatch.setattr("smf.models.logits.positions_at_once", lambda vocab_size: positions)
    found = measured(now, start, batch_size=batch_size)
    expected = {
        "stories_kl": mean_and_error([of_text(now, start, text) for text in TEXTS]),
        "facts_kl": mean_and_error([of_fact(now, start, fact) for fact in FACTS]),
    }
    assert expected["stories_kl"][0] > 1e-3
    assert found.keys() == expected.keys()
    for metric, pair in expected.items():
        assert found[metric] == pytest.approx(pair, rel=1e-4), metric


def test_logits_of_both_models_are_capped_as_in_whole_passes(measured):
    now, start = (base_model("gemma2", seed=seed, final_logit_softcapping=2.0) for seed in (1, 0))
    expected = mean_and_error([of_text(now, start, text) for text in TEXTS])
    assert measured(now, start)["stories_kl"] == pytest.approx(expected, rel=1e-4)


def test_the_start_itself_has_not_moved(measured):
    assert measured(memory_model(), memory_model()) == {"stories_kl": (0.0, 0.0), "facts_kl": (0.0, 0.0)}


def test_a_text_longer_than_a_window_is_predicted_in_the_windows_of_its_loss(measured):
    now, start = base_model(seed=1), base_model()
    expected = []
    for text in TEXTS:
        ids, width, found = [tokenizer().eos_token_id, *ids_of(text)], 8, []
        for first in range(0, len(ids) - 1, width):
            last = min(first + width, len(ids) - 1)  # the last window looks back as far as it can
            found += by_hand(now, start, ids[max(0, last - width) : last])[first - last :]
        expected.append(found)
    assert max(map(len, expected)) > 16
    assert measured(now, start, window=8)["stories_kl"] == pytest.approx(mean_and_error(expected), rel=1e-4)


def test_facts_are_those_taught_so_far_and_on_the_tokens_that_are_taught(measured):
    now, start = base_model(seed=1), base_model()
    value, error = measured(now, start, position=1)["facts_kl"]
    answers = of_fact(now, start, FACTS[0])
    assert value == pytest.approx(sum(answers) / len(answers), rel=1e-4)
    assert error is None
    wordings = [ids_of(f"{prompt} {FACTS[0].answers[0]}.") for prompt in FACTS[0].train_prompts]
    tokens = [one for ids in wordings for one in by_hand(now, start, ids)]
    value, _ = measured(now, start, position=1, kl_facts={**TAUGHT, "loss_on": "text"})["facts_kl"]
    assert value == pytest.approx(sum(tokens) / len(tokens), rel=1e-4)


def test_no_more_texts_and_facts_are_read_than_the_settings_say(measured):
    now, start = base_model(seed=1), base_model()
    found = measured(now, start, kl_texts=1, kl_facts={**TAUGHT, "num_facts": 1}, seed=3)
    one_text = [sum(each) / len(each) for each in (of_text(now, start, text) for text in TEXTS)]
    one_fact = [sum(each) / len(each) for each in (of_fact(now, start, fact) for fact in FACTS)]
    assert sum(found["stories_kl"][0] == pytest.approx(value, rel=1e-4) for value in one_text) == 1
    assert sum(found["facts_kl"][0] == pytest.approx(value, rel=1e-4) for value in one_fact) == 1


def test_nothing_is_compared_unless_it_is_asked_for(measured):
    assert measured(base_model(seed=1), base_model(), kl_texts=0, kl_facts=None) == {}


def test_runs_are_compared_with_what_they_started_from_and_start_models_with_the_base(tmp_path):
    """From folders to tables: a method's divergence starts at 0, whatever the healed model's own row says."""
    healed, names = memory_model(), ("base", "healed")
    for name, model in zip(names, (base_model(), healed), strict=True):
        save_checkpoint(model, tokenizer(), tmp_path / name)
    write_jsonl(tmp_path / "stories.jsonl", [{"text": text} for text in TEXTS])
    write_facts(tmp_path / "facts.jsonl", FACTS)
    method = start_method("memory_dense", learning_rate=0.05)
    deltas, scores = ({place: tmp_path / f"{place}.{end}" for place in (1, 3)} for end in ("safetensors", "json"))
    for path in deltas.values():
        method.step(facts_batch(tokenizer(), FACTS[:1], loss_on="text", max_length=MAX_LENGTH))
        write_tensors(path, method.delta(), {"kind": "delta", "start_hash": model_hash(tmp_path / "healed")})

    probes, asked = {"stories": ("texts", tmp_path / "stories.jsonl")}, {"batch_size": 4, "max_new_tokens": 4}
    evaluate_run(
        "dense",
        Run({"kind": "memory_dense", **method.settings.plain()}, tmp_path / "healed", tmp_path / "facts.jsonl"),
        {**asked, "kl_texts": 9, "kl_facts": TAUGHT},
        probes,
        delta_paths=deltas,
        score_paths=scores,
    )
    held_out, starts = ({name: tmp_path / f"{name}{end}.json" for name in names} for end in ("-held-out", ""))
    for name in names:
        options = {"device": "cpu", "path": held_out[name], "compared_with": tmp_path / "base"}
        evaluate_held_out({**asked, "kl_texts": 9}, tmp_path / name, probes, **options)
    folders, options = {name: tmp_path / name for name in names}, {"device": "cpu", "score_paths": starts}
    evaluate_start({**asked, "kl_facts": TAUGHT}, folders, held_out, tmp_path / "facts.jsonl", seed=0, **options)

    table = scores_table(map(read_json, (*scores.values(), *starts.values())))
    values = table.set_index(["method", "position", "metric"])["value"]
    assert values["base", 0, "stories_kl"] == values["base", 0, "facts_kl"] == 0
    for row, now, start in ((("healed", 0), healed, base_model()), (("dense", 3), method.model, healed)):
        documents = {
            "stories_kl": [of_text(now, start, text) for text in TEXTS],
            "facts_kl": [of_fact(now, start, fact) for fact in FACTS],
        }
        for metric, each in documents.items():
            assert values[(*row, metric)] == pytest.approx(mean_and_error(each)[0], rel=1e-4), (row, metric)
    summary = summary_table(table, {"dense": "healed"}, {"stories": "texts"}).set_index(["method", "metric"])
    for metric in ("stories_kl", "facts_kl"):
        assert summary.loc[("dense", metric), "mean"] == values["dense", 3, metric] > 0
        assert math.isnan(summary.loc[("dense", metric), "relative_drop"])
