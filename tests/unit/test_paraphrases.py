"""Paraphrases by a model: asked as said, checked, counted, the same after a kill as without one."""

import dataclasses
import json

import pytest
import torch

from smf.data.questions import Pair, question_fact
from smf.errors import ConfigError, DataError
from smf.files.resume import NO_RESUME, Resume, Tape
from smf.stages.paraphrase import write_paraphrases
from smf.streams.facts import Fact, write_facts
from smf.wordings import paraphrases
from smf.wordings.paraphrase_prompts import (
    FACT_PROMPT,
    FACT_STYLES,
    PASSAGE_PROMPT,
    PASSAGE_STYLES,
    cleaned,
    paraphrase_prompt,
    reason_against,
)
from smf.wordings.paraphrases import ParaphraseSettings, paraphrase
from tests.helpers import FACTS, base_model, tokenizer

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}<assistant>"
QUESTION_FACT = question_fact(Pair(3, "Which river flows through Velburg", ("Ostra", "River Ostra")), "trivia")
PASSAGE = Fact("p", "P", (), (), "who is {she}", ("Ann",), train_texts=("Ann {wrote} a book.",), is_passage=True)
PROMPTS = (FACT_PROMPT, PASSAGE_PROMPT)


def settings(**changes):
    values = {
        "number": 3,
        "prompt": "Say: {fact} {style}",
        "passage_prompt": "Study: {passage} {style}",
        "max_new_tokens": 5,
        "batch_size": 4,
        "temperature": 1.0,
        "top_p": 0.9,
        "max_rounds": 2,
        "seed": 1,
    }
    return ParaphraseSettings(**{**values, **changes})


@pytest.fixture(scope="module")
def instruct():
    """A tiny model with random weights that reads long prompts."""
    return base_model(max_position_embeddings=4096)


@pytest.fixture
def chat_tokenizer(tmp_path):
    tokenizer().save_pretrained(tmp_path / "tokenizer")
    found = type(tokenizer()).from_pretrained(tmp_path / "tokenizer")
    found.chat_template = TEMPLATE
    return found


@pytest.fixture
def replies(monkeypatch):
    """Puts replies in the model's place: each round of each group takes as many as it asks for."""
    asked = []

    def use(reply):
        def sample(model, tokenizer, prompts, settings, seed):
            asked.append((tuple(prompts), seed))
            return [reply(len(asked), number) for number in range(len(prompts))]

        monkeypatch.setattr(paraphrases, "_sample", sample)
        return asked

    return use


# What is asked


def test_a_question_fact_is_shown_as_question_and_answer():
    prompt = paraphrase_prompt(QUESTION_FACT, FACT_STYLES[0], PROMPTS)
    assert "Question: Which river flows through Velburg?\nAnswer: Ostra\n" in prompt
    assert '"Ostra"' in prompt
    assert FACT_STYLES[0] in prompt
    assert "{" not in prompt


def test_the_test_question_of_a_stated_fact_is_not_shown():
    prompt = paraphrase_prompt(FACTS[0], FACT_STYLES[0], PROMPTS)
    assert "Joel Quint was born in Tarnow." in prompt
    assert FACTS[0].question not in prompt


def test_a_passage_is_shown_whole_and_its_braces_stay():
    prompt = paraphrase_prompt(PASSAGE, PASSAGE_STYLES[0], PROMPTS)
    assert "Ann {wrote} a book." in prompt
    assert "{style}" not in prompt


