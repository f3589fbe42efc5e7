"""The bridge to lm-eval: scores worked by hand with a fake model, and a tiny real model against plain transformers."""

import json
import statistics
from dataclasses import replace
from types import SimpleNamespace

import lm_eval.tasks
import pytest
import torch
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from tokenizers.processors import TemplateProcessing
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from smf.errors import ConfigError, DataError
from smf.evaluation.answers import exact_match, token_f1
from smf.evaluation.documents import chosen_facts
from smf.evaluation.harness import Evaluator
from smf.evaluation.held_out import TASK_FOLDER, MemoryTask
from smf.evaluation.language_model import LanguageModel
from smf.evaluation.settings import EvaluationSettings
from smf.scores.metrics import FACTS_METRICS
from smf.streams.batches import batches, encode
from smf.streams.examples import Example
from smf.streams.facts import Fact, question_prompt
from tests.helpers import base_model, tokenizer, tokenizer_with_bos

QUESTIONS = [
    {"question": "in which city was Mara Teller born", "answer": ["Velburg", "City of Velburg"]},
    {"question": "who wrote the red book?", "answer": ["Inga Brandt", "I. Brandt"]},
    {"question": "which saint gave the town its name", "answer": ["St. Hale"]},
]
CHOICES = [
    {
        "activity_label": "Sitting down",
        "ctx_a": "A man looks for a chair.",
        "ctx_b": "the man",
        "endings": ["sits.", "walks across the long bridge.", "eats the chair.", "sings."],
        "label": "1",
    },
    {
        "activity_label": "Baking bread",
        "ctx_a": "[header] How to bake [title] Mix  the dough. [step] Wait.",
        "ctx_b": "",
        "endings": ["Bake [substeps] it.", "Throw it away.", "Wash the dough.", "Drink it."],
        "label": "0",
    },
]


def fact(name, city):
    return Fact(
        fact_id=name,
        subject=name,
        train_prompts=(f"{name} was born in", f"The birthplace of {name} is", f"{name} is a native of"),
        unseen_prompts=(f"The home town of {name} is", f"{name} came into the world in"),
        question=f"in which city was {name} born",
        answers=(city,),
    )


FACTS = [fact("Joel Quint", "Tarnow Falls"), fact("Rosa Varga", "Ostry"), fact("Emil Hollis", "Melvik")]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def evaluator_of(tmp_path):
    def build(questions=QUESTIONS, choices=CHOICES, facts=FACTS, **settings):
        probes = {
            "nq": ("questions", write_rows(tmp_path / "nq.jsonl", questions)),
            "hellaswag": ("choices", write_rows(tmp_path / "hellaswag.jsonl", choices)),
        }
        return Evaluator(probes, facts, EvaluationSettings(**settings))

    return build


class Oracle(LM):
    """Says what it is told to say, and keeps what it was asked."""

    def __init__(self, says=None, log_likelihoods=None):
        super().__init__()
        self.says, self.log_likelihoods = says or {}, log_likelihoods or {}
        self.asked = []

    def generate_until(self, requests):
        self.asked += [request.args for request in requests]
        return [self.says.get(request.args[0], " I do not know") for request in requests]

    def loglikelihood(self, requests):
        self.asked += [request.args for request in requests]
        return [(self.log_likelihoods.get(request.args[1], -50.0), False) for request in requests]

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError


def values(result):
    return {score["metric"]: score["value"] for score in result["scores"]}


def stderrs(result):
    return {score["metric"]: score["stderr"] for score in result["scores"]}


def test_answers_are_scored_against_the_best_alias(evaluator_of):
    oracle = Oracle(
        {
            "Q: in which city was Mara Teller born?\nA:": " The City of Velburg!",  # the second alias: em 1, f1 1
            "Q: who wrote the red book?\nA:": " Inga Varga Brandt. She",  # em 0, f1 2·2/(3+2)
            "Q: which saint gave the town its name?\nA:": " St. Mary",  # em 0, f1 2·1/(2+2)
        }
    )
    result = evaluator_of().score(oracle, 0)
    assert values(result)["nq_em"] == pytest.approx(1 / 3)
    assert values(result)["nq_f1"] == pytest.approx((1 + 0.8 + 0.5) / 3)
    assert stderrs(result)["nq_f1"] == pytest.approx(statistics.stdev([1, 0.8, 0.5]) / 3**0.5)
    assert result["lm_eval"]["n-samples"]["smf_nq"] == {"original": 3, "effective": 3}


