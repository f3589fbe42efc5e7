"""Held-out sets of texts, completions and plain choices, locality, and lm-eval's own tasks by name, on a tiny model."""

import json
import math
import statistics
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from smf.errors import ConfigError, DataError
from smf.evaluation import named_tasks
from smf.evaluation.answers import extract_answer, token_f1
from smf.evaluation.harness import Evaluator
from smf.evaluation.language_model import LanguageModel
from smf.evaluation.likelihoods import nll, nll_stderr, perplexity, perplexity_stderr
from smf.evaluation.named_tasks import check_names, task_scores
from smf.evaluation.settings import EvaluationSettings
from smf.streams.facts import Fact
from tests.helpers import base_model, memory_model, tokenizer

TEXTS = [
    "Mara Teller was born in Velburg.",
    "Ina Brandt was born in Ostry. " * 4,
    "In her letters the town of Karl Stone is Melvik, and nothing else is said of it.",
]
COMPLETIONS = [
    {"prompt": "Mara Teller was born in", "completion": " Velburg."},
    {"prompt": "Ina Brandt", "completion": " was born in Ostry, not in Melvik."},
    {"prompt": "", "completion": "Karl Stone."},
]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def evaluate(tmp_path):
    """Scores and standard errors of a tiny model on held-out sets given as ``name: (kind, rows)``."""

    def scores(probes, model=None, facts=(), **settings):
        probes = {name: (kind, write_rows(tmp_path / f"{name}.jsonl", rows)) for name, (kind, rows) in probes.items()}
        evaluator = Evaluator(probes, facts, EvaluationSettings(**{"batch_size": 4, "max_new_tokens": 8, **settings}))
        result = evaluator.evaluate(model or base_model(), tokenizer(), 0)
        json.dumps(result, allow_nan=False)
        return {score["metric"]: (score["value"], score["stderr"]) for score in result["scores"]}

    return scores


def losses(model, context, continuation):
    """The negative log-likelihood of each token of a continuation, from one pass without padding."""
    ids = torch.tensor([[*context, *continuation]])
    with torch.no_grad():
        log_probabilities = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    return -log_probabilities.gather(1, ids[0, 1:, None])[len(context) - 1 :, 0]


def encoded(text):
    return tokenizer()(text, add_special_tokens=False)["input_ids"]


def jackknife(samples, statistic):
    """The jackknife's standard error: an independent way to the error of any statistic."""
    left_out = [statistic([*samples[:index], *samples[index + 1 :]]) for index in range(len(samples))]
    mean = statistics.mean(left_out)
    return math.sqrt((len(samples) - 1) / len(samples) * sum((value - mean) ** 2 for value in left_out))


def test_loss_of_texts_is_summed_over_all_tokens_of_all_texts(evaluate):
    model = memory_model()
    found = evaluate({"stories": ("texts", [{"text": text} for text in TEXTS])}, model)
    tokens = [losses(model, [tokenizer().eos_token_id], encoded(text)) for text in TEXTS]
    expected = float(torch.cat(tokens).mean())
    assert list(found) == ["stories_nll", "stories_perplexity"]
    assert found["stories_nll"][0] == pytest.approx(expected, rel=1e-6)
    assert found["stories_perplexity"][0] == pytest.approx(math.exp(expected), rel=1e-6)
    samples = [(float(part.sum()), len(part)) for part in tokens]
    assert found["stories_nll"][1] == pytest.approx(nll_stderr(samples), rel=1e-5)


def test_loss_of_completions_counts_the_completions_tokens_only(evaluate):
    model = memory_model()
    found = evaluate({"gsm8k": ("completions", COMPLETIONS)}, model)
    parts = []
    for row in COMPLETIONS:
        context = encoded(row["prompt"]) or [tokenizer().eos_token_id]
        parts.append(losses(model, context, encoded(row["completion"])))
    assert list(found) == ["gsm8k_nll", "gsm8k_acc"]
    assert found["gsm8k_nll"][0] == pytest.approx(float(torch.cat(parts).mean()), rel=1e-6)
    assert found["gsm8k_acc"] == (0.0, 0.0)


def greedy_completion(model, prompt, num_tokens):
    """A prompt's greedy completion as text; None if the tokenizer cuts that text in another way than the model."""
    with torch.no_grad():
        ids = model.generate(torch.tensor([encoded(prompt)]), max_new_tokens=num_tokens, do_sample=False)[0].tolist()
    text = tokenizer().decode(ids[len(encoded(prompt)) :])
    return text if encoded(prompt + text) == ids else None


