"""How `smf ask`, `smf teach` and `smf retrofit` ask a model: as its folder says, or as they are told."""

import json

import pytest

from smf import cli
from smf.evaluation.documents import read_questions
from smf.evaluation.language_model import LanguageModel
from smf.files.artifacts import read_json, read_jsonl, write_json
from smf.models.checkpoint import save_checkpoint
from smf.models.memory_model import MemoryForCausalLM
from smf.streams.asking import PLAIN, SOLVED, Asking, solved_examples
from smf.teaching.ask import continuation, quiz
from smf.teaching.model_asking import KNOWLEDGE, right_by_format, write_format
from tests.helpers import FACTS, base_model, fact, memory_model, tokenizer
from tests.tokenizer_families import FAMILIES
from tests.unit.test_asking import TEMPLATES, chatty, ids_of

QUESTION = "Q: where is Ann?\nA:"


@pytest.fixture
def model(tmp_path):
    save_checkpoint(memory_model(), tokenizer(), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def asked(monkeypatch):
    """The texts that models are asked."""
    read, generate = [], MemoryForCausalLM.generate
    monkeypatch.setattr(
        MemoryForCausalLM,
        "generate",
        lambda self, ids, **options: (read.append(tokenizer().decode(ids[0])), generate(self, ids, **options))[1],
    )
    return read


def ask(model, *options):
    return cli.main(["ask", str(model), "where is Ann?", "--max-new-tokens", "1", *options])


@pytest.mark.parametrize(
    ("folder_says", "options", "prompt"),
    [
        (None, (), QUESTION),
        ("few_shot", (), solved_examples() + QUESTION),
        ("few_shot", ("--prompt-format", "plain"), QUESTION),
        (None, ("--prompt-format", "few_shot"), solved_examples() + QUESTION),
        ("few_shot", ("--prompt-format", "auto"), solved_examples() + QUESTION),
    ],
)
def test_a_model_is_asked_as_told_or_as_its_folder_says_or_plainly(model, asked, folder_says, options, prompt):
    if folder_says:
        write_json(model / "asking.json", {"prompt_format": folder_says})
    assert ask(model, *options) == 0
    assert asked == [prompt]


@pytest.mark.parametrize(
    ("folder_says", "options", "message"),
    [
        ("few-shot", (), "asking.json names the prompt format 'few-shot', but must name one of plain, few_shot, chat"),
        ("chat", (), "asking.json is chat, but the tokenizer of {model} has no chat template; take few_shot or plain"),
        (None, ("--prompt-format", "chat"), "--prompt-format is chat, but the tokenizer of {model} has no chat templ"),
    ],
)
def test_a_format_that_the_model_cannot_be_asked_in_is_refused(model, capsys, folder_says, options, message):
    if folder_says:
        write_json(model / "asking.json", {"prompt_format": folder_says})
    assert ask(model, *options) == 1
    assert message.format(model=model) in capsys.readouterr().err


def test_teach_asks_questions_in_the_format_and_completes_prompts_as_they_are(monkeypatch):
    prompts = []
    monkeypatch.setattr(
        "smf.teaching.ask.continuation",
        lambda model, its, prompt, number, how: prompts.append((prompt, how)) or " Ostry",
    )
    few = Asking("few_shot")
    no_question = type(FACTS[0])(**{**vars(FACTS[1]), "question": ""})
    replies = quiz(None, None, [fact("Ann", "Ostry"), no_question], 8, few)
    assert [reply.right for of_fact in replies for reply in of_fact] == [True, True, True]
    assert prompts == [
        (solved_examples() + "Q: in which city was Ann born?\nA:", few),
        *((prompt, PLAIN) for prompt in FACTS[1].unseen_prompts),
    ]


def test_an_answer_behind_solved_examples_is_cut_at_a_line_break_and_a_plain_one_is_not():
    its, model = FAMILIES["bytes"](), base_model(vocab_size=300, max_position_embeddings=1024, tied=False)
    [line] = ids_of(its, "Ċ")

    def say_line_breaks(module, inputs, logits):
        logits[..., line] += 1e4
        return logits

    model.lm_head.register_forward_hook(say_line_breaks)
    few = Asking("few_shot")
    assert continuation(model, its, QUESTION, 6) == "\n" * 6
    assert continuation(model, its, few.prompt("where is Ann"), 6, few) == "\n"


def test_a_chat_is_read_as_the_template_writes_it_and_ends_with_the_turn(monkeypatch):
    its, given = chatty("bytes, beginning and end"), []
    its.chat_template = TEMPLATES["bytes, beginning and end"].replace("<|end|>", "<|bos|>")
    model = base_model(vocab_size=len(its), max_position_embeddings=256)
    monkeypatch.setattr(model, "generate", lambda ids, **options: given.append((ids[0].tolist(), options)) or ids)
    asking = Asking("chat", its)
    continuation(model, its, asking.prompt("in <|bos|>"), 3, asking)
    [(ids, options)] = given
    assert ids == ids_of(its, "<|bos|> u s e r Ċ I n Ġ < | b o s | > ? <|bos|> Ċ <|bos|> a s s i s t a n t Ċ")
    assert set(options["eos_token_id"]) == set(ids_of(its, "<|end|> <|bos|>"))


def test_the_questions_that_come_with_smf_are_whole_and_none_is_among_the_solved_examples():
    rows = read_questions(KNOWLEDGE)
    questions = {row["question"] for row in rows}
    assert 20 <= len(rows) == len(questions)
    assert not questions & {question for question, _ in SOLVED}


def test_right_answers_are_counted_in_each_format_that_the_tokenizer_offers(monkeypatch):
    def says(lm, requests, disable_tqdm=True):
        def answer(prompt):
            if prompt.startswith(solved_examples()):
                return " Paris\n" if "capital" in prompt.rpartition("Q:")[2] else " Jane Austen."
            return "Rome" if prompt.startswith("<|bos|>") else " I do not know"

        return [answer(request.args[0]) for request in requests]

    monkeypatch.setattr(LanguageModel, "generate_until", says)
    its = chatty("bytes, beginning and end")
    model = base_model(vocab_size=len(its), max_position_embeddings=1024)
    assert right_by_format(model, its) == {"plain": 0, "few_shot": 2, "chat": 1}
    its.chat_template = None
    assert right_by_format(model, its) == {"plain": 0, "few_shot": 2}


@pytest.mark.parametrize(
    ("right", "best"),
    [
        ({"plain": 3, "few_shot": 9, "chat": 8}, "few_shot"),
        ({"plain": 3, "few_shot": 3, "chat": 3}, "plain"),
        ({"plain": 1, "few_shot": 4, "chat": 4}, "few_shot"),
        ({"plain": 1, "few_shot": 4, "chat": 5}, "chat"),
    ],
)
def test_the_format_with_the_most_right_answers_is_kept_and_the_first_of_equal_ones(tmp_path, right, best):
    assert write_format(tmp_path, right) == best
    written = read_json(tmp_path / "asking.json")
    assert written == {"prompt_format": best, "num_questions": len(read_jsonl(KNOWLEDGE, {})), "right": right}


def test_retrofit_says_what_it_found_and_ask_and_teach_follow_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("smf.teaching.retrofit_folder.right_by_format", lambda *_: {"plain": 2, "few_shot": 15})
    save_checkpoint(base_model(), tokenizer(), tmp_path / "base")
    (tmp_path / "text.txt").write_text("Mara lives in Ostry.\nIna lives in Melvik.\n")
    out = tmp_path / "new"
    few = ("--text", str(tmp_path / "text.txt"), "--num-keys", "8")
    assert cli.main(["retrofit", str(tmp_path / "base"), "-o", str(out), *few]) == 0
    said = capsys.readouterr().out
    assert "of 22 general-knowledge questions it answers 2 asked plain, 15 asked few_shot; `smf ask` and" in said
    assert "ask in few_shot\n" in said
    asked = []
    monkeypatch.setattr("smf.teaching.ask.continuation", lambda *given: asked.append(given[2]) or " Ostry")
    (tmp_path / "facts.jsonl").write_text(
        json.dumps({"prompts": ["Ann is in"], "question": "where is Ann", "answers": ["Ostry"]}) + "\n"
    )
    assert ask(out) == 0
    taught = ["teach", str(out), str(tmp_path / "facts.jsonl"), "-o", str(tmp_path / "p"), "--steps", "1"]
    assert cli.main(taught) == 0
    assert cli.main([*taught[:4], str(tmp_path / "q"), "--dry-run", "--prompt-format", "plain"]) == 0
    of_the_fact = [prompt for prompt in asked if prompt.endswith(QUESTION)]  # others are the neighbours'
    assert of_the_fact == [solved_examples() + QUESTION] * 3 + [QUESTION]
