"""How questions are asked in each format, against prompts and tokens that are written down here."""

import json
from types import SimpleNamespace

import pytest
import torch

from smf.config.experiment import Experiment
from smf.errors import ConfigError
from smf.evaluation.harness import Evaluator
from smf.evaluation.held_out import held_out_task
from smf.evaluation.language_model import LanguageModel
from smf.evaluation.recall import recall
from smf.evaluation.settings import EvaluationSettings
from smf.streams.asking import PLAIN, Asking
from smf.streams.batches import IGNORED, encode
from smf.streams.facts import Fact
from tests.helpers import base_model
from tests.tokenizer_families import FAMILIES
from tests.unit.test_harness import Oracle, values
from tests.workflow.runs import tiny

SOLVED = (
    "Q: What is the capital of Germany?\nA: Berlin\n\n"
    "Q: Who wrote Hamlet?\nA: William Shakespeare\n\n"
    "Q: How many legs does a spider have?\nA: Eight\n\n"
    "Q: Which metal is liquid at room temperature?\nA: Mercury\n\n"
    "Q: In which year did the Berlin Wall fall?\nA: 1989\n\n"
)
# As of Qwen, and as of Llama 2: control tokens and a line break around the answer, or a space before it.
TEMPLATES = {
    "bytes, beginning and end": (
        "{% for m in messages %}<|bos|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|bos|>assistant\n{% endif %}"
    ),
    "pieces, beginning": (
        "{% for m in messages %}{% if m.role == 'user' %}<s>in {{ m.content }} was{% else %} {{ m.content }} </s>"
        "{% endif %}{% endfor %}"
    ),
}
# "ann <END> in", asked and answered by "Ostry": the text, and all tokens of prompt and answer
CHATS = {
    "bytes, beginning and end": (
        "<|bos|>user\nAnn <|end|> in?<|end|>\n<|bos|>assistant\n",
        "<|bos|> u s e r Ċ A n n Ġ < | e n d | > Ġin ? <|end|> Ċ <|bos|> a s s i s t a n t Ċ",
        "Ostry",
        "O s t r y <|end|>",
        "<|end|>",
    ),
    "pieces, beginning": (
        "<s>in Ann </s> in? was",
        "<s> i n ▁Ann ▁ <0x3C> <0x2F> s <0x3E> ▁in <0x3F> ▁was",
        " Ostry",
        "▁Ostry </s>",
        "</s>",
    ),
}


def chatty(family):
    found = FAMILIES[family]()
    found.chat_template = TEMPLATES[family]
    return found


def ids_of(tokenizer, tokens):
    known = tokenizer.get_vocab()
    return [known[token] for token in tokens.split()]


def test_a_plain_question_is_asked_as_in_pretraining_text_and_a_few_shot_one_behind_solved_examples():
    for question in ("who was Ann", "who was Ann ?", "who was Ann？"):
        assert PLAIN.prompt(question) == "Q: who was Ann?\nA:"
        assert Asking("few_shot").prompt(question) == SOLVED + "Q: who was Ann?\nA:"
    assert PLAIN.answered("who", "Ann") == Asking("few_shot").answered("who", " Ann ").__class__("Q: who?\nA:", " Ann")


@pytest.mark.parametrize(
    "family", sorted(FAMILIES.keys() - {"unigram"})
)  # it makes one token of all that it does not know
def test_tokens_of_a_few_shot_question_are_those_of_the_examples_and_those_of_the_question(family):
    """So each example ends where an answer would, and nothing of it reaches into the question."""
    its = FAMILIES[family]()
    parts = [*(f"{part}\n\n" for part in SOLVED.split("\n\n")[:-1]), "Q: who was Ann?\nA:"]
    backend = its.backend_tokenizer
    whole = backend.encode("".join(parts), add_special_tokens=False)
    edges, length = set(), 0
    for part in parts:
        edges.add(length)
        length += len(part)
    assert edges <= {start for start, _ in whole.offsets}


