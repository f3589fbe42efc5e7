"""Questions that take a new fact and something else to answer: of the generated world and of users' own facts."""

import hashlib
import json
from dataclasses import asdict, replace

import pytest
import torch
import yaml

from smf.config.experiment import Experiment
from smf.data.own_facts import read_own_facts
from smf.data.prepared import prepare_world
from smf.data.world import build_world
from smf.errors import DataError
from smf.evaluation.harness import Evaluator
from smf.methods.registry import method_class
from smf.scores.metrics import higher_is_better, in_order, is_held_out
from smf.sizing.work import Work
from smf.streams.facts import draw_stream, question_prompt, read_facts, write_facts
from smf.streams.updates import with_updates
from tests.helpers import FACTS, method_settings
from tests.pages import example
from tests.unit.test_updates import Says
from tests.workflow.runs import ROOT, merged, tiny

SIZES = {"num_old_people": 30, "num_new_people": 12, "num_values": 8, "num_activities": 4}
DATA_SIZES = {**SIZES, "renderings": 2, "items_per_activity": 2}
QUESTION = "in which city is the head office of the company that {} works for"
WORLD = build_world(**SIZES, seed=3, two_hop=True)
DATA = prepare_world(**DATA_SIZES, seed=3, two_hop=True)
ASKED = [fact for fact in DATA.facts if fact.two_hop_question]


def test_the_facts_of_the_default_world_are_the_same_bytes_as_before_there_were_two_hops(tmp_path):
    settings = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["data"]
    write_facts(tmp_path / "facts.jsonl", prepare_world(**settings["world"], seed=settings["seed"]).facts)
    digest = hashlib.sha256((tmp_path / "facts.jsonl").read_bytes()).hexdigest()
    assert digest == "13adccd3a855e262bf961be2c63330a51d3bfae92989cbaa0e8c5e1a2116f37c"


def test_two_hops_add_to_the_world_and_change_nothing_else():
    plain_world, plain = build_world(**SIZES, seed=3), prepare_world(**DATA_SIZES, seed=3)
    assert replace(WORLD, seats={}) == plain_world
    assert plain.held_out == DATA.held_out
    number = len(plain.pretraining)
    assert DATA.pretraining[:number] == plain.pretraining
    assert len(DATA.pretraining) - number == 8 * 5 + 30 * 3  # employers and old people, statements and a question
    bare = [replace(fact, two_hop_question="", two_hop_answers=()) for fact in DATA.facts]
    assert bare == plain.facts
    assert not any(fact.two_hop_question for fact in plain.facts)


def test_a_two_hop_answer_follows_from_the_fact_and_from_one_text_that_the_base_reads():
    read = {text.prompt: text.completion for text in DATA.pretraining}
    assert len(ASKED) == len(WORLD.new_people)
    for fact, person in zip(ASKED, WORLD.new_people, strict=True):
        assert fact.two_hop_question == QUESTION.format(person.name)
        (employer,) = fact.answers
        assert employer == person.values["employer"]
        assert read[f"The head office of {employer} is in"] == f" {fact.two_hop_answers[0]}."
        assert read[question_prompt(f"in which city is the head office of {employer}")] == f" {fact.two_hop_answers[0]}"


def test_the_base_is_asked_two_hops_of_old_people_and_never_hears_of_new_ones():
    read = {text.prompt: text.completion for text in DATA.pretraining}
    for person in WORLD.old_people:
        city = read[f"The head office of {person.values['employer']} is in"].strip(" .")
        assert read[question_prompt(QUESTION.format(person.name))] == f" {city}"
    assert not any(person.name in prompt for person in WORLD.new_people for prompt in read)


def test_the_question_is_asked_and_never_taught():
    for fact in ASKED:
        texts = " ".join(text.prompt + text.completion for text in fact.training_texts())
        assert "head office" not in texts


