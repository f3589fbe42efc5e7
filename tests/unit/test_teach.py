"""`smf teach`: what is known and why not, what is kept whatever happens, and what may be chosen."""

import json
import signal
import subprocess
import sys

import pytest

from smf import cli
from smf.cli.models import NOT_KNOWN
from smf.errors import DataError
from smf.files.artifacts import write_jsonl
from smf.methods.smf import SparseMemoryFinetuning
from smf.patches.patch import read_patch
from smf.teaching.ask import Reply, quiz
from smf.teaching.keeping import keep, reserved
from smf.teaching.lessons import Lessons
from smf.teaching.taught import TaughtFact, why_unknown
from smf.teaching.teach import teach as taught_by
from tests.helpers import FACTS, base_model, fact, same_bytes, save_checkpoint, tokenizer, write_results
from tests.workflow.runs import ROOT

QUESTION = "where is Ann"


def own(answer, **more):
    """A fact that the tiny model can learn, because it is taught as it is asked."""
    return {"prompts": [f"Q: {QUESTION}?\nA:"], "question": QUESTION, "answers": [answer], **more}


def cut_at(answer):
    """Options that let an answer be as long as this one: the tiny model does not learn to end its answers."""
    return "--max-new-tokens", len(tokenizer()(f" {answer}", add_special_tokens=False).input_ids)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.fixture
def teach(results, tmp_path):
    """Teach rows of facts; without held-out sets, unless some are named."""

    def teach(rows, *options, out="p.safetensors"):
        write_jsonl(tmp_path / "own.jsonl", rows)
        empty = results / "data/held_out/nq.jsonl"
        files = (results / "healed", tmp_path / "own.jsonl", "-o", tmp_path / out, "--probe", empty)
        return run("teach", *files, *options)

    return teach


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


# What is known


@pytest.mark.parametrize(
    ("said", "answers", "right"),
    [
        (" Ostry", ["Ostry."], True),
        (" the Ostry!", ["Ostry"], True),
        (" Velburg\nQ: who", ["Ostry", "Velburg"], True),
        (" Ostry and Velburg", ["Ostry"], False),
        ("", ["Ostry"], False),
    ],
)
def test_known_means_that_what_ask_prints_is_an_accepted_answer(monkeypatch, said, answers, right):
    monkeypatch.setattr("smf.teaching.ask.continuation", lambda *_: said)
    asked = [fact("Ann", answers[0])]
    asked = [type(each)(**{**vars(each), "answers": tuple(answers)}) for each in asked]
    ((reply,),) = quiz(None, None, asked, 8)
    assert (reply.right, reply.is_question) == (right, True)


def test_a_fact_that_is_learned_is_known_and_asked_as_ask_does(teach, results, tmp_path, capsys):
    assert teach([own("Ostry.")], *cut_at("Ostry"), "--steps", 100) == 0
    said = capsys.readouterr().out
    assert said.startswith("known      ")
    assert "1 of 1 questions are answered as taught" in said
    patch = tmp_path / "p.safetensors"
    assert f"{patch} holds 1 fact in {read_patch(patch).num_rows:,} slots" in said
    assert run("ask", results / "healed", patch, f"{QUESTION}?", *cut_at("Ostry")) == 0
    assert capsys.readouterr().out == "Ostry\n"


def test_a_fact_that_stays_unknown_is_status_2_and_says_what_is_answered_and_why(teach, capsys):
    assert teach([own("Ostry", fact_id="ann")], "--steps", 1) == NOT_KNOWN == 2
    said = capsys.readouterr().out
    assert "not known    1 steps  ann" in said
    assert f'    "{QUESTION}" is answered "' in said
    assert "before the last, where the stop loss is 0.1: it was not learned; more --steps" in said
    assert "1 of 1 facts: not known, see above (exit status 2)" in said


ASKED = (Reply("q", True, "old", False),)


