"""Updates: facts that are taught again later in a stream with another answer, and what is measured of them."""

import hashlib
import json
import logging
from dataclasses import replace

import pandas as pd
import pytest
import yaml
from lm_eval.api.model import LM

from smf.config.experiment import Experiment
from smf.data.own_facts import read_own_facts
from smf.data.prepared import prepare_world
from smf.errors import ConfigError, DataError
from smf.evaluation.harness import Evaluator
from smf.evaluation.settings import EvaluationSettings
from smf.methods.registry import method_class
from smf.patches.contradictions import contradictions, later_wins
from smf.scores.metrics import higher_is_better, is_held_out
from smf.scores.summary import summary_table, terminal_summary
from smf.scores.table import scores_table
from smf.sizing.text import plan
from smf.sizing.work import Work
from smf.stages.prepare import StreamPlan, write_stream
from smf.streams.asking import PLAIN
from smf.streams.facts import draw_stream, question_prompt, read_facts, write_facts
from smf.streams.passes import Passes
from smf.streams.replaced import agree, current, newest, relinked, replaced_first, require_taught_after
from smf.streams.updates import most_updates, updates_of, with_updates
from smf.teaching.given_files import read_user_facts
from smf.training.stream import StreamSettings, learn_stream
from tests.helpers import FACTS, background_counts, fact, memory_model, method_settings, tokenizer
from tests.pages import example
from tests.unit.test_experiment import COLLECTION
from tests.workflow.runs import ROOT, merged, tiny

JOEL, ROSA, EMIL = FACTS
MOVED = replace(JOEL, fact_id="joel-moved", answers=("Melvik",), replaces="joel-quint")
BACK = replace(JOEL, fact_id="joel-back", answers=("the Ostry", "Ostry town"), replaces="joel-moved")
PEOPLE = [fact(f"Person {letter}", city) for letter, city in zip("ABCDEFGH", "PQRSPQRS", strict=True)]
JOBS = [
    replace(
        person,
        fact_id=f"{person.fact_id}-job",
        train_prompts=(f"{person.subject} works as",),
        question=f"what is the job of {person.subject}",
        answers=(job,),
    )
    for person, job in zip(PEOPLE, ["baker", "clerk"] * 4, strict=True)
]


def world():
    """The facts of the default experiment."""
    settings = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["data"]
    return prepare_world(**settings["world"], seed=settings["seed"]).facts


def sha256_of(path, facts):
    write_facts(path, facts)
    return hashlib.sha256(path.read_bytes()).hexdigest()


# The draw


@pytest.mark.parametrize(
    ("seed", "digest"),
    [
        (0, "91114939163123547a298de8ecaa00f6849d31f513de32827bbec5a272388a72"),
        (1, "e22185a7ed9967ca2286c4d336fa3bc127fbb8fe30bdaa88467ace44605eae26"),
    ],
)
def test_without_updates_the_streams_of_the_default_experiment_are_the_same_bytes_as_before_there_were_any(
    tmp_path, seed, digest
):
    facts = with_updates(draw_stream(world(), 100, "shuffled", seed), world(), 0, seed=seed)
    assert sha256_of(tmp_path / "stream.jsonl", facts) == digest


@pytest.mark.parametrize("order", ["shuffled", "grouped"])
@pytest.mark.parametrize("facts_per_step", [1, 3])
def test_updates_come_after_what_they_replace_with_another_answer_and_leave_the_rest_in_order(order, facts_per_step):
    pool = world()
    plain = draw_stream(pool, 40, order, 5, updates=12)
    stream = with_updates(plain, pool, 12, seed=5, facts_per_step=facts_per_step)
    places = {each.fact_id: place for place, each in enumerate(stream)}
    updates = [each for each in stream if each.replaces]
    assert [each for each in stream if not each.replaces] == plain
    assert len(plain) == 28
    assert len({each.replaces for each in updates}) == len(updates) == 12
    assert len(places) == 40
    for update in updates:
        old = stream[places[update.replaces]]
        assert places[old.fact_id] // facts_per_step < places[update.fact_id] // facts_per_step
        assert not agree(old.answers, update.answers)
        assert replace(update, fact_id=old.fact_id, answers=old.answers, replaces="") == old
        relation = old.fact_id.rsplit("-", 1)[-1]  # the world's facts are named by person and relation
        assert update.answers in {each.answers for each in pool if each.fact_id.endswith(relation)}