# What is kept


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("Joel Quint comes from Tarnow.", None),
        ('  "Tarnow is the town of Joel Quint."\nI hope this helps!', None),
        ("Joel Quint comes from Melvik.", "without the answer"),
        ("He comes from Tarnow.", "without the subject"),
        ("Joel Quint comes from tarnow and", "not a whole sentence"),
        ("  \n", "empty"),
        ("In which city was Joel Quint born? In Tarnow.", "with the words of a test"),
        ("Everyone knows the home town of Joel Quint is Tarnow.", "with the words of a test"),
        ("joel quint was born in Tarnow!", "said before"),
    ],
)
def test_of_a_fact_only_new_sentences_with_the_answer_are_kept(reply, reason):
    known = {"joelquintwasbornintarnow"}
    assert reason_against(cleaned(reply, FACTS[0]), FACTS[0], known) == reason


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("“苏州是王小明的故乡。”", None),
        ("「王小明来自苏州。」", None),
        ("王小明来自杭州。", "without the answer"),
        ("他来自苏州。", "without the subject"),
        ("王小明来自苏州，", "not a whole sentence"),
        ("王小明出生于苏州！", "said before"),
    ],
)
def test_sentences_of_another_script_are_kept_by_the_same_rule(reply, reason):
    fact = dataclasses.replace(
        FACTS[0], subject="王小明", train_prompts=(), train_texts=("王小明出生于苏州。",), answers=("苏州",)
    )
    assert reason_against(cleaned(reply, fact), fact, {"王小明出生于苏州"}) == reason


def test_of_a_passage_many_lines_are_kept_with_or_without_an_answer():
    reply = "- She wrote.\n- A book"
    assert cleaned(f" {reply}\n", PASSAGE) == reply
    assert reason_against(reply, PASSAGE, set()) is None
    assert reason_against("Who is she? She is a writer.", PASSAGE, set()) == "with the words of a test"


def test_the_model_is_asked_again_for_what_is_missing_up_to_a_limit(tmp_path, chat_tokenizer, replies):
    asked = replies(lambda call, number: f"Tarnow, Joel Quint said {call}.{number}." if number % 2 else "No idea.")
    (row,) = paraphrase(None, chat_tokenizer, FACTS[:1], settings(number=5, max_rounds=3))
    assert [len(prompts) for prompts, _ in asked] == [5, 3, 2]
    assert len({seed for _, seed in asked}) == 3
    assert row == {
        "fact_id": "joel-quint",
        "texts": [
            "Tarnow, Joel Quint said 1.1.",
            "Tarnow, Joel Quint said 1.3.",
            "Tarnow, Joel Quint said 2.1.",
            "Tarnow, Joel Quint said 3.1.",
        ],
        "dropped": {"without the answer": 6},
        "missing": 1,
    }


def test_the_styles_of_a_fact_take_turns(tmp_path, chat_tokenizer, replies):
    asked = replies(lambda call, number: f"Joel Quint, Tarnow {number}.")
    number = 2 * len(FACT_STYLES)
    paraphrase(None, chat_tokenizer, FACTS[:1], settings(number=number, batch_size=number))
    prompts = asked[0][0]
    assert all(sum(prompt.endswith(style) for prompt in prompts) == 2 for style in FACT_STYLES)


# Sampling


def run(model, tokenizer, path, facts=FACTS, **changes):
    return paraphrase(model, tokenizer, facts, settings(**changes), Tape(Resume(path, "a")))


def accept_everything(monkeypatch):
    monkeypatch.setattr(paraphrases, "reason_against", lambda text, fact, known: None)


def test_samples_follow_from_the_seed_alone(tmp_path, instruct, chat_tokenizer, monkeypatch):
    accept_everything(monkeypatch)
    first = run(instruct, chat_tokenizer, tmp_path / "1")
    torch.manual_seed(123)
    before = torch.get_rng_state()
    assert run(instruct, chat_tokenizer, tmp_path / "2") == first
    assert torch.equal(torch.get_rng_state(), before)  # nobody else's numbers change
    assert run(instruct, chat_tokenizer, tmp_path / "3", seed=2) != first
    assert len({text for row in first for text in row["texts"]}) > 1


def test_a_reply_is_that_of_its_own_prompt_whatever_shares_its_batch(tmp_path, instruct, chat_tokenizer):
    """With next to no probability left to draw from, sampling is greedy decoding: compare it with plain generation."""
    chosen = settings(top_p=1e-6, batch_size=3)
    prompts = ["short", "a prompt that is much longer than the first", "middle size", "x", "another one"]
    replies = paraphrases._sample(instruct, chat_tokenizer, prompts, chosen, seed=0)
    for prompt, reply in zip(prompts, replies, strict=True):
        ids = chat_tokenizer(f"<user>{prompt}</user><assistant>", return_tensors="pt").input_ids
        greedy = instruct.generate(ids, do_sample=False, max_new_tokens=5, pad_token_id=0)[0, ids.shape[1] :]
        assert reply == chat_tokenizer.decode(greedy, skip_special_tokens=True)