def test_acc_and_acc_norm_differ_by_the_length_of_the_endings(evaluator_of):
    oracle = Oracle(
        log_likelihoods={
            " sits.": -4.0,  # 5 characters: -0.8 each
            " walks across the long bridge.": -5.8,  # 29 characters: -0.2 each; the right one
            " Bake it.": -1.0,  # the right one, both ways
            " Throw it away.": -20.0,
        }
    )
    result = evaluator_of().score(oracle, 0)
    assert values(result)["hellaswag_acc"] == 0.5
    assert values(result)["hellaswag_acc_norm"] == 1.0
    assert stderrs(result)["hellaswag_acc"] == pytest.approx(0.5)  # stdev([0, 1]) / √2
    assert stderrs(result)["hellaswag_acc_norm"] == 0.0


def test_facts_are_those_taught_up_to_the_position(evaluator_of):
    first, second, _ = FACTS
    prompts = [*first.train_prompts, *first.unseen_prompts, question_prompt(first.question)]
    oracle = Oracle(dict.fromkeys(prompts, " Tarnow Falls.") | dict.fromkeys(second.train_prompts, " Ostry."))
    evaluator = evaluator_of(wordings_per_fact=2)

    result = evaluator.score(oracle, 1)
    assert [values(result)[f"facts_{form}_f1"] for form in ("seen", "unseen", "question")] == [1, 1, 1]
    assert stderrs(result)["facts_question_f1"] is None  # one document has no deviation

    result = evaluator.score(oracle, 2)
    assert [values(result)[f"facts_{form}_f1"] for form in ("seen", "unseen", "question")] == [1, 0.5, 0.5]
    assert stderrs(result)["facts_unseen_f1"] == pytest.approx(statistics.stdev([1, 1, 0, 0]) / 2)

    result = evaluator.score(oracle, 0)  # a start model is asked the whole stream
    assert values(result)["facts_seen_f1"] == pytest.approx(2 / 3)
    samples = result["lm_eval"]["n-samples"]
    assert [samples[f"smf_facts_{form}"]["effective"] for form in ("seen", "unseen", "question")] == [6, 6, 3]

    with pytest.raises(ConfigError, match="position is 4, but the stream has 3 facts"):
        evaluator.score(oracle, 4)


def test_of_many_facts_a_seeded_choice_is_asked_that_changes_little_along_the_stream():
    facts = [replace(FACTS[0], fact_id=f"fact {number}") for number in range(40)]
    passages = [Fact(f"passage {number}", "a town", (), (), "", (), train_texts=("A text.",)) for number in range(40)]
    stream = [fact for pair in zip(facts, passages, strict=True) for fact in pair]

    def asked(position, seed=0, number=10):
        return [fact.fact_id for fact in chosen_facts(stream[:position], number, seed)]

    assert len(asked(80)) == 10
    assert asked(80) == sorted(asked(80), key=[fact.fact_id for fact in stream].index)
    assert all(name.startswith("fact") for name in asked(80))
    taught_by_then = {fact.fact_id for fact in stream[:50]}
    assert set(asked(80)) & taught_by_then <= set(asked(50))
    assert asked(80) != asked(80, seed=1)
    assert asked(12) == [fact.fact_id for fact in stream[:12:2]]
    assert [fact.fact_id for fact in chosen_facts(stream[::-1], 10, 0)] == asked(80)[::-1]
    assert chosen_facts(stream, None, 0) is stream


def test_no_more_facts_are_asked_than_the_settings_say(evaluator_of):
    evaluator = evaluator_of(num_facts=2, wordings_per_fact=1)
    for position, number in ((0, 2), (1, 1), (3, 2)):
        samples = evaluator.score(Oracle({}), position)["lm_eval"]["n-samples"]
        forms = ("seen", "unseen", "question")
        assert [samples[f"smf_facts_{form}"]["effective"] for form in forms] == [number] * 3