def test_updates_are_a_function_of_the_seed():
    pool = world()
    drawn = [with_updates(draw_stream(pool, 40, "shuffled", 5), pool, 10, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_longest_delay_and_the_shortest_are_both_drawn():
    pool = world()
    delays = []
    for seed in range(40):
        stream = with_updates(draw_stream(pool, 20, "shuffled", seed, updates=1), pool, 1, seed=seed)
        places = {each.fact_id: place for place, each in enumerate(stream)}
        (update,) = (each for each in stream if each.replaces)
        delays.append(places[update.fact_id] - places[update.replaces])
    assert min(delays) == 1
    assert max(delays) > 12


def test_an_answer_comes_from_facts_that_ask_the_same_and_from_any_other_only_if_none_differs():
    pool = [*PEOPLE, *JOBS]
    for seed in range(10):
        stream = with_updates(JOBS, pool, 4, seed=seed)
        assert {each.answer for each in stream if each.replaces} <= {"baker", "clerk"}
    same = [replace(each, answers=("Clerk!",)) for each in JOBS]
    stream = with_updates(same, [*same, *PEOPLE], 4, seed=0)
    assert {each.answer for each in stream if each.replaces} <= set("PQRS")
    with pytest.raises(ConfigError, match=r"no fact of the data has another answer than 'person-.-job', which has 'Cl"):
        with_updates(same, same, 1, seed=0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("Ostry",), ("the ostry!",), True),
        (("New York",), ("NewYork",), True),
        (("A", "B"), ("C", "b"), True),
        (("---",), ("–--",), True),
        (("Ostry",), ("Ostrya",), False),
        (("A",), ("The",), False),
    ],
)
def test_answers_are_compared_as_they_are_scored(one, other, same):
    assert agree(one, other) == agree(other, one) == same


def test_facts_that_whole_texts_teach_and_facts_that_are_linked_already_get_no_update():
    told = replace(EMIL, train_texts=("Emil Hollis was born in Melvik, they say.",))
    with pytest.raises(
        ConfigError, match=r"stream\.updates is 2, but of the 4 other facts of seed 0's stream only 1 can"
    ):
        with_updates([JOEL, MOVED, ROSA, told], FACTS, 2, seed=0)
    stream = with_updates([JOEL, MOVED, ROSA, told], FACTS, 1, seed=0)
    assert {each.replaces for each in stream} == {"", "joel-quint", "rosa-varga"}


@pytest.mark.parametrize(
    ("num_facts", "facts_per_step", "most"), [(4, 1, 2), (5, 1, 2), (5, 2, 2), (4, 4, 0), (8, 3, 3)]
)
def test_as_many_updates_as_are_allowed_can_be_drawn(num_facts, facts_per_step, most):
    assert most_updates(num_facts, facts_per_step) == most
    facts = [replace(ROSA, fact_id=f"f{number}", answers=(f"city {number}",)) for number in range(num_facts)]
    for seed in range(5):
        options = {"seed": seed, "facts_per_step": facts_per_step}
        stream = with_updates(facts[: num_facts - most], facts, most, **options)
        require_taught_after(stream, Passes(num_facts, facts_per_step).groups(None))
    with pytest.raises(ConfigError, match="lower stream.updates"):
        with_updates(facts[: num_facts - most - 1], facts, most + 1, **options)