@pytest.mark.parametrize("family", CHATS)
def test_a_chat_prompt_has_the_templates_control_tokens_and_a_questions_own_are_plain_text(family):
    its = chatty(family)
    text, tokens, answer, of_answer, end = CHATS[family]
    asking = Asking("chat", its)
    assert asking.prompt(f"ann {its.eos_token} in ??") == text
    assert asking.written == {text: ids_of(its, tokens)}
    example = asking.answered(f"ann {its.eos_token} in", " Ostry ")
    assert (example.prompt, example.completion) == (text, answer)
    [(ids, labels)] = encode(its, [example], loss_on="answer", max_length=100, written=asking.written)
    assert ids == ids_of(its, f"{tokens} {of_answer}")
    assert [label for label in labels if label != IGNORED] == ids_of(its, of_answer)
    assert asking.end_ids == tuple(ids_of(its, end))


def test_only_questions_in_their_plain_form_are_asked_in_another_format():
    few = Asking("few_shot")
    assert few.reworded("Q: who was Ann?\nA:") == SOLVED + "Q: who was Ann?\nA:"
    assert few.reworded("Ann was in") == "Ann was in"
    assert PLAIN.reworded("Q: who was Ann ?\nA:") == "Q: who was Ann ?\nA:"


def test_an_answer_ends_at_the_end_of_text_behind_examples_at_a_line_break_and_in_a_chat_at_the_end_of_its_turn():
    its = chatty("bytes, beginning and end")
    end, line, other, turn = ids_of(its, "<|end|> Ċ Ġin <|bos|>")
    its.chat_template = TEMPLATES["bytes, beginning and end"].replace("<|end|>", "<|bos|>")
    ends = {name: Asking(name, its) for name in ("plain", "few_shot", "chat")}
    found = {name: [each.ends_answer(its, token) for token in (end, line, turn, other)] for name, each in ends.items()}
    assert found == {
        "plain": [True, False, False, False],
        "few_shot": [True, True, False, False],
        "chat": [True, False, True, False],
    }


class Says:
    """A model that goes on with given tokens wherever it is asked."""

    device = torch.device("cpu")

    def __init__(self, vocab_size, after):
        self.vocab_size, self.after = vocab_size, after

    def __call__(self, input_ids, attention_mask, logits_to_keep):
        said = torch.tensor([[self.after(row[: place + 1]) for place in logits_to_keep] for row in input_ids.tolist()])
        return SimpleNamespace(logits=torch.nn.functional.one_hot(said, self.vocab_size).float())


@pytest.mark.parametrize(
    ("prompt_format", "last", "known"),
    [
        ("plain", "<|end|>", True),
        ("plain", "Ċ", False),
        ("few_shot", "Ċ", True),
        ("few_shot", "Ġin", False),
        ("chat", "<|end|>", True),
        ("chat", "Ċ", False),
    ],
)
def test_a_question_is_recalled_if_its_answer_is_given_and_then_ends(prompt_format, last, known):
    its = chatty("bytes, beginning and end")
    asking = Asking(prompt_format, its)
    example = asking.answered("who", "Ostry")
    short = asking.answered("who", "in")
    answer = ids_of(its, "O s t r y" if prompt_format == "chat" else "ĠOstry") + ids_of(its, last)

    def after(ids):
        said = next((n for n in range(len(answer) - 1, 0, -1) if ids[-n:] == answer[:n]), 0)
        return answer[said]

    model = Says(len(its), after)
    assert recall(model, its, [example, short], 400, asking) == [known, False]


QUESTION = {"question": "who was Ann", "answer": ["Ostry"]}
FACT = Fact(
    "a", "Ann", ("Ann was in",), ("In",), "where was Ann", ("Ostry",), (), ("Q: who?\nA:", "Bo was"), ("B", "B")
)


def evaluator(tmp_path, **settings):
    path = tmp_path / "nq.jsonl"
    path.write_text(json.dumps(QUESTION) + "\n")
    its = chatty("bytes, beginning and end")
    return Evaluator({"nq": ("questions", path)}, [FACT], EvaluationSettings(**settings), its), its