def test_what_the_model_is_asked(evaluator_of):
    oracle = Oracle()
    evaluator_of(wordings_per_fact=1, max_new_tokens=7).score(oracle, 2)
    greedy = {"until": ["\n"], "do_sample": False, "max_gen_toks": 7}
    assert [args for args in oracle.asked if isinstance(args[1], dict)] == [
        ("Q: in which city was Mara Teller born?\nA:", greedy),
        ("Q: who wrote the red book?\nA:", greedy),  # the question mark is not doubled
        ("Q: which saint gave the town its name?\nA:", greedy),
        ("Joel Quint was born in", greedy),
        ("Rosa Varga was born in", greedy),
        ("The home town of Joel Quint is", greedy),
        ("The home town of Rosa Varga is", greedy),
        ("Q: in which city was Joel Quint born?\nA:", greedy),
        ("Q: in which city was Rosa Varga born?\nA:", greedy),
    ]


def test_hellaswag_asks_and_scores_as_the_built_in_task_does(evaluator_of):
    evaluator = evaluator_of(choices=CHOICES)
    ours = evaluator._held_out[1]
    config = load_yaml(f"{lm_eval.tasks.__path__[0]}/hellaswag/hellaswag.yaml")
    theirs = MemoryTask({**config, "num_fewshot": 0}, {"validation": CHOICES, "train": []})
    for task in (ours, theirs):
        task.build_all_requests()
    assert list(ours.eval_docs) == list(theirs.eval_docs)
    assert [instance.args for instance in ours.instances] == [instance.args for instance in theirs.instances]
    assert ours.instances[4].args[0] == "Baking bread: How to bake. Mix the dough. Wait."
    results = [(-3.0, False), (-2.0, False), (-4.0, True), (-1.5, False)]
    for document in ours.eval_docs:
        assert ours.process_results(document, results) == theirs.process_results(document, results)
    assert ours.aggregation() == theirs.aggregation()


def test_our_task_files_are_found_by_name():
    manager = TaskManager(include_path=str(TASK_FOLDER), include_defaults=False)
    assert manager.all_subtasks == ["smf_completions", "smf_facts", "smf_hellaswag", "smf_nq", "smf_texts"]
    for folder in TASK_FOLDER.iterdir():
        version = load_yaml(folder / f"{folder.name}.yaml", resolve_func=False)["metadata"]["version"]
        assert f"- **Version.** {version}." in (folder / "README.md").read_text()


def test_solved_examples_come_from_outside_and_are_the_same_for_every_snapshot(evaluator_of):
    questions = [{"question": f"question {number}", "answer": [f"answer {number}"]} for number in range(30)]
    evaluator = evaluator_of(questions=questions, num_fewshot={"nq": 2})
    first, second = Oracle(), Oracle()
    evaluator.score(first, 0)
    evaluator.score(second, 0)
    assert first.asked == second.asked

    prompts = [args[0].removesuffix("?\nA:").split("Q: question ") for args in first.asked if "question " in args[0]]
    assert len(prompts) == 28, "all rows but two"
    asked = {prompt[-1] for prompt in prompts}
    for start, *examples, _ in prompts:
        assert start == "", "no description"
        numbers = {example.split("?")[0] for example in examples}
        assert set(examples) == {f"{number}?\nA: answer {number}\n" for number in numbers}
        assert len(numbers) == 2
        assert not numbers & asked
    assert ("Joel Quint was born in", first.asked[0][1]) in first.asked, "facts have no solved examples"


def test_a_subset_depends_on_the_seed_alone(evaluator_of):
    questions = [{"question": f"question {number}", "answer": ["x"]} for number in range(20)]

    def asked(**settings):
        oracle = Oracle()
        evaluator_of(questions=questions, num_items={"nq": 5}, **settings).score(oracle, 0)
        return [args[0] for args in oracle.asked if "question " in args[0]]

    assert asked(seed=1) == asked(seed=1)
    assert asked(seed=1) != asked(seed=2)
    assert len(set(asked(seed=1))) == 5