def test_a_stream_with_updates_is_written_and_read_back_and_said(tmp_path, caplog):
    write_facts(tmp_path / "facts.jsonl", [*PEOPLE, *JOBS])
    tokenizer().save_pretrained(tmp_path)
    paths = (tmp_path / "facts.jsonl", tmp_path / "tokenizer.json", tmp_path / "stream.jsonl")
    options = {"order": "shuffled", "seed": 3, "max_new_tokens": 100, "wordings": {"source": "none"}}
    with caplog.at_level(logging.INFO):
        write_stream(StreamPlan(num_facts=16, updates=6, facts_per_step=2, **options), *paths)
    stream = read_facts(paths[2])
    assert len(stream) == 16
    assert "6 of them replace earlier ones" in caplog.text
    pool = [*PEOPLE, *JOBS]
    drawn = draw_stream(pool, 16, "shuffled", 3, updates=6)
    assert stream == with_updates(drawn, pool, 6, seed=3, facts_per_step=2)


def test_shorter_streams_have_updates_in_proportion():
    stream = {"num_facts": 100, "updates": 20, "facts_per_step": 1}
    assert updates_of(stream, 100) == {"updates": 20, "facts_per_step": 1}
    assert updates_of(stream, 34)["updates"] == 6
    assert updates_of({**stream, "updates": 0}, 100) == {}


# Facts that say what they replace


def read(tmp_path, *rows):
    path = tmp_path / "facts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_what_a_fact_replaces_is_written_and_read(tmp_path):
    write_facts(tmp_path / "facts.jsonl", [JOEL, MOVED, BACK])
    assert read_facts(tmp_path / "facts.jsonl") == [JOEL, MOVED, BACK]
    rows = [json.loads(line) for line in (tmp_path / "facts.jsonl").read_text().splitlines()]
    assert ["replaces" in row for row in rows] == [False, True, True]


@pytest.mark.parametrize(
    ("facts", "line", "message"),
    [
        ([MOVED, JOEL], 1, "'joel-moved' replaces 'joel-quint', but no fact before it has this fact_id; put that fact"),
        ([replace(ROSA, replaces="rosa-varga")], 1, "'rosa-varga' replaces 'rosa-varga', but no fact before it"),
        ([JOEL, replace(MOVED, answers=("tarnow",))], 2, "replaces 'joel-quint', but has the same answer 'tarnow'"),
        (
            [
                replace(
                    ROSA, fact_id="p", question="", train_prompts=(), unseen_prompts=(), answers=(), train_texts=("R.",)
                ),
                replace(ROSA, replaces="p"),
            ],
            2,
            "replaces 'p', but one of the two has no answer; only answers can change",
        ),
        (
            [JOEL, MOVED, replace(MOVED, fact_id="c", answers=("Ostry",))],
            3,
            "'c' replaces 'joel-quint', which 'joel-moved' replaces already; let it replace 'joel-moved'",
        ),
    ],
)
def test_a_stream_whose_updates_refer_to_nothing_is_refused_with_file_and_line(tmp_path, facts, line, message):
    write_facts(tmp_path / "stream.jsonl", facts)
    with pytest.raises(DataError, match=rf"stream\.jsonl, line {line}: fact .*{message}"):
        read_facts(tmp_path / "stream.jsonl")


def test_users_say_what_is_replaced_and_then_two_answers_to_a_question_are_no_contradiction(tmp_path):
    rows = [json.loads(line) for line in example("replaces").splitlines()]
    source = {"hub": None, "file": str(read(tmp_path, *rows))}
    old, new = read_own_facts(None, source, set())
    assert (old.replaces, new.replaces) == ("", "ann")
    source["file"] = str(read(tmp_path, rows[0], {**rows[1], "replaces": "anna"}))
    with pytest.raises(DataError, match=r"facts\.jsonl, line 2: fact 'ann-moved' replaces 'anna', but no fact before"):
        read_own_facts(None, source, set())
    source["file"] = str(read(tmp_path, rows[0], {**rows[1], "replaces": ""}))
    with pytest.raises(
        DataError, match=r"line 2: .* in line 1 it has 'Northlight'; .* or 'replaces' in the later fact"
    ):
        read_own_facts(None, source, set())
    again = {**rows[0], "fact_id": "ann-back", "replaces": "ann-moved"}  # word for word the first, but true again
    source["file"] = str(read(tmp_path, *rows, again))
    assert [each.fact_id for each in read_own_facts(None, source, set())] == ["ann", "ann-moved", "ann-back"]