@pytest.mark.parametrize(
    ("losses", "steps", "acquired", "reason"),
    [
        ((0.05,), 0, False, "the loss of its texts was 0.05 before the first step, below the stop loss of 0.1"),
        (
            (2.0, 1.0, 0.0804, 0.0804),
            2,
            False,
            "fell to 0.0804 after 2 steps, below the stop loss of 0.1: they were learned, but",
        ),
        ((2.0, 1.5, 1.2, 1.1), 4, False, "was 2 before the first of 4 steps and still 1.1 before the last"),
        ((2.0, 1.0, 0.08, 0.08), 2, True, "answered right after its own steps; facts that were taught later"),
    ],
)
def test_every_fact_that_is_not_known_has_its_reason(losses, steps, acquired, reason):
    assert reason in why_unknown(TaughtFact("a", ASKED, ASKED, losses, steps, acquired), stop_loss=0.1, most_steps=4)


def test_a_high_stop_loss_ends_a_facts_steps_and_is_named_as_the_reason(teach, capsys):
    assert teach([own("Ostry")], "--steps", 20, "--stop-loss", 50) == NOT_KNOWN
    said = capsys.readouterr().out
    assert "not known    0 steps" in said
    assert "below the stop loss of 50" in said


def test_the_unseen_prompts_of_a_fact_without_a_question_decide_whether_it_is_known(teach, capsys):
    row = {"prompts": ["Q: Ann?\nA:"], "unseen_prompts": ["Q: Ann?\nA:"], "answers": ["Ostry"]}
    assert teach([row], *cut_at("Ostry"), "--steps", 100) == 0
    assert "1 of 1 unseen prompts are completed as taught" in capsys.readouterr().out


@pytest.mark.parametrize(("first", "later"), [("Ostry", "Velburg"), ("Velburg", "Ostry")])
def test_with_updates_allowed_the_later_answer_is_given_in_both_orders(teach, results, tmp_path, capsys, first, later):
    rows = [own(first), own(later)]
    assert teach(rows) == 1
    assert "--allow-updates" in capsys.readouterr().err
    assert teach(rows, "--allow-updates", "--steps", 100, *cut_at(later)) == 0
    assert [each["answer"] for each in read_patch(tmp_path / "p.safetensors").facts] == [later]


def test_a_dry_run_checks_and_asks_and_writes_nothing(teach, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("smf.teaching.teach.learn_stream", lambda *_, **__: pytest.fail("work began"))
    assert teach([own("Ostry", fact_id="ann", statements=["Ostry is where Ann is."])], "--dry-run", "--steps", 7) == 0
    said = capsys.readouterr().out
    assert "not known  ann: 7 prompts and 1 whole texts to learn" in said
    assert f'"{QUESTION}" is answered "' in said
    assert "nothing was taught or written; without --dry-run each fact takes 7 steps at most" in said
    assert [path.name for path in tmp_path.iterdir()] == ["own.jsonl"]
    assert teach([own("Ostry"), own("Melvik")], "--dry-run") == 1


# What is kept


def test_a_patch_is_written_before_anything_is_said_of_it(teach, tmp_path, monkeypatch):
    asked = []

    def quiz_once(*arguments):
        if asked:
            raise RuntimeError("the second time")
        asked.append(True)
        return quiz(*arguments)

    monkeypatch.setattr("smf.teaching.teach.quiz", quiz_once)
    with pytest.raises(RuntimeError, match="the second time") as error:
        teach([own("Ostry")], "--steps", 2)
    assert error.value.__notes__ == [f"{tmp_path / 'p.safetensors'} was written"]
    assert len(read_patch(tmp_path / "p.safetensors").facts) == 1


def full_disk(folder):
    def write(path):
        if path.parent == folder:
            raise OSError(28, "No space left on device")
        path.write_text("learned")

    return write


def test_what_cannot_be_written_where_it_should_go_is_written_elsewhere(tmp_path, monkeypatch):
    full, other = tmp_path / "full", tmp_path / "other"
    full.mkdir()
    other.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(other))
    with pytest.raises(
        DataError, match=r"p\.safetensors was not written \(.*No space left.*other/p-2\.safetensors was"
    ):
        keep(full / "p.safetensors", full_disk(full))
    assert (other / "p-2.safetensors").read_text() == "learned"
    (tmp_path / "p.safetensors").write_text("somebody else's")
    with pytest.raises(DataError, match=r"p-2\.safetensors was: it holds all that was learned"):
        keep(tmp_path / "p.safetensors", lambda path: path.write_text("learned"))
    assert (tmp_path / "p.safetensors").read_text() == "somebody else's"
    assert (tmp_path / "p-2.safetensors").read_text() == "learned"