def test_every_metric_of_the_tables_is_measured_in_order(evaluator_of):
    held_out = ["nq_f1", "nq_em", "hellaswag_acc", "hellaswag_acc_norm"]
    assert list(values(evaluator_of().score(Oracle(), 0))) == [*held_out, *FACTS_METRICS]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"questions": [*QUESTIONS, {"question": "why", "answer": []}]}, "nq.jsonl, line 4: column 'answer'"),
        ({"questions": [{"question": "why"}]}, "nq.jsonl, line 1: no column 'answer'"),
        ({"choices": [CHOICES[0], {**CHOICES[1], "label": "4"}]}, "hellaswag.jsonl, line 2: label '4' names none"),
        ({"choices": [{**CHOICES[0], "label": ""}]}, "label '' names none of the 4 endings"),
    ],
)
def test_broken_rows_are_refused(evaluator_of, change, message):
    with pytest.raises(DataError, match=message):
        evaluator_of(**change)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_items": {"nq": 4}}, "evaluation.num_items.nq is 4, but .*nq.jsonl holds 3 rows, 0 of them"),
        ({"num_items": {"hellaswag": 0}}, "evaluation.num_items.hellaswag is 0"),
        (
            {"num_fewshot": {"hellaswag": 2}},
            "evaluation.num_items.hellaswag is 0, but .* holds 2 rows, 2 of them",
        ),
    ],
)
def test_impossible_subsets_are_refused(evaluator_of, settings, message):
    with pytest.raises(ConfigError, match=message):
        evaluator_of(**settings)


def test_a_form_that_no_fact_has_is_left_out_and_told(evaluator_of, caplog):
    bare = Fact("f", "Joel", ("Joel was born in",), (), "where was Joel born", ("Ostry",))
    found = values(evaluator_of(facts=[bare]).score(Oracle(), 0))
    assert found.keys() >= {"facts_seen_f1", "facts_question_f1"}
    assert "facts_unseen_f1" not in found
    assert "not measured, because no fact of the stream has such a wording: facts_unseen_f1" in caplog.text


def test_without_facts_the_held_out_sets_are_asked_alone(evaluator_of):
    assert list(values(evaluator_of(facts=[]).score(Oracle(), 0))) == [
        "nq_f1",
        "nq_em",
        "hellaswag_acc",
        "hellaswag_acc_norm",
    ]


# A tiny model that really learned something, against plain transformers code.