def test_a_completion_that_greedy_decoding_gives_is_right(evaluate):
    model = memory_model()
    prompts = [text[:length] for text in TEXTS for length in range(3, 30)]
    completed = ((prompt, greedy_completion(model, prompt, 2)) for prompt in prompts)
    prompt, completion = next((prompt, text) for prompt, text in completed if text and text.strip())
    rows = [{"prompt": prompt, "completion": completion}, COMPLETIONS[1]]
    assert evaluate({"lambada": ("completions", rows)}, model)["lambada_acc"] == (0.5, pytest.approx(0.5))


@pytest.mark.parametrize("window", [5, 24, None])
def test_running_text_has_the_likelihood_that_lm_evals_own_model_gives(window):
    model = memory_model()
    max_length = 48
    requests = [
        Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=0) for text in [*TEXTS, TEXTS[0]]
    ]
    theirs = HFLM(
        pretrained=model, tokenizer=tokenizer(), batch_size=2, max_length=window or max_length, add_bos_token=False
    ).loglikelihood_rolling(requests, disable_tqdm=True)
    ours = LanguageModel(model, tokenizer(), batch_size=2, max_length=max_length, window=window)
    found = ours.loglikelihood_rolling(requests)
    assert found == pytest.approx(theirs, rel=1e-6)
    assert [value.num_tokens for value in found] == [len(encoded(request.args[0])) for request in requests]


def test_generated_texts_are_those_of_lm_evals_own_model():
    """Also where some rows of a batch end at a stop string and others at the end of text."""
    model = base_model(seed=3)
    prompts = [*TEXTS, "Ina", "Karl Stone was", "Q: where was Mara Teller?\nA:"]
    ours = LanguageModel(model, tokenizer(), batch_size=3, max_length=100)
    theirs = HFLM(pretrained=model, tokenizer=tokenizer(), batch_size=3, max_length=100, add_bos_token=False)
    free = {"until": [], "max_gen_toks": 12, "do_sample": False}
    letters = sorted(set("".join(ours.generate_until(as_requests(prompts, free)))))
    for stop in letters[:3]:
        settings = {**free, "until": [stop]}
        requests = as_requests(prompts, settings)
        assert ours.generate_until(requests) == theirs.generate_until(requests, disable_tqdm=True)


def as_requests(prompts, settings):
    return [Instance(request_type="generate_until", doc={}, arguments=(text, {**settings}), idx=0) for text in prompts]


def test_a_row_that_holds_its_stop_string_ends_whatever_the_others_do(monkeypatch):
    model = base_model(seed=3)
    lm = LanguageModel(model, tokenizer(), batch_size=8, max_length=100)
    said = lm.generate_until(as_requests(["Ina", "Karl"], {"until": [], "max_gen_toks": 10, "do_sample": False}))
    shared = sorted(set(said[0]) & set(said[1]))
    stop = shared[0] if shared else said[0][:1]
    steps = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *args, **options: (steps.append(1), forward(*args, **options))[1])
    until = {"until": [stop, said[1][:1] or stop], "max_gen_toks": 60, "do_sample": False}
    lm.generate_until(as_requests(["Ina", "Karl"], until))
    assert len(steps) < 60


def test_standard_errors_agree_with_the_jackknife():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(20, 60, (400,), generator=generator)
    noise = torch.randn(400, generator=generator)
    samples = [(float(count * (2.0 + 0.3 * part)), int(count)) for count, part in zip(tokens, noise, strict=True)]
    assert nll_stderr(samples) == pytest.approx(jackknife(samples, nll), rel=0.01)
    assert perplexity_stderr(samples) == pytest.approx(jackknife(samples, perplexity), rel=0.02)


def test_one_text_has_no_standard_error(evaluate):
    found = evaluate({"stories": ("texts", [{"text": TEXTS[0]}])})
    assert [error for _, error in found.values()] == [None, None]


def test_choices_with_a_query_are_scored_by_likelihood(evaluate):
    model = memory_model()
    choices = ["Ostry", "Velburg", "Melvik"]
    totals = [-float(losses(model, encoded("The town is"), encoded(f" {choice}")).sum()) for choice in choices]
    best = totals.index(max(totals))
    rows = [{"query": "The town is", "choices": choices, "gold": gold} for gold in range(3)]
    assert evaluate({"medmcqa": ("choices", rows)}, model)["medmcqa_acc"][0] == pytest.approx(1 / 3)
    assert evaluate({"medmcqa": ("choices", [rows[best]] * 2)}, model)["medmcqa_acc"][0] == 1.0


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        ("texts", [{"text": " "}], "line 1: column 'text' is empty"),
        ("texts", [{"txt": "a"}], "line 1: no column 'text'; found txt"),
        ("completions", [{"prompt": "a", "completion": ""}], "line 1: column 'completion' is empty"),
        ("choices", [{"query": "a", "choices": ["b"], "gold": 1}], "line 1: gold 1 names none of the 1 choices"),
    ],
)
def test_broken_rows_are_refused(evaluate, kind, rows, message):
    with pytest.raises(DataError, match=message):
        evaluate({"set": (kind, rows)})


