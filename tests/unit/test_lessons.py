"""What `smf teach` makes of own facts: the wordings that teach them, the model's own, and what it says of them."""

import copy
import dataclasses

import pytest

from smf import cli
from smf.data.own_facts import read_own_facts
from smf.files.artifacts import write_jsonl
from smf.streams.asking import PLAIN, Asking, solved_examples
from smf.streams.batches import IGNORED
from smf.streams.examples import Example
from smf.streams.fact_batches import encode_fact
from smf.streams.facts import Fact, question_prompt
from smf.teaching.ask import Reply, continuation
from smf.teaching.given_files import OWN_TEXT, read_user_texts
from smf.teaching.knowledge import Neighbour, Wordings, known_wordings
from smf.teaching.lesson_neighbours import neighbour_prompts
from smf.teaching.lesson_paraphrases import Paraphrased, paraphrased
from smf.teaching.taught import Taught, TaughtFact, taught_text
from smf.training.stream import learn_stream
from smf.wordings.lesson_wordings import lesson_contexts, lesson_fact, with_paraphrases
from tests.helpers import FACTS, memory_model, tokenizer, write_results
from tests.workflow.runs import ROOT

ANN = Fact("ann", "Ann Lee", ("The birthplace of Ann Lee is",), (), "in which city was Ann Lee born", ("Ostry",))


# Wordings


def test_a_fact_is_taught_in_the_form_in_which_it_is_asked_and_in_frames_but_two_are_held_back():
    taught = lesson_fact(ANN)
    assert taught.train_prompts[0] == ANN.train_prompts[0]
    assert taught.train_prompts[-1] == "Q: in which city was Ann Lee born?\nA:"
    assert len(taught.train_prompts) == 1 + 6 + 1
    assert len(taught.unseen_prompts) == 2
    assert not {*taught.unseen_prompts} & {*taught.train_prompts}
    assert all(ANN.question in prompt for prompt in (*taught.train_prompts[1:], *taught.unseen_prompts))
    texts = [example.prompt + example.completion for example in taught.training_texts()]
    assert texts[-1] == "Q: in which city was Ann Lee born?\nA: Ostry"
    assert texts[0] == "The birthplace of Ann Lee is Ostry."
    assert lesson_fact(taught) == taught


def test_a_question_is_taught_plainly_in_a_chat_template_and_behind_solved_examples_as_it_is_asked():
    plain, chat = lesson_fact(ANN).train_prompts, Asking("chat", with_template())
    assert plain[-1] == question_prompt(ANN.question)
    assert lesson_fact(ANN).train_contexts == ()
    assert lesson_fact(ANN, chat).train_prompts == (*plain, chat.prompt(ANN.question))
    few_shot = Asking("few_shot")
    taught = lesson_fact(ANN, few_shot)
    assert taught.train_prompts == (*plain, plain[-1])
    assert taught.train_contexts == (*("" for _ in plain), solved_examples())
    texts = tokenizer().batch_decode(
        [row[0][:-1] for row in encode_fact(tokenizer(), taught, loss_on="answer", max_length=1000, asking=few_shot)]
    )
    assert texts[-1] == tokenizer().decode(tokenizer()(few_shot.prompt(ANN.question) + " Ostry")["input_ids"])
    assert lesson_fact(taught, few_shot) == taught


def test_some_wordings_stand_behind_what_questions_are_asked_behind_or_behind_text():
    texts = [Example("", "Rain fell on the hills all night and all day.")]
    behind = lesson_contexts([lesson_fact(ANN, Asking("few_shot"))], Asking("few_shot"), texts, 0)[0].contexts
    assert behind.count(solved_examples()) == 3 + 1
    assert set(behind) == {"", solved_examples()}
    passages = lesson_contexts([lesson_fact(ANN)], PLAIN, texts, 0)[0].contexts
    assert [bool(passage) for passage in passages] == [False] * 4 + [True] * 3 + [False]


@pytest.mark.parametrize("write_at", ["all", "subject_and_answer"])
def test_the_chat_form_is_taught_in_the_templates_own_tokens_and_ends_with_the_answer_alone(write_at):
    its = with_template()
    chat = Asking("chat", its)
    row = encode_fact(its, lesson_fact(ANN, chat), loss_on="answer", max_length=200, write_at=write_at, asking=chat)[-1]
    ids, labels, *marks = row
    prompt = chat.written[chat.prompt(ANN.question)]
    assert ids[: len(prompt)] == prompt
    learned = [label for label in labels if label != IGNORED]
    assert its.decode(ids[len(prompt) :], skip_special_tokens=True) == "Ostry"
    assert learned == ids[len(prompt) :]
    for marked in marks:
        assert [place for place, mark in enumerate(marked) if mark] == [*range(len(prompt), len(ids) - 1)]