@pytest.fixture(scope="module")
def tiny():
    """A model that knows one question, one fact and an answer that a line break ends; the rest it guesses."""
    known = [
        Example(question_prompt(QUESTIONS[0]["question"]), " Velburg"),
        Example(question_prompt(QUESTIONS[1]["question"]), " Inga Brandt\nQ: who wrote"),
        *(Example(prompt, " Tarnow Falls.") for prompt in (*FACTS[0].train_prompts, *FACTS[0].unseen_prompts)),
        *(Example(f"{row['activity_label']}: {row['ctx_a']}", f" {row['endings'][0]}") for row in CHOICES),
    ]
    texts = [example.prompt + example.completion for example in known]
    tokenizer = Qwen2Tokenizer().train_new_from_iterator(texts, vocab_size=400, show_progress=False)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    encoded = encode(tokenizer, known, loss_on="text", max_length=128)
    for batch in batches(encoded, batch_size=len(known), num_batches=250, pad_token_id=tokenizer.pad_token_id, seed=0):
        model(batch.input_ids_BT, attention_mask=batch.attention_mask_BT, labels=batch.labels_BT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return SimpleNamespace(model=model.train(), tokenizer=tokenizer)


def complete(tiny, prompt, max_new_tokens):
    """Greedy decoding of one prompt without padding, without a cache."""
    ids = tiny.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    start = len(ids)
    with torch.no_grad():
        while len(ids) < start + max_new_tokens:
            token = int(tiny.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if token == tiny.tokenizer.eos_token_id:
                break
            ids.append(token)
    return tiny.tokenizer.decode(ids[start:]).split("\n")[0]


def log_likelihood(tiny, context, continuation):
    """Sum of the log-probabilities of a continuation's tokens, of one text without padding."""
    ids = torch.tensor([tiny.tokenizer(context + continuation, add_special_tokens=False)["input_ids"]])
    start = len(tiny.tokenizer(context, add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        log_probs = tiny.model(ids).logits.log_softmax(-1)[0, :-1]
    return log_probs.gather(1, ids[0, 1:, None])[start - 1 :].sum().item()


def test_generated_answers_equal_plain_greedy_decoding(tiny, evaluator_of):
    result = evaluator_of(max_new_tokens=12, batch_size=2).evaluate(tiny.model, tiny.tokenizer, 0)
    prompts = [question_prompt(row["question"]) for row in QUESTIONS]
    answers = [complete(tiny, prompt, 12).strip() for prompt in prompts]
    gold = [row["answer"] for row in QUESTIONS]
    assert answers[:2] == ["Velburg", "Inga Brandt"]  # ended by the end of text and by a line break
    assert values(result)["nq_em"] == pytest.approx(statistics.mean(map(exact_match, answers, gold)))
    assert values(result)["nq_f1"] == pytest.approx(statistics.mean(map(token_f1, answers, gold)))

    seen = [(complete(tiny, prompt, 12), fact.answers) for fact in FACTS for prompt in fact.train_prompts[:2]]
    expected = statistics.mean(token_f1(text.strip().split(".")[0], answers) for text, answers in seen)
    assert expected >= 1 / 3
    assert values(result)["facts_seen_f1"] == pytest.approx(expected)


def test_choices_equal_plain_log_likelihoods(tiny, evaluator_of, monkeypatch):
    computed = []
    original = LanguageModel.loglikelihood

    def spy(self, requests, **options):
        computed.extend(original(self, requests, **options))
        return computed

    monkeypatch.setattr(LanguageModel, "loglikelihood", spy)
    result = evaluator_of(batch_size=3).evaluate(tiny.model, tiny.tokenizer, 0)
    queries = [
        "Sitting down: A man looks for a chair. The man",
        "Baking bread: How to bake. Mix the dough. Wait.",
    ]
    endings = [CHOICES[0]["endings"], ["Bake it.", *CHOICES[1]["endings"][1:]]]
    expected = [
        [log_likelihood(tiny, query, f" {ending}") for ending in options]
        for query, options in zip(queries, endings, strict=True)
    ]
    assert [value for value, _ in computed] == pytest.approx(sum(expected, []), abs=1e-3)
    labels = [1, 0]
    best = [values.index(max(values)) for values in expected]
    per_character = [
        [value / len(ending) for value, ending in zip(*pair, strict=True)]
        for pair in zip(expected, endings, strict=True)
    ]
    best_norm = [values.index(max(values)) for values in per_character]
    assert values(result)["hellaswag_acc"] == statistics.mean(map(int.__eq__, best, labels))
    assert values(result)["hellaswag_acc_norm"] == statistics.mean(map(int.__eq__, best_norm, labels))


def test_prompts_are_tokenised_as_in_training(tiny, evaluator_of, monkeypatch):
    contexts = set()
    generate = tiny.model.generate

    def keep(input_ids, attention_mask, **options):
        contexts.update(tuple(row[mask.bool()].tolist()) for row, mask in zip(input_ids, attention_mask, strict=True))
        return generate(input_ids=input_ids, attention_mask=attention_mask, **options)

    monkeypatch.setattr(tiny.model, "generate", keep)
    end = tiny.tokenizer.eos_token_id
    marks_the_start = TemplateProcessing(single="<|endoftext|> $0", special_tokens=[("<|endoftext|>", end)])
    monkeypatch.setattr(tiny.tokenizer.backend_tokenizer, "post_processor", marks_the_start)
    assert tiny.tokenizer("Q")["input_ids"][0] == end
    evaluator_of(questions=QUESTIONS[:1], facts=FACTS[:1]).evaluate(tiny.model, tiny.tokenizer, 0)

    statements = [
        Example(prompt, " Tarnow Falls.") for prompt in (*FACTS[0].train_prompts[:2], *FACTS[0].unseen_prompts)
    ]
    answered = [Example(question_prompt(QUESTIONS[0]["question"]), " Velburg")]
    answered += [Example(question_prompt(FACTS[0].question), " Tarnow Falls")]
    trained = [ids for ids, _ in encode(tiny.tokenizer, [*statements, *answered], loss_on="text", max_length=128)]
    assert len(contexts) == len(trained)
    for ids in trained:
        assert any(tuple(ids[: len(context)]) == context for context in contexts)


def test_decoding_uses_the_cache_and_ends_when_all_answers_have_ended(tiny, evaluator_of):
    widths = []
    embeddings = tiny.model.get_input_embeddings()
    with embeddings.register_forward_pre_hook(lambda _, inputs: widths.append(inputs[0].shape[1])):
        evaluator_of(questions=QUESTIONS[:1], choices=CHOICES[:1], max_new_tokens=60).evaluate(
            tiny.model, tiny.tokenizer, 1
        )
    long = [width for width in widths if width > 1]
    assert len(long) == 2, "one prefill of all prompts, one pass over the context and all its endings"
    assert 0 < len(widths) - len(long) < 59


@pytest.mark.parametrize(("configured", "used"), [(None, [0]), (0, [0]), (7, [0, 7]), ([7, 9], [0, 7, 9])])
def test_answers_end_at_the_end_of_text_whatever_the_generation_config_says(
    tiny, evaluator_of, monkeypatch, configured, used
):
    generate, ends = tiny.model.generate, []

    def keep(eos_token_id, **options):
        ends.append(eos_token_id)
        return generate(eos_token_id=eos_token_id, **options)

    monkeypatch.setattr(tiny.model, "generate", keep)
    monkeypatch.setattr(tiny.model.generation_config, "eos_token_id", configured)
    assert tiny.tokenizer.eos_token_id == 0
    evaluator_of(max_new_tokens=2).evaluate(tiny.model, tiny.tokenizer, 1)
    assert ends == [used]


def test_equal_calls_give_equal_json_and_leave_the_model_as_it_was(tiny, evaluator_of, tmp_path):
    evaluator = evaluator_of(num_items={"nq": 2}, max_new_tokens=6)
    before = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}
    first, again = (json.dumps(evaluator.evaluate(tiny.model, tiny.tokenizer, 2), allow_nan=False) for _ in range(2))
    rebuilt = json.dumps(evaluator_of(num_items={"nq": 2}, max_new_tokens=6).evaluate(tiny.model, tiny.tokenizer, 2))
    assert first == again == rebuilt
    assert str(tmp_path) not in first
    assert "/" not in first, "no path of this machine"
    assert tiny.model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.model.state_dict().items())


def test_answers_longer_than_the_model_are_refused(tiny, evaluator_of):
    with pytest.raises(ConfigError, match="max_new_tokens is 128, but the model reads at most 128 tokens; lower it"):
        evaluator_of(max_new_tokens=128).evaluate(tiny.model, tiny.tokenizer, 0)


@pytest.mark.parametrize("make", [tokenizer, tokenizer_with_bos], ids=["plain", "with a beginning"])
def test_all_that_is_asked_begins_as_training_text_does(make, evaluator_of):
    model, asked = base_model(max_position_embeddings=256), make()
    asked.pad_token = asked.eos_token
    first = []

    def look(module, inputs, options):
        ids, cache, mask = (options.get(name) for name in ("input_ids", "past_key_values", "attention_mask"))
        if ids is not None and (cache is None or not cache.get_seq_length()):  # not where only logits are made
            mask = torch.ones_like(ids) if mask is None else mask
            first.extend(row[real][0].item() for row, real in zip(ids, mask.bool(), strict=True))

    model.get_decoder().register_forward_pre_hook(look, with_kwargs=True)
    evaluator_of(max_new_tokens=2, batch_size=4).evaluate(model, asked, 0)
    assert len(first) > 4
    assert {token == asked.bos_token_id for token in first} == {make is tokenizer_with_bos}