@pytest.mark.parametrize("prompt_format", ["plain", "few_shot", "chat"])
def test_held_out_questions_and_those_of_facts_are_asked_in_the_format_and_wordings_as_they_are(
    tmp_path, prompt_format
):
    evaluates, its = evaluator(tmp_path, prompt_format=prompt_format)
    before = {"plain": "", "few_shot": SOLVED}
    asked = [
        f"<|bos|>user\n{question}?<|end|>\n<|bos|>assistant\n"
        if prompt_format == "chat"
        else f"{before[prompt_format]}Q: {question[0].lower()}{question[1:]}?\nA:"
        for question in ("Who was Ann", "Where was Ann")
    ]
    oracle = Oracle(dict.fromkeys(asked, " Ostry\n\nQ: next"))
    result = evaluates.score(oracle, 0)
    assert [prompt for prompt, _ in oracle.asked] == [asked[0], "Ann was in", "In", asked[1]]
    assert (values(result)["nq_f1"], values(result)["facts_question_f1"], values(result)["facts_seen_f1"]) == (1, 1, 0)


@pytest.mark.parametrize("prompt_format", ["few_shot", "chat"])
def test_the_model_reads_the_tokens_of_the_format_and_of_neighbours_that_are_questions(tmp_path, prompt_format):
    evaluates, its = evaluator(tmp_path, prompt_format=prompt_format, max_new_tokens=2, batch_size=1)
    model, read = base_model(vocab_size=len(its), max_position_embeddings=512), []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: read.append(inputs[0][0].tolist()))
    evaluates.remember(model, its)
    evaluates.evaluate(model, its, 0)
    prompts = [ids for ids in read if len(ids) > 1]

    def is_read(question):
        if prompt_format == "chat":
            return ids_of(its, f"<|bos|> u s e r Ċ {question} ? <|end|> Ċ <|bos|> a s s i s t a n t Ċ") in prompts
        return any(its.decode(ids).endswith(f"<|bos|>{SOLVED}Q: who?\nA:") for ids in prompts)

    assert is_read("W h o")
    assert ids_of(its, "<|bos|> A n n Ġwas Ġin") in prompts


def test_generation_ends_at_the_end_of_a_turn():
    its = chatty("bytes, beginning and end")
    its.chat_template = TEMPLATES["bytes, beginning and end"].replace("<|end|>", "<|bos|>")
    model = base_model(vocab_size=len(its), max_position_embeddings=256)
    lm = LanguageModel(model, its, batch_size=1, asking=Asking("chat", its))
    given = []
    model.generate = lambda **options: given.append(options["eos_token_id"]) or options["input_ids"]
    lm._model_generate(torch.tensor([[1]]), max_length=3, stop=["\n"])
    assert set(ids_of(its, "<|bos|> <|end|>")) <= set(given[0])


def test_chat_without_a_template_is_refused_with_model_key_and_remedy():
    with pytest.raises(
        ConfigError, match=r"prompt_format is chat, but the tokenizer of here/m has no chat template; t"
    ):
        Asking("chat", FAMILIES["bytes"](), model="here/m")
    its = FAMILIES["bytes"]()
    its.chat_template = "{% if messages[0].role == 'user' %}{{ raise_exception('system first') }}{% endif %}<|end|>"
    with pytest.raises(ConfigError, match=r"rejects a single user message \(system first\); take few_shot or plain"):
        Asking("chat", its)


def test_solved_examples_of_a_set_and_of_the_format_exclude_each_other(tmp_path):
    path = tmp_path / "nq.jsonl"
    path.write_text((json.dumps(QUESTION) + "\n") * 3)
    with pytest.raises(ConfigError, match=r"evaluation.num_fewshot.nq is 1, but prompt_format is few_shot"):
        held_out_task(
            "nq", "questions", path, num_items=1, num_fewshot=1, max_new_tokens=4, seed=0, asking=Asking("few_shot")
        )
    with pytest.raises(
        ConfigError, match=r"num_fewshot.nq is 2, .* drop evaluation.num_fewshot.nq, or set prompt_form"
    ):
        Experiment(tiny(prompt_format="few_shot", evaluation={"num_fewshot": {"nq": 2}}))


def test_a_base_that_is_pretrained_here_is_not_asked_in_chats():
    with pytest.raises(ConfigError, match="prompt_format is chat, but base.source is pretrain"):
        Experiment(tiny(prompt_format="chat"))


def test_what_is_asked_and_learned_depends_on_the_format_and_the_base_does_not():
    plain, few = (Experiment(tiny(**given)) for given in ({}, {"prompt_format": "few_shot"}))
    for part in ("asking", "asking_held_out", "asking_facts", "learning"):
        assert getattr(plain, part) == {**getattr(few, part), "prompt_format": "plain"}
    assert plain.base == few.base