def test_what_a_user_holds_back_is_never_taught_and_takes_the_place_of_frames():
    held = "The answer to the question in which city was Ann Lee born is"
    assert held in lesson_fact(ANN).train_prompts
    taught = lesson_fact(dataclasses.replace(ANN, unseen_prompts=(held,)))
    assert taught.unseen_prompts == (held,)
    assert held not in taught.train_prompts


def test_a_fact_without_a_question_and_a_passage_stay_as_they_are():
    silent = dataclasses.replace(ANN, question="", unseen_prompts=("Ann Lee comes from",))
    passage = Fact("p", "P", (), (), "who", ("Ann",), train_texts=("Ann came.",), is_passage=True)
    assert [lesson_fact(silent), lesson_fact(passage)] == [silent, passage]


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("Ann Lee was born in Ostry, a small town.", "Ann Lee was born in"),
        ("Ostry is where Ann Lee was born.", None),
        ('Ann Lee was born in "Ostry".', None),
        ("It was in Ostry that Ann Lee was born.", None),
    ],
)
def test_a_paraphrase_that_names_the_subject_first_teaches_its_answer_and_any_other_the_whole_text(text, prompt):
    worded = with_paraphrases(ANN, [text])
    assert worded.train_prompts == (*ANN.train_prompts, *([prompt] if prompt else []))
    assert worded.train_texts == (() if prompt else (text,))


def test_study_texts_of_a_passage_are_taught_whole():
    passage = Fact("p", "Ann", (), (), "", (), train_texts=("Ann came.",), is_passage=True)
    assert with_paraphrases(passage, ["Ann came to Ostry."]).train_texts == ("Ann came.", "Ann came to Ostry.")


# The model's own wordings


@pytest.fixture
def replies(monkeypatch):
    """Have the model say this, reply by reply, over and over."""

    def say(*texts):
        def sample(model, tokenizer, prompts, settings, seed):
            return [texts[place % len(texts)] for place in range(len(prompts))]

        monkeypatch.setattr("smf.wordings.paraphrases._sample", sample)

    return say


class Chatting:
    chat_template = "any"


def test_paraphrases_that_lost_the_answer_or_the_subject_are_dropped_and_counted_and_own_wordings_stay(replies):
    replies("Ann Lee comes from Ostry.", "Ann Lee was born.", "She was born in Ostry.", "Ann Lee comes from Ostry.")
    (worded,), report = paraphrased(None, Chatting, [ANN], 4, seed=0)
    assert worded.train_prompts == (*ANN.train_prompts, "Ann Lee comes from")
    assert worded.train_texts == ()
    # Four replies, one of them good; then those that are missing are asked for again, and nothing new comes.
    assert (report.wanted, report.kept) == (4, 1)
    assert report.dropped["without the answer"] == 2
    assert sum(report.dropped.values()) == 4 + 3 - 1


def test_where_no_paraphrase_can_be_taught_the_fact_stays_as_it_was(replies):
    replies("I am sorry.")
    worded, report = paraphrased(None, Chatting, [ANN], 2, seed=0)
    assert worded == [ANN]
    assert report == Paraphrased(2, 0, {"without the answer": 4})


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.fixture
def teach(results, tmp_path):
    def teach(*options):
        write_jsonl(tmp_path / "own.jsonl", [{"question": "where is Ann", "answers": ["Ostry"]}])
        files = (results / "healed", tmp_path / "own.jsonl", "-o", tmp_path / "p.safetensors")
        empty = results / "data/held_out/nq.jsonl"
        return cli.main(["teach", *map(str, files), "--probe", str(empty), "--steps", "1", *options])

    return teach


def test_a_model_without_a_chat_template_is_not_asked_for_paraphrases(teach, monkeypatch, capsys):
    monkeypatch.setattr("smf.teaching.teach.load_model", lambda *_, **__: pytest.fail("work began"))
    assert teach("--paraphrase") == 1
    said = capsys.readouterr().err
    assert "--paraphrase asks the model to word the facts, but the tokenizer of" in said
    assert "leave the option out" in said