def test_smf_teach_leaves_out_what_is_replaced(tmp_path, caplog):
    rows = [json.loads(line) for line in example("replaces").splitlines()]
    (left,) = read_user_facts(read(tmp_path, *rows))
    assert (left.answer, left.replaces) == ("Arvento", "")
    assert "facts not taught, because a later one says that it replaces them: 1" in caplog.text
    write_facts(tmp_path / "stream.jsonl", [JOEL, ROSA, MOVED])
    assert [each.fact_id for each in read_user_facts(tmp_path / "stream.jsonl")] == ["rosa-varga", "joel-moved"]


def test_a_draw_keeps_the_order_of_versions_and_a_version_alone_is_a_fact_like_any_other():
    pool = [JOEL, ROSA, MOVED, EMIL, BACK]
    seen = set()
    for seed in range(30):
        stream = draw_stream(pool, 3, "shuffled", seed)
        versions = [each.fact_id for each in stream if each.subject == JOEL.subject]
        assert versions == [each.fact_id for each in pool if each.fact_id in versions]
        links = {each.fact_id: each.replaces for each in stream}
        before = dict(zip(versions, ["", *versions], strict=False))
        assert links == {**dict.fromkeys(links, ""), **before}
        seen.add(tuple(versions))
    assert ("joel-quint", "joel-back") in seen
    assert len(seen) >= 6


def test_versions_change_places_among_themselves_only():
    assert replaced_first([BACK, ROSA, MOVED, EMIL, JOEL]) == [JOEL, ROSA, MOVED, EMIL, BACK]
    again = replace(BACK, answers=JOEL.answers)
    assert relinked([JOEL, again], [JOEL, MOVED, again])[1].replaces == ""  # nothing changed between the two


def test_what_is_replaced_later_counts_until_then():
    stream = [JOEL, ROSA, MOVED, EMIL, BACK]
    names = [[each.fact_id for each in current(stream[:number])] for number in range(6)]
    joel, rosa, moved, emil, back = (each.fact_id for each in stream)
    assert names == [[], [joel], [joel, rosa], [rosa, moved], [rosa, moved, emil], [rosa, emil, back]]
    assert newest(stream) == {joel: BACK, moved: BACK}
    assert newest(stream[:3]) == {joel: MOVED}


@pytest.mark.parametrize(
    ("facts", "passes", "error"),
    [
        ([JOEL, ROSA, MOVED], (1, 1), None),
        ([JOEL, ROSA, MOVED], (2, 2), None),
        ([JOEL, MOVED], (2, 1), "fact 'joel-moved' replaces 'joel-quint', but is not taught after it"),
        ([ROSA, MOVED], (1, 1), "fact 'joel-moved' replaces 'joel-quint', which the stream does not teach"),
    ],
)
def test_a_stream_that_does_not_teach_the_new_answer_last_is_refused(facts, passes, error):
    groups = Passes(len(facts), *passes).groups(None)
    if error is None:
        require_taught_after(facts, groups)
    else:
        with pytest.raises((ConfigError, DataError), match=error):
            require_taught_after(facts, groups)
    with pytest.raises(ConfigError, match="is not taught after it"):
        require_taught_after([JOEL, MOVED], [[0], [1], [1], [0]])


def test_learning_checks_it_before_any_step():
    model = memory_model()
    settings = {"kind": "smf", **method_settings("smf")}
    options = {"background": background_counts(model)}
    with pytest.raises(DataError, match="which the stream does not teach"):
        learn_stream(model, tokenizer(), [MOVED], settings, StreamSettings(steps_per_fact=1), **options)


# What is measured


class Says(LM):
    """Answers each prompt as it is told, else with nothing known."""

    def __init__(self, says):
        super().__init__()
        self.says = says

    def generate_until(self, requests):
        return [self.says.get(request.args[0], " no idea") for request in requests]

    def loglikelihood(self, requests):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError


def measured(facts, says, position, **settings):
    prompts = {question_prompt(each.question): says[each.subject] for each in facts if each.subject in says}
    result = Evaluator(facts=facts, settings=EvaluationSettings(**settings)).score(Says(prompts), position)
    return {score["metric"]: score["value"] for score in result["scores"]}


def test_replaced_facts_are_asked_for_the_new_and_the_old_answer_and_count_no_longer_among_the_retained():
    stream = [JOEL, ROSA, MOVED, replace(ROSA, fact_id="r", answers=("Velburg",), replaces="rosa-varga"), EMIL]
    says = {JOEL.subject: " Melvik", ROSA.subject: " Ostry", EMIL.subject: " Melvik"}
    question, updated, stale = "facts_question_f1", "facts_updated_f1", "facts_stale_f1"
    found = measured(stream, says, 2)
    assert (found[question], updated in found, stale in found) == (0.5, False, False)  # nothing is replaced yet
    found = measured(stream, says, 3)
    assert (found[question], found[updated], found[stale]) == (1.0, 1.0, 0.0)  # Rosa's old one still counts
    found = measured(stream, says, 4)
    assert (found[question], found[updated], found[stale]) == (0.5, 0.5, 0.5)
    for position in (5, 0):  # the start model is asked the whole stream
        found = measured(stream, says, position)
        assert found[question] == pytest.approx(2 / 3)
        assert (found[updated], found[stale]) == (0.5, 0.5)


def test_of_several_versions_the_newest_is_new_and_all_others_are_outdated():
    stream = [JOEL, MOVED, BACK, replace(JOEL, fact_id="again", answers=("Melvik",), replaces="joel-back")]
    assert measured(stream, {JOEL.subject: " Melvik"}, 3)["facts_stale_f1"] == 1.0  # what came between is stale too
    assert measured(stream, {JOEL.subject: " Ostry"}, 3)["facts_updated_f1"] == 1.0
    found = measured(stream, {JOEL.subject: " Melvik"}, 4)
    assert (found["facts_updated_f1"], found["facts_stale_f1"]) == (1.0, 0.0)  # true again
    partly = measured([JOEL, replace(MOVED, answers=("Port Melvik",))], {JOEL.subject: " Melvik"}, 2)
    assert partly["facts_updated_f1"] == pytest.approx(2 / 3)  # F1 by words


def test_no_more_replaced_facts_are_asked_than_the_settings_say_and_one_without_question_by_its_unseen_wordings():
    stream = with_updates(PEOPLE, PEOPLE, 4, seed=0)
    result = Evaluator(facts=stream, settings=EvaluationSettings(num_facts=3)).score(Says({}), 0)
    samples = result["lm_eval"]["n-samples"]
    assert samples["smf_facts_updated"]["effective"] == samples["smf_facts_stale"]["effective"] == 3
    silent = [replace(each, question="") for each in (JOEL, MOVED)]
    result = Evaluator(facts=silent).score(Says(dict.fromkeys(JOEL.unseen_prompts[:1], " Melvik.")), 0)
    assert {row["metric"]: row["value"] for row in result["scores"]}["facts_updated_f1"] == 0.5


def test_retrieval_of_the_very_fact_gives_the_one_that_is_true_now():
    gold = method_class("retrieval").retriever
    asked = replace(MOVED, question="where does Joel Quint live now")
    settings = {**method_settings("retrieval"), "retriever": "gold"}
    import torch

    delta = {"places": torch.tensor([0, 1, 2])}
    retrieve = gold(settings, delta, [JOEL, ROSA, asked])
    assert retrieve(JOEL.question) == retrieve(asked.question) == "Joel Quint was born in Melvik."
    assert gold(settings, {"places": torch.tensor([0, 1])}, [JOEL, ROSA, asked])(JOEL.question).endswith("Tarnow.")


def rows(method, seed, position, **values):
    scores = [{"metric": metric, "value": value, "stderr": None} for metric, value in values.items()]
    return {"method": method, "seed": seed, "position": position, "scores": scores}