def test_its_answers_are_its_own_and_facts_without_one_do_not_count():
    facts = [ASKED[0], *[fact for fact in DATA.facts if fact not in ASKED][:2], ASKED[1]]
    says = {question_prompt(ASKED[0].two_hop_question): f" {ASKED[0].two_hop_answers[0]}."}
    says[question_prompt(ASKED[1].two_hop_question)] = f" {ASKED[1].answers[0]}"  # the first hop alone

    def measured(position):
        scores = Evaluator(facts=facts).score(Says(says), position)["scores"]
        return {row["metric"]: row["value"] for row in scores}

    assert measured(1)["facts_two_hop_f1"] == measured(3)["facts_two_hop_f1"] == 1.0
    assert measured(4)["facts_two_hop_f1"] == measured(0)["facts_two_hop_f1"] == 0.5
    assert measured(0)["facts_question_f1"] == 0.0


def test_an_update_changes_the_answer_of_the_second_hop():
    stream = with_updates(draw_stream(ASKED, 12, "shuffled", 0, updates=6), ASKED, 6, seed=0)
    changed = [fact for fact in stream if fact.replaces]
    assert len(changed) == 6
    for fact in changed:
        assert fact.two_hop_question == QUESTION.format(fact.subject)
        assert fact.two_hop_answers == (WORLD.seats[fact.answer],)
    donor = replace(ASKED[1], fact_id="other", two_hop_question="", two_hop_answers=(), answers=("Nowhere",))
    (update,) = (fact for fact in with_updates(ASKED[:1], [donor], 1, seed=0) if fact.replaces)
    assert (update.two_hop_question, update.two_hop_answers) == ("", ())  # nobody knows where that one is


def test_two_hop_questions_are_written_read_and_checked(tmp_path):
    write_facts(tmp_path / "facts.jsonl", DATA.facts)
    assert read_facts(tmp_path / "facts.jsonl") == DATA.facts
    broken = {**asdict(FACTS[0]), "two_hop_question": "where"}
    (tmp_path / "facts.jsonl").write_text(json.dumps(broken))
    with pytest.raises(DataError, match=r"facts\.jsonl, line 1: of the columns 'two_hop_question' and 'two_hop_answ"):
        read_facts(tmp_path / "facts.jsonl")


def test_users_give_two_hop_questions_of_their_own(tmp_path):
    row = {"question": "for whom does Ann work", "answers": ["Arvento"], "two_hop_question": "where does Ann work?"}
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({**row, "two_hop_answers": "Ostry"}))
    (fact,) = read_own_facts(None, {"hub": None, "file": str(path)}, set())
    assert (fact.two_hop_question, fact.two_hop_answers) == ("where does Ann work", ("Ostry",))
    path.write_text(json.dumps(row))
    with pytest.raises(DataError, match=r"own\.jsonl, line 1: of the columns 'two_hop_question'"):
        read_own_facts(None, {"hub": None, "file": str(path)}, set())


def test_retrieval_of_the_very_fact_gives_the_first_hop():
    settings = {**method_settings("retrieval"), "retriever": "gold"}
    retrieve = method_class("retrieval").retriever(settings, {"places": torch.tensor([0])}, ASKED)
    assert retrieve(ASKED[0].two_hop_question) == f"{ASKED[0].subject} works for {ASKED[0].answer}."
    assert retrieve(ASKED[1].two_hop_question) == ""


def test_the_measure_is_of_new_facts_and_higher_is_better():
    assert higher_is_better("facts_two_hop_f1")
    assert not is_held_out("facts_two_hop_f1")
    found = ["facts_two_hop_f1", "facts_stale_f1", "facts_question_f1", "nq_f1"]
    assert in_order(found, {"nq": "questions"}) == [found[3], found[2], found[0], found[1]]


def test_the_example_is_a_valid_config_whose_plan_counts_the_questions():
    def answers(changes):
        experiment = Experiment(merged(tiny(), changes))
        return Work(experiment.config, experiment.probes, tuple(experiment.positions)).answers

    plain, asked = answers({}), answers(yaml.safe_load(example("two hops")))
    forms = 5  # two trained and two unseen wordings, and the question
    held_out = answers({"evaluation": {"wordings_per_fact": 1}})
    per_form = (plain - held_out) // 2
    assert asked == plain + per_form
    assert plain > forms * per_form