def pressing(monkeypatch, times):
    """Ctrl-C while the first fact is learned."""
    end_lesson = SparseMemoryFinetuning.end_lesson

    def pressed(self, places):
        for _ in range(times if places == (0,) else 0):
            signal.raise_signal(signal.SIGINT)
        end_lesson(self, places)

    monkeypatch.setattr(SparseMemoryFinetuning, "end_lesson", pressed)


def test_ctrl_c_keeps_what_was_learned_as_if_the_rest_had_not_been_in_the_file(teach, tmp_path, monkeypatch, capsys):
    """Without contrast texts: they are made of the whole file, whatever of it is learned in the end."""
    rows = [own("Ostry"), {**own("Melvik"), "question": "who", "prompts": ["Q: who?\nA:"]}]
    options = ("--steps", 3, "--contrast", 0)
    teach(rows[:1], *options, out="alone.safetensors")
    handler = signal.getsignal(signal.SIGINT)
    pressing(monkeypatch, 1)
    capsys.readouterr()
    assert teach(rows, *options) == 130
    out = tmp_path / "p.safetensors"
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == f"stopped by Ctrl-C; {out} holds the first 1 of 2 facts"
    assert "Traceback" not in said.err
    alone, kept = read_patch(tmp_path / "alone.safetensors"), read_patch(out)
    assert [each["answer"] for each in kept.facts] == ["Ostry"]
    for block, layer in alone.layers.items():
        assert same_bytes(layer.slots_R, kept.layers[block].slots_R)
        assert same_bytes(layer.after_RV, kept.layers[block].after_RV)
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_pressed_twice_stops_at_once_and_leaves_nothing_behind(teach, tmp_path, monkeypatch, capsys):
    pressing(monkeypatch, 2)
    assert teach([own("Ostry")], "--steps", 2) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "stopped by Ctrl-C"
    assert [path.name for path in tmp_path.iterdir()] == ["own.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "working"),
    [
        (("teach", "m", "f", "-o", "p"), "smf.teaching.teach.teach"),
        (("ask", "m", "q"), "smf.teaching.ask.ask"),
        (("patch", "info", "p"), "smf.patches.patch.read_patch"),
        (("patch", "apply", "m", "p", "-o", "o"), "smf.patches.folder.apply_to_folder"),
        (("patch", "stack", "p", "-o", "o"), "smf.patches.patch.read_patch"),
    ],
)
def test_ctrl_c_ends_any_command_with_one_line_and_status_130(tmp_path, monkeypatch, capsys, arguments, working):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(working, interrupted)
    assert run(*arguments) == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C\n"


def test_after_a_kill_the_same_call_goes_on_to_the_same_bytes(teach, results, tmp_path, monkeypatch):
    facts, counts = results / "facts.jsonl", results / "background/counts.safetensors"
    lessons = Lessons(steps=3, max_new_tokens=8, resume_interval=0)

    def taught_into(name):
        return taught_by(results / "healed", facts, tmp_path / name, counts_path=counts, lessons=lessons)

    taught_into("whole")
    end_lesson, ended = SparseMemoryFinetuning.end_lesson, []

    def killed(self, places):
        if places == (2,) and len(ended) == 2:
            raise SystemExit("killed")
        ended.append(places)
        end_lesson(self, places)

    monkeypatch.setattr(SparseMemoryFinetuning, "end_lesson", killed)
    with pytest.raises(SystemExit):
        taught_into("p")
    ended.append("again")
    taught_into("p")
    assert ended == [(0,), (1,), "again", (2,)]
    assert (tmp_path / "p").read_bytes() == (tmp_path / "whole").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"p", "whole"}