def test_tables_have_the_two_measures_and_a_seed_without_updates_at_a_snapshot_is_no_hole():
    at_start = [
        rows("base", seed, 0, nq_f1=1.0, facts_question_f1=0.0, facts_updated_f1=0.0, facts_stale_f1=0.0)
        for seed in (0, 1)
    ]
    runs = [
        rows("full", 0, 2, nq_f1=1.0, facts_question_f1=1.0),
        rows("full", 1, 2, nq_f1=1.0, facts_question_f1=1.0, facts_updated_f1=1.0, facts_stale_f1=0.0),
        rows("full", 0, 4, nq_f1=0.5, facts_question_f1=1.0, facts_updated_f1=0.5, facts_stale_f1=0.25),
        rows("full", 1, 4, nq_f1=0.5, facts_question_f1=1.0, facts_updated_f1=1.0, facts_stale_f1=0.0),
    ]
    summary = summary_table(scores_table([*at_start, *runs]), {"full": "base"}, {"nq": "questions"})
    full = summary[summary["method"] == "full"].set_index("metric")
    assert list(full.index) == ["nq_f1", "facts_question_f1", "facts_updated_f1", "facts_stale_f1"]
    assert (full.loc["facts_updated_f1", "mean"], full.loc["facts_stale_f1", "mean"]) == (0.75, 0.125)
    assert full.loc[["facts_updated_f1", "facts_stale_f1"], "relative_drop"].isna().all()
    labels = {"held_out": {"nq": "questions"}, "facts": "people"}
    text = " ".join(terminal_summary(summary, {"full": "base"}, labels, []).split())
    assert "Replaced facts, new and outdated answer (F1): base 0.00 ±0.00 and 0.00 ±0.00, full 0.75 ±3.18 and" in text
    only = pd.DataFrame(summary[~summary["metric"].isin(["facts_updated_f1", "facts_stale_f1"])])
    assert "Replaced facts" not in terminal_summary(only, {"full": "base"}, labels, [])


def test_a_mean_over_fewer_seeds_than_the_method_has_says_so():
    """Of three seeds one teaches no fact that replaces another, and two no fact with a two-hop question."""
    updates = {"facts_updated_f1": 0.5, "facts_stale_f1": 0.25}
    held = [{**updates, "facts_two_hop_f1": 1.0}, updates, {}]
    results = []
    for seed, some in enumerate(held):
        results.append(rows("base", seed, 0, nq_f1=1.0, facts_question_f1=0.0, **updates))
        results.append(rows("full", seed, 4, nq_f1=0.5, facts_question_f1=1.0, **some))
    summary = summary_table(scores_table(results), {"full": "base"}, {"nq": "questions"})
    full = summary[summary["method"] == "full"].set_index("metric")["num_seeds"]
    assert full.to_dict() == {
        "nq_f1": 3, "facts_question_f1": 3, "facts_two_hop_f1": 1, "facts_updated_f1": 2, "facts_stale_f1": 2,
    }  # fmt: skip
    assert summary.loc[summary["method"] == "base", "num_seeds"].eq(3).all()
    text = " ".join(terminal_summary(summary, {"full": "base"}, {"held_out": {}, "facts": "people"}, []).split())
    assert "Two-hop questions (F1): base –, full 1.00 (1 of 3 seeds)" in text
    assert "base 0.50 ±0.00 and 0.25 ±0.00, full 0.50 ±0.00 and 0.25 ±0.00 (2 of 3 seeds)" in text


def test_an_outdated_answer_is_better_not_given_and_neither_measure_is_held_out():
    assert higher_is_better("facts_updated_f1")
    assert not higher_is_better("facts_stale_f1")
    assert higher_is_better("own_stale_f1")  # a held-out set of that name
    assert not any(map(is_held_out, ("facts_updated_f1", "facts_stale_f1")))


# Patches


class Held:
    """As much of a patch as is compared."""

    def __init__(self, *facts):
        self.facts = [
            {"fact_id": each.fact_id, "question": each.question, "answer": each.answer, "stream": "s"} for each in facts
        ]