def test_ctrl_c_while_the_model_words_the_facts_leaves_nothing_behind(teach, tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("smf.teaching.lessons.load_tokenizer", lambda _: with_template())
    monkeypatch.setattr("smf.wordings.paraphrases._sample", interrupted)
    assert teach("--paraphrase", "2") == 130
    assert capsys.readouterr().err.splitlines()[-1] == "stopped by Ctrl-C"
    assert [path.name for path in tmp_path.iterdir()] == ["own.jsonl"]


def with_template():
    other = copy.deepcopy(tokenizer())
    other.chat_template = (
        "{% for message in messages %}<|endoftext|>{{ message['role'] }}\n{{ message['content'] }}<|endoftext|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|endoftext|>assistant\n{% endif %}"
    )
    return other


def test_the_number_of_paraphrases_is_four_unless_it_is_given(teach, monkeypatch):
    asked = []

    def none_found(model, tokenizer, facts, number, seed):
        asked.append(number)
        return list(facts), Paraphrased(number, 0, {})

    monkeypatch.setattr("smf.teaching.lessons.load_tokenizer", lambda _: with_template())
    monkeypatch.setattr("smf.teaching.teach.paraphrased", none_found)
    teach("--paraphrase", "--dry-run")
    assert asked == []
    teach("--paraphrase")
    assert asked == [4]


def test_some_wordings_are_taught_behind_other_text(teach, monkeypatch):
    taught = []

    def seen(method, tokenizer, facts, *rest, **options):
        taught.extend(facts)
        return learn_stream(method, tokenizer, facts, *rest, **options)

    monkeypatch.setattr("smf.teaching.teach.learn_stream", seen)
    teach("--steps", "2")
    contexts = taught[0].contexts
    assert sum(map(bool, contexts)) == 3  # of six frames; the question stands alone
    texts = " ".join(each.completion for each in read_user_texts(OWN_TEXT))
    for prompt, context in zip(taught[0].train_prompts, contexts, strict=True):
        assert " ".join(context.split()) in " ".join(texts.split())
        assert "where is Ann" in prompt
        assert len(context.split()) in range(15, 36) or not context


# Neighbours


def test_neighbours_ask_the_same_of_well_known_subjects_of_the_same_sort():
    prompts = neighbour_prompts([lesson_fact(ANN)], most=2, seed=0)
    assert len(prompts) == 2
    for prompt in prompts:
        assert prompt.startswith("Q: in which city was ")
        assert prompt.endswith(" born?\nA:")
        assert "Ann Lee" not in prompt


def test_a_facts_own_neighbours_take_the_place_of_others():
    own = dataclasses.replace(ANN, locality_prompts=("The birthplace of Bob is",), locality_answers=("Velburg",))
    assert neighbour_prompts([own], most=10, seed=0) == ["The birthplace of Bob is"]


def test_where_no_subject_can_be_swapped_well_known_questions_are_neighbours_and_none_that_is_taught():
    capital = Fact("c", "c", (), (), "what is the capital of France", ("Paris",))
    prompts = neighbour_prompts([lesson_fact(capital)], most=12, seed=0)
    assert len(prompts) == 11
    assert "Q: who wrote Romeo and Juliet?\nA:" in prompts
    assert "Q: what is the capital of France?\nA:" not in prompts


# What is known in which wording


def test_a_wording_is_known_if_the_model_goes_on_with_an_accepted_answer_whatever_comes_behind():
    model, asked = memory_model(), FACTS[0]
    prompts = (*asked.train_prompts, *asked.unseen_prompts)
    goes_on = [continuation(model, tokenizer(), prompt, 3) for prompt in prompts]
    for place, said in enumerate(goes_on):
        if not said.startswith(" ") or "\ufffd" in said:
            continue
        known = known_wordings(model, tokenizer(), dataclasses.replace(asked, answers=("no", said.strip())))
        assert [*known.taught, *known.unseen][place]
    assert known_wordings(model, tokenizer(), dataclasses.replace(asked, answers=("no",))) == Wordings(
        (False,) * 3, (False,) * 2
    )


def test_the_report_says_in_which_wordings_facts_are_known_and_which_neighbours_changed():
    reply = Reply("where is Ann", True, "Ostry", True)
    known = TaughtFact("ann", (reply,), (reply,), (2.0, 0.1), 1, True, Wordings((True, True, False), (False, True)))
    neighbours = (Neighbour("Paris is", "in France", "In France!"), Neighbour("Q: who?\nA:", "I", "Ostry"))
    taught = Taught((known,), {}, 5, 0.1, 30, neighbours, Paraphrased(4, 1, {"empty": 2}))
    assert taught_text(taught, "p").splitlines() == [
        "known        1 steps  ann  (2 of 3 taught, 1 of 2 unseen wordings)",
        "1 of 1 questions are answered as taught",
        "1 of 2 wordings that were never taught are completed",
        "neighbours: 1 of 2 unchanged",
        '    "who?" continues "Ostry"; before, "I"',
        "paraphrases by the model: 1 of 4 were found and taught; dropped: 2 empty",
        "p holds 1 fact in 5 slots",
    ]


def test_the_example_facts_are_ten_that_can_be_taught_and_whose_questions_name_their_subjects(caplog):
    facts = read_own_facts(None, {"hub": None, "file": str(ROOT / "docs/example_facts.jsonl")}, set())
    assert len(facts) == 10
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