def test_running_text_has_no_solved_examples(evaluate):
    rows = [{"text": text} for text in TEXTS]
    with pytest.raises(ConfigError, match="evaluation.num_fewshot.stories is 1, but running text takes no solved"):
        evaluate({"stories": ("texts", rows)}, num_fewshot={"stories": 1})


# Locality


def neighbour(name, prompts):
    return Fact(
        fact_id=name,
        subject=name,
        train_prompts=(f"{name} was born in",),
        unseen_prompts=(f"The home town of {name} is",),
        question=f"where was {name} born",
        answers=("Ostry",),
        locality_prompts=prompts,
        locality_answers=prompts,  # their true continuations play no part
    )


def test_locality_is_agreement_with_what_the_start_model_says():
    facts = [neighbour("Ina", ("Karl Stone was born in",)), neighbour("Joel", ("In her letters the town of", "Q: why"))]
    evaluator = Evaluator({}, facts, EvaluationSettings(max_new_tokens=6))
    first, other = base_model(seed=0), base_model(seed=1)
    assert "facts_locality_f1" not in metrics(evaluator.evaluate(first, tokenizer(), 0))
    evaluator.remember(first, tokenizer())
    assert metrics(evaluator.evaluate(first, tokenizer(), 2))["facts_locality_f1"] == 1.0
    expected = [
        token_f1(said(other, prompt), [said(first, prompt)]) for fact in facts for prompt in fact.locality_prompts
    ]
    assert metrics(evaluator.evaluate(other, tokenizer(), 0))["facts_locality_f1"] == pytest.approx(
        statistics.mean(expected)
    )
    assert metrics(evaluator.evaluate(other, tokenizer(), 1))["facts_locality_f1"] == pytest.approx(expected[0])


def test_locality_asks_for_neighbours_of_the_facts_that_are_asked():
    facts = [neighbour(name, (f"Karl {name} was born in",)) for name in ("Ina", "Joel", "Rosa", "Emil")]
    evaluator = Evaluator({}, facts, EvaluationSettings(max_new_tokens=6, num_facts=2))
    evaluator.remember(base_model(), tokenizer(), (1, 4))
    for position, number in ((1, 1), (4, 2)):
        result = evaluator.evaluate(base_model(), tokenizer(), position)
        assert metrics(result)["facts_locality_f1"] == 1.0
        assert result["lm_eval"]["n-samples"]["smf_facts_locality"]["effective"] == number


def test_a_neighbour_of_several_facts_counts_once():
    shared, own = "Karl Stone was born in", "In her letters the town of"
    facts = [neighbour("Ina", (shared,)), neighbour("Joel", (shared, own)), neighbour("Rosa", (shared,))]
    evaluator = Evaluator({}, facts, EvaluationSettings(max_new_tokens=6))
    first, other = base_model(seed=0), base_model(seed=1)
    evaluator.remember(first, tokenizer())
    expected = [token_f1(said(other, prompt), [said(first, prompt)]) for prompt in (shared, own)]
    result = evaluator.evaluate(other, tokenizer(), 0)
    assert metrics(result)["facts_locality_f1"] == pytest.approx(statistics.mean(expected))
    assert result["lm_eval"]["n-samples"]["smf_facts_locality"]["effective"] == 2


def metrics(result):
    return {score["metric"]: score["value"] for score in result["scores"]}


def said(model, prompt):
    settings = {"until": ["\n"], "max_gen_toks": 6, "do_sample": False}
    return extract_answer(
        LanguageModel(model, tokenizer(), batch_size=1).generate_until(as_requests([prompt], settings))[0]
    )


# lm-eval's tasks by name


@pytest.fixture
def task_folder(tmp_path):
    """A user's folder with one task on a local file, and a group of it."""
    rows = [{"text": f"Number {number} was born in", "end": "Ostry" if number % 2 else "Melvik"} for number in range(9)]
    write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "towns.yaml").write_text(
        "task: towns\n"
        "dataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{validation: {tmp_path / 'rows.jsonl'}}}}}\n"
        "output_type: loglikelihood\n"
        "validation_split: validation\n"
        'doc_to_text: "{{text}}"\n'
        'doc_to_target: " {{end}}"\n'
        "metric_list:\n"
        "  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}\n"
        "  - {metric: acc, aggregation: mean, higher_is_better: true}\n"
        "metadata: {version: 1.0}\n"
    )
    (tmp_path / "group.yaml").write_text("group: places\ntask: [towns]\n")
    return str(tmp_path)