# Going on after a kill


def test_a_run_that_was_cut_short_goes_on_to_the_same_result(tmp_path, instruct, chat_tokenizer, monkeypatch):
    accept_everything(monkeypatch)
    whole = run(instruct, chat_tokenizer, tmp_path / "whole")
    sample, calls = paraphrases._sample, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return sample(*arguments)

    monkeypatch.setattr(paraphrases, "_sample", killed)
    with pytest.raises(KeyboardInterrupt):
        run(instruct, chat_tokenizer, tmp_path / "resumed")
    assert run(instruct, chat_tokenizer, tmp_path / "resumed") == whole
    assert len(calls) == 3 + len(FACTS) - 2  # what was finished is not asked again


def test_a_model_without_a_chat_template_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no chat template; choose an instruct model"):
        paraphrase(None, tokenizer(), FACTS, settings())


# The stage


@pytest.fixture
def stage(tmp_path, instruct, chat_tokenizer):
    """Runs the stage on two facts, with a model folder; returns the paths of paraphrases and record."""
    instruct.save_pretrained(tmp_path / "model")
    chat_tokenizer.save_pretrained(tmp_path / "model")
    write_facts(tmp_path / "facts.jsonl", [QUESTION_FACT, dataclasses.replace(FACTS[0], fact_id="b")])
    config = {
        "source": "model",
        "number": 2,
        "seed": 4,
        "model": {
            "name": None,
            "checkpoint": str(tmp_path / "model"),
            "revision": "main",
            "prompt": None,
            "passage_prompt": None,
            "max_new_tokens": 5,
            "batch_size": 1,
            "temperature": 0.7,
            "top_p": 0.9,
            "max_rounds": 2,
        },
    }
    paths = [tmp_path / name for name in ("p.jsonl", "p.json")]

    def run(resume=NO_RESUME):
        path, report_path = paths
        facts_path = tmp_path / "facts.jsonl"
        write_paraphrases(config, facts_path, device="cpu", path=path, report_path=report_path, resume=resume)

    return run, paths


def test_the_record_says_how_paraphrases_were_made_and_what_was_dropped(tmp_path, stage, replies):
    replies(lambda call, number: "Ostra it is." if number == 0 else "Nothing.")
    run, (path, report_path) = stage
    run()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["texts"] for row in rows] == [["Ostra it is."], []]
    report = json.loads(report_path.read_text())
    assert report["model"] == {"checkpoint": str(tmp_path / "model")}
    assert report["prompt"] == FACT_PROMPT
    assert (report["temperature"], report["seed"], report["number"]) == (0.7, 4, 2)
    assert report["dropped"] == {"said before": 1, "without the answer": 5}
    assert (report["paraphrases"], report["missing"], report["facts_without_paraphrases"]) == (1, 3, 1)
    assert len(report["model_sha256"]) == len(report["facts_sha256"]) == 64


def test_a_model_of_which_no_reply_can_be_taught_is_refused(stage, replies):
    replies(lambda call, number: "Nothing.")
    run, (path, _) = stage
    with pytest.raises(
        DataError, match=r"no reply of .* can be taught; dropped: \{'without the answer': 8\}; choose an"
    ):
        run()
    assert not path.exists()


def test_another_model_in_the_same_folder_finds_nothing_of_what_the_first_one_said(tmp_path, stage, replies):
    run, (path, _) = stage
    resume = Resume(tmp_path / "resume", "a")
    replies(lambda call, number: "Ostra it is." if number == 0 else "Nothing.")
    run(resume)
    first = path.read_bytes()
    replies(lambda call, number: "The Ostra." if number == 0 else "Nothing.")
    run(resume)
    assert path.read_bytes() == first  # the same model is not asked again
    base_model(seed=7, max_position_embeddings=4096).save_pretrained(tmp_path / "model")
    run(resume)
    assert b"The Ostra." in path.read_bytes()