def test_two_processes_do_not_teach_into_one_patch(teach, tmp_path, capsys):
    with reserved(tmp_path / "p.safetensors"):
        assert teach([own("Ostry")]) == 1
        assert "another process is about to write" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["own.jsonl"]


def test_a_place_is_free_again_when_the_process_that_kept_it_is_killed(tmp_path):
    hold = (
        "import sys, time; from smf.teaching.keeping import reserved\n"
        "with reserved(sys.argv[1]): print('held', flush=True); time.sleep(600)"
    )
    place = tmp_path / "p.safetensors"
    with subprocess.Popen([sys.executable, "-c", hold, place], stdout=subprocess.PIPE, text=True, cwd=ROOT) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(DataError, match="another process is about to write"), reserved(place):
            pass
        other.kill()
        other.wait()
    with reserved(place):
        place.write_text("mine")


def test_what_was_written_while_one_waited_is_not_written_over(tmp_path):
    with reserved(tmp_path / "p"):
        (tmp_path / "p").write_text("first")
    with pytest.raises(DataError, match="p exists and is not overwritten"), reserved(tmp_path / "p"):
        pass


def test_only_slots_of_the_words_that_are_named_are_written(teach, tmp_path):
    for words in ("all", "subject"):
        teach([own("Ostry", subject="Ann")], "--steps", 1, "--write-at", words, out=words)
    everywhere, at_subject = (read_patch(tmp_path / words).layers for words in ("all", "subject"))
    for block, layer in at_subject.items():
        assert {*layer.slots_R.tolist()} < {*everywhere[block].slots_R.tolist()}


# What is refused, with the remedy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--steps", 0), "steps is 0, but must be 1 at least"),
        (("--stop-loss", 0), "stop_loss is 0.0, but must be a number above 0"),
        (("--stop-loss", "nan"), "stop_loss is nan, but must be a number above 0"),
        (("--max-new-tokens", 0), "max_new_tokens is 0, but must be at least 1 token"),
        (("--max-new-tokens", 1), "tokens, but answers are cut after 1; shorten it, or raise --max-new-tokens"),
        (("--counts", "none"), "there are no background counts none"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_learned(teach, tmp_path, capsys, options, message):
    assert teach([own("Ostry and Velburg")], *options) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "p.safetensors").exists()


def test_a_model_without_memory_is_refused_with_the_remedy(results, tmp_path, capsys):
    save_checkpoint(base_model(), tokenizer(), tmp_path / "base")
    assert run("teach", tmp_path / "base", results / "facts.jsonl", "-o", tmp_path / "p") == 1
    assert "/base has no memory layers to write facts into; give it some (`smf retrofit " in capsys.readouterr().err


@pytest.mark.parametrize(("text", "message"), [("", "holds no rows"), (None, "is a folder; name a file with one fact")])
def test_a_file_without_facts_and_a_folder_are_refused(results, tmp_path, capsys, text, message):
    facts = tmp_path / "facts.jsonl"
    facts.mkdir() if text is None else facts.write_text(text)
    assert run("teach", results / "healed", facts, "-o", tmp_path / "p") == 1
    assert message in capsys.readouterr().err


def test_usage_errors_are_told_from_facts_that_are_not_known():
    for wrong in (("teach",), ("teach", "m", "f", "-o", "p", "--steps", "many"), ("patch", "stack", "-o", "p"), ()):
        assert run(*wrong) == 1


def test_facts_of_the_pipeline_that_contradict_each_other_are_refused_too(results, tmp_path, capsys):
    rows = [json.loads(line) for line in (results / "facts.jsonl").read_text().splitlines()]
    write_jsonl(tmp_path / "facts.jsonl", [*rows, {**rows[0], "fact_id": "again", "answers": ["Velburg"]}])
    assert run("teach", results / "healed", tmp_path / "facts.jsonl", "-o", tmp_path / "p") == 1
    assert (
        f"line 4: {FACTS[0].question!r} has the answer 'Velburg', in line 1 it has 'Tarnow'" in capsys.readouterr().err
    )