def test_a_task_by_name_is_asked_on_a_seeded_subset(evaluate, task_folder):
    model = memory_model()
    settings = {"include_path": task_folder, "seed": 5}
    found = evaluate({}, model, tasks={"towns": {"num_items": 4}}, **settings)
    assert list(found) == ["towns_perplexity", "towns_acc"]
    assert found["towns_acc"] == (0.0, 0.0)
    assert found["towns_perplexity"][1] > 0
    assert found == evaluate({}, model, tasks={"towns": {"num_items": 4}}, **settings)
    whole = [
        -float(
            losses(model, encoded(f"Number {number} was born in"), encoded(" Ostry" if number % 2 else " Melvik")).sum()
        )
        for number in range(9)
    ]
    everything = evaluate({}, model, tasks={"towns": {}}, **settings)
    assert everything["towns_perplexity"][0] == pytest.approx(math.exp(-statistics.mean(whole)), rel=1e-5)
    assert list(evaluate({}, model, tasks={"towns": {"metrics": ["acc"]}}, **settings)) == ["towns_acc"]


def test_names_of_tasks_are_checked(evaluate, task_folder, monkeypatch):
    def own_tasks_only(include_path, _):
        return TaskManager(include_path=include_path, include_defaults=False)  # lm-eval's own take seconds

    monkeypatch.setattr(named_tasks, "_index", own_tasks_only)
    check_names(["towns"], task_folder)
    with pytest.raises(
        ConfigError, match=r"there is no task 'twons'; did you mean 'towns'\? looked in lm-eval and in "
    ):
        check_names(["twons"], task_folder)
    with pytest.raises(ConfigError, match="'places' is a group of tasks.*name the tasks that you want, towns"):
        check_names(["places"], task_folder)
    with pytest.raises(ConfigError, match="evaluation.tasks.towns.num_items is 10, but the task has 9 documents"):
        evaluate({}, tasks={"towns": {"num_items": 10}}, include_path=task_folder)


def test_a_task_whose_data_are_a_script_names_the_remedy(evaluate, task_folder, monkeypatch):
    script = Path(task_folder) / "script"
    script.mkdir()
    (script / "script.py").write_text("import datasets\n")
    task = Path(task_folder) / "towns.yaml"
    lines = [line for line in task.read_text().splitlines() if not line.startswith("dataset_kwargs")]
    task.write_text("\n".join(lines).replace("dataset_path: json", f"dataset_path: {script}") + "\n")
    monkeypatch.setattr(named_tasks, "_index", lambda path, _: TaskManager(include_path=path, include_defaults=False))
    with pytest.raises(DataError, match=r"tasks\.towns: .*script: it is a script.*include_path.*refs/convert/parquet"):
        evaluate({}, tasks={"towns": {}}, include_path=task_folder)


def test_results_of_a_task_are_named_after_it_and_checked():
    results = {"alias": "x", "acc,none": 0.5, "acc_stderr,none": 0.1, "bleu,none": 3.0, "bleu_stderr,none": "N/A"}
    assert task_scores("t", results, {"acc": True, "bleu": True}, None) == [
        {"metric": "t_acc", "value": 0.5, "stderr": 0.1},
        {"metric": "t_bleu", "value": 3.0, "stderr": None},
    ]
    filtered = {"exact_match,strict": 0.5, "exact_match,loose": 0.7}
    names = [score["metric"] for score in task_scores("t", filtered, {"exact_match": True}, None)]
    assert names == ["t_strict_exact_match", "t_loose_exact_match"]
    with pytest.raises(ConfigError, match="says that a lower brier_score is better"):
        task_scores("t", {"brier_score,none": 0.2}, {"brier_score": False}, None)
    with pytest.raises(ConfigError, match="the task measures no 'f1'; known: acc, bleu"):
        task_scores("t", results, {}, ["f1"])


@pytest.mark.parametrize("value", [37.5, -0.1, math.nan])
def test_a_tasks_metric_that_is_named_like_a_share_but_is_none_is_refused_before_anything_is_compared(value):
    results = {"exact,none": 30.0, "HasAns_f1,none": value, "acc,none": 1.0}
    directions = dict.fromkeys(("exact", "HasAns_f1", "acc"), True)
    with pytest.raises(
        ConfigError,
        match=r"the task t reports HasAns_f1 .*a share in \[0, 1\]; name the .* in evaluation.tasks.t.metrics, without",
    ):
        task_scores("t", results, directions, None)
    assert [score["value"] for score in task_scores("t", results, directions, ["exact", "acc"])] == [30.0, 1.0]