def test_a_patch_answers_as_it_was_taught_last():
    assert contradictions([Held(JOEL, MOVED), Held(replace(JOEL, fact_id="j", answers=("Melvik",)))]) == []
    (found,) = contradictions([Held(JOEL, MOVED), Held(JOEL)])
    assert (found.earlier["answer"], found.later["answer"]) == ("Melvik", "Tarnow")


def test_stacking_forgets_all_versions_of_what_a_later_patch_contradicts(monkeypatch):
    gone = []
    monkeypatch.setattr(
        "smf.patches.contradictions.forget", lambda patch, names: (gone.append((patch, names)) or patch, None)
    )
    first = Held(JOEL, ROSA, MOVED)
    later_wins([first, Held(replace(JOEL, fact_id="j", answers=("Velburg",)))])
    assert gone == [(first, ["s:joel-moved", "s:joel-quint"])]


# The config


def test_the_example_is_a_valid_config_with_streams_as_long_as_without_updates():
    stream = yaml.safe_load(example("updates"))["stream"]
    experiment = Experiment(merged(yaml.safe_load((ROOT / "config.yaml").read_text()), {"stream": stream}))
    assert experiment.positions == [50, 100]
    assert updates_of(experiment.config["stream"], experiment.num_facts(0)) == {"updates": 20, "facts_per_step": 1}
    text = plan(Work(experiment.config, experiment.probes, tuple(experiment.positions)), 10**12).text
    assert "20 of a stream's 100 facts are taught to replace 20 others" in text
    assert "700 optimizer steps" in text
    before = Experiment(merged(experiment.config, {"stream": {"updates": 0}}))
    assert "replace" not in plan(Work(before.config, before.probes, tuple(before.positions)), 10**12).text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"updates": 3},
            r"stream\.updates is 3, but must be at most 2: each of stream\.num_facts \(4\) is an update or",
        ),
        ({"updates": 2, "facts_per_step": 2}, r"stream\.updates is 2, but must be at most 1: "),
        ({"updates": -1}, r"stream\.updates is -1, but must be"),
        ({"updates": 1, "order": "subjects"}, r"stream\.updates is 1, but order is subjects, which keeps documents"),
        ({"updates": 1, "epochs": 2, "snapshots": []}, r"but epochs is 2 and order is shuffled, so that the old"),
        (
            {"updates": 1, "paraphrases": {"source": "model", "model": {"name": "a/b"}}},
            r"but paraphrases\.source is model, whose texts hold the old answer; change that, or set stream\.updates 0",
        ),
    ],
)
def test_updates_that_cannot_be_are_refused_before_anything_starts(changes, message):
    with pytest.raises(ConfigError, match=message):
        Experiment(tiny(stream=changes))


def test_updates_of_whole_texts_are_refused_and_updates_need_no_facts_of_the_data(tmp_path):
    def collection(stream, **facts):
        changes = {"data": {"collection": {"facts": facts}}, "stream": stream}
        return Experiment(merged(tiny(base={"min_recall": 0.0}, data=COLLECTION), changes))

    with pytest.raises(ConfigError, match=r"but data\.collection\.facts are medmcqa, whole texts that hold the old"):
        collection({"updates": 1}, format="medmcqa")
    with pytest.raises(ConfigError, match=r"stream\.num_facts is 8, but must be at most 7 \(.*num_rows \+ stream\.upd"):
        collection({"updates": 2, "num_facts": 8}, num_rows=5)
    collection({"updates": 3, "num_facts": 8}, num_rows=5)
    with pytest.raises(
        ConfigError, match=r"stream\.num_facts is 30, 5 of them stream\.updates but the data holds 8 new"
    ):
        draw_stream(PEOPLE, 30, "shuffled", 0, updates=5)


def test_the_question_of_an_update_is_that_of_the_fact_it_replaces():
    stream = with_updates(PEOPLE, PEOPLE, 4, seed=1)
    asked = {each.fact_id: PLAIN.prompt(each.question) for each in stream}
    assert all(asked[each.fact_id] == asked[each.replaces] for each in stream if each.replaces)
