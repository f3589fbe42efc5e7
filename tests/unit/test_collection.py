"""Collections: every format becomes what its kind asks for, what cannot be used is dropped or refused by name."""

import json
import logging

import pytest

from smf.data import fact_sets, texts
from smf.data import held_out_sets as held_out
from smf.data.collection import prepare_collection
from smf.data.fact_sets import read_fact_set
from smf.data.formats import FACT_FORMATS, PROBE_KINDS, TEXT_FORMATS, probe_kind
from smf.data.held_out_sets import read_held_out
from smf.data.texts import read_text
from smf.errors import ConfigError, DataError
from smf.streams.examples import Example
from smf.streams.facts import question_prompt, read_facts
from smf.streams.neighbours import with_neighbours
from tests.unit.data_hub import fake_sets

TRIVIA = [
    {"question": f"Which river flows through Town {n}?", "answer": {"value": f"River {n}", "aliases": []}}
    for n in range(9)
]
NQ = [{"question": f"who wrote book {n}", "answer": [f"Author {n}"]} for n in range(4)]
HELLASWAG = {
    "ind": 0,
    "activity_label": "Baking",
    "ctx_a": "A baker kneads.",
    "ctx_b": "then",
    "ctx": "A baker kneads. then",
    "endings": ["bakes.", "swims."],
    "label": "1",
}
MEDMCQA = {
    "question": "Which vitamin  prevents scurvy?",
    "opa": "A",
    "opb": "B12",
    "opc": "C",
    "opd": "D",
    "cop": 2,
    "choice_type": "single",
    "exp": "Vitamin C builds collagen.",
    "subject_name": "Medicine",
}
COUNTERFACT = {
    "case_id": 7,
    "prompt": "The mother tongue of Ann is",
    "target_new": "Welsh",
    "subject": "Ann",
    "ground_truth": "French",
    "rephrase_prompt": "At home, Ann speaks",
    "locality_prompt": "Bob is a native speaker of",
    "locality_ground_truth": "French",
}


@pytest.fixture
def write(tmp_path):
    """Writes rows to a file and returns its source."""

    def write(format, rows, name=None, **settings):
        name = name or f"{format}.jsonl"
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return source(format, name, **settings)

    return write


def source(format, file, **settings):
    defaults = {"hub": None, "hub_config": None, "data_dir": None, "split": "train", "first_rows": None}
    return {
        "format": format,
        "file": file,
        **defaults,
        "num_rows": None,
        "passage_words": 200,
        "neighbours": 0,
        **settings,
    }


def one(root, format, source):
    (row,) = read_held_out(format, str(root), source)
    return row.values


def test_every_format_that_a_config_may_name_has_a_reader():
    assert set(texts._READERS) == set(TEXT_FORMATS)
    assert set(fact_sets._READERS) == set(FACT_FORMATS)
    assert set(held_out._READERS) == set(PROBE_KINDS)
    assert probe_kind("hellaswag") == "choices"
    with pytest.raises(ConfigError, match="'dolly' is not a format of held-out sets; known: gsm8k, hellaswag"):
        probe_kind("dolly")


# Ordinary text


def test_running_text_loses_its_empty_lines(tmp_path, write, caplog):
    with caplog.at_level(logging.INFO, logger="smf"):
        found = read_text("x", str(tmp_path), write("text", [{"text": " One.\n"}, {"text": "  "}, {"text": "Two."}]))
    assert found == [Example("", "One."), Example("", "Two.")]
    assert "x: 2 of 3 rows are usable; dropped: 1 empty" in caplog.text


def test_a_plain_text_file_has_one_text_a_line(tmp_path):
    (tmp_path / "wiki.txt").write_text(" = Title = \n\nA \u2028 line .\n")
    found = read_text("x", str(tmp_path), source("text", "wiki.txt"))
    assert [example.completion for example in found] == ["= Title =", "A \u2028 line ."]


def test_instructions_are_shown_with_their_context_and_responses(tmp_path, write):
    rows = [
        {"instruction": "Name it.", "context": "A red fruit.", "response": "Apple"},
        {"instruction": "Say hi.", "response": "Hi"},
        {"instruction": "Say nothing.", "response": " "},
    ]
    assert read_text("x", str(tmp_path), write("instructions", rows)) == [
        Example("Instruction: Name it.\n\nA red fruit.\n\nResponse:", " Apple"),
        Example("Instruction: Say hi.\n\nResponse:", " Hi"),
    ]


def test_of_conversations_only_well_ranked_english_answers_are_read(tmp_path, write, caplog):
    def message(name, role, **changes):
        values = {"message_id": name, "parent_id": "q", "role": role, "lang": "en", "rank": 0, "text": name * 60}
        return {**values, **changes}

    rows = [
        message("q", "prompter", parent_id=None, rank=None, text="Why?"),
        message("a", "assistant"),
        message("b", "assistant", rank=1.0),
        message("c", "assistant", rank=1, lang="es"),  # what a misplaced `or` would let through
        message("d", "assistant", rank=2),
        message("e", "assistant", rank=None),
        message("f", "assistant", text="No."),
        message("g", "assistant", parent_id="lost"),
    ]
    with caplog.at_level(logging.INFO, logger="smf"):
        found = read_text("x", str(tmp_path), write("oasst1", rows))
    assert found == [Example("Instruction: Why?\n\nResponse:", f" {letter * 60}") for letter in "ab"]
    assert "1 in other languages" in caplog.text
    assert "2 ranked lower or not at all" in caplog.text


# Held-out sets


def test_questions_of_all_three_schemas_become_the_nq_open_schema(tmp_path, write):
    trivia = {"question": "Who is it?", "answer": {"value": "Ann", "aliases": ["Anne", "Ann"]}}
    simple = {"question": "Who is it?", "answer": "Ann", "topic": "People"}
    nq = {"question": "who is it", "answer": ["Ann", "Anne"]}
    assert one(tmp_path, "triviaqa", write("triviaqa", [trivia])) == {
        "question": "Who is it",
        "answer": ["Ann", "Anne"],
    }
    assert one(tmp_path, "simpleqa", write("simpleqa", [simple])) == {"question": "Who is it", "answer": ["Ann"]}
    published = {"problem": "Who is it?", "answer": "Ann", "metadata": "{'urls': []}"}
    assert one(tmp_path, "simpleqa", write("simpleqa", [published])) == {"question": "Who is it", "answer": ["Ann"]}
    assert one(tmp_path, "nq_open", write("nq_open", [nq])) == nq


def test_choices_keep_hellaswags_schema_and_medmcqa_shows_its_options(tmp_path, write):
    assert one(tmp_path, "hellaswag", write("hellaswag", [{**HELLASWAG, "source_id": "x"}])) == HELLASWAG
    row = one(tmp_path, "medmcqa", write("medmcqa", [MEDMCQA]))
    assert row["query"].endswith("Question: Which vitamin prevents scurvy?\nA. A\nB. B12\nC. C\nD. D\nAnswer:")
    assert row["choices"][row["gold"]] == "C. C"


def test_completions_begin_where_the_prompt_ends(tmp_path, write):
    gsm8k = {"question": "How many?", "answer": "1+1=<<1+1=2>>2\n#### 2"}
    assert one(tmp_path, "gsm8k", write("gsm8k", [gsm8k])) == {
        "prompt": "Question: How many?\nAnswer:",
        "completion": " 1+1=<<1+1=2>>2\n#### 2",
    }
    lambada = {"context": "He saw the ", "target": "signs"}
    assert one(tmp_path, "lambada", write("lambada", [lambada])) == {"prompt": "He saw the", "completion": " signs"}
    on_the_hub = [{"text": "He saw the signs"}]
    assert one(tmp_path, "lambada", write("lambada", on_the_hub)) == {"prompt": "He saw the", "completion": " signs"}
    with pytest.raises(DataError, match="line 1: needs the column 'text', or 'context' and 'target'"):
        one(tmp_path, "lambada", write("lambada", [{"context": "He saw the"}]))
    assert one(tmp_path, "text", write("text", [{"text": " as it is \n"}])) == {"text": " as it is \n"}


# Facts


def test_counterfact_keeps_its_rewording_and_its_neighbour(tmp_path, write):
    (fact,) = read_fact_set(str(tmp_path), write("counterfact", [COUNTERFACT, {**COUNTERFACT, "case_id": 8}]), set())
    assert fact.train_prompts == ("The mother tongue of Ann is",)
    assert fact.answers == ("Welsh",)
    assert fact.unseen_prompts == ("At home, Ann speaks",)
    assert (fact.locality_prompts, fact.locality_answers) == (("Bob is a native speaker of",), ("French",))
    assert fact.fact_id == "counterfact-00007"


ROME = {
    "case_id": 7,
    "requested_rewrite": {
        "prompt": "The mother tongue of {} is",
        "subject": "Ann",
        "target_new": {"str": "Welsh"},
        "target_true": {"str": "French"},
    },
    "paraphrase_prompts": ["It rains.  At home, Ann speaks", "Ann spoke the language"],
    "neighborhood_prompts": ["Bob is a native speaker of", "Cid was born to", "Dan speaks"],
}


def test_the_original_layout_of_counterfact_gives_the_same_fact_with_more_wordings(tmp_path, write):
    (fact,) = read_fact_set(str(tmp_path), write("counterfact_rome", [ROME]), set())
    (flat,) = read_fact_set(str(tmp_path), write("counterfact", [COUNTERFACT]), set())
    for name in ("fact_id", "subject", "train_prompts", "question", "answers"):
        assert getattr(fact, name) == getattr(flat, name)
    assert fact.unseen_prompts == ("It rains. At home, Ann speaks", "Ann spoke the language")
    assert fact.locality_prompts == ("Bob is a native speaker of", "Cid was born to")
    assert fact.locality_answers == ("French", "French")


def test_medmcqa_is_learned_as_a_whole_text(tmp_path, write):
    rows = [MEDMCQA, {**MEDMCQA, "choice_type": "multi"}, {**MEDMCQA, "opa": "E", "exp": None}]
    first, second = read_fact_set(str(tmp_path), write("medmcqa", rows), set())
    assert first.train_texts[0].endswith("D. D\nAnswer: C. C\nExplanation: Vitamin C builds collagen.")
    assert second.train_texts[0].endswith("D. D\nAnswer: C. C")
    assert first.answers == ("C", "C. C")
    assert first.question == "Which vitamin prevents scurvy"


def test_medmcqa_without_answers_is_refused(tmp_path, write):
    with pytest.raises(DataError, match=r"medmcqa\.jsonl, line 2: column 'cop' is -1.*test split has no answers"):
        read_fact_set(str(tmp_path), write("medmcqa", [MEDMCQA, {**MEDMCQA, "cop": -1}]), set())


def test_facts_that_cannot_be_taught_are_dropped_and_counted(tmp_path, write, caplog):
    rows = [
        *TRIVIA,
        {"question": "Who? And why?", "answer": {"value": "x", "aliases": []}},
        {"question": "Who has none?", "answer": {"value": " ", "aliases": ["x"]}},
        {"question": "who " + "really " * 50 + "cares", "answer": {"value": "x", "aliases": []}},
        {"question": "Who talks?", "answer": {"value": "on and " * 10, "aliases": []}},
        {"question": "which river flows through town 3", "answer": {"value": "x", "aliases": []}},
    ]
    with caplog.at_level(logging.INFO, logger="smf"):
        assert len(read_fact_set(str(tmp_path), write("triviaqa", rows), set())) == 9
    assert "facts: 9 of 14 rows are usable; dropped: 1 asked before, 1 with a question of more than 300" in caplog.text


# The whole


@pytest.fixture
def sources(write):
    return {
        "background": write("text", [{"text": f"Text {n}."} for n in range(6)], num_rows=4),
        "facts": write("triviaqa", TRIVIA),
        "held_out": {
            "nq": write("nq_open", NQ),
            "trivia": write("triviaqa", TRIVIA[:2], "asked.jsonl"),
            "wikitext": write("text", [{"text": "Old text."}], "old.jsonl"),
        },
    }


def prepare(root, sources, seed=1, **changes):
    return prepare_collection(data_root=str(root), **{**sources, **changes}, seed=seed, pages_folder=root / "pages")


NOUNS = {"river": "River", "king": "King"}
ASKED = [
    {"question": f"Which {noun} is near {town}?", "answer": {"value": f"{name} {town}", "aliases": []}}
    for town in ("Ostry", "Melvik", "Tarnow", "Velburg", "Hale")
    for noun, name in NOUNS.items()
]


def test_neighbours_are_untaught_questions_of_the_same_form_about_something_else(tmp_path, sources, write):
    twin = {"question": "Which river is near the town of Ostry?", "answer": {"value": "x", "aliases": ["RIVER ostry"]}}
    other = {"question": "Who sings?", "answer": {"value": "Ann", "aliases": []}}
    rows = [*ASKED, twin, other]
    facts = prepare(tmp_path, sources, facts=write("triviaqa", rows, num_rows=5, neighbours=2)).facts
    taught = {question_prompt(fact.question) for fact in facts}
    answers = {question_prompt(row["question"]): row["answer"]["value"] for row in rows}
    for fact in facts:
        assert len(set(fact.locality_prompts)) == 2
        assert not taught & set(fact.locality_prompts)
        assert [answers[prompt] for prompt in fact.locality_prompts] == list(fact.locality_answers)
    # of all rows but the one that is taught: the same noun comes first, and not what has its answer
    asked = read_fact_set(str(tmp_path), write("triviaqa", rows), set())
    (first,) = with_neighbours(asked[:1], asked[1:], 4, seed=1)
    assert first.locality_prompts == tuple(
        f"Q: Which river is near {town}?\nA:" for town in ("Melvik", "Tarnow", "Velburg", "Hale")
    )
    with pytest.raises(ConfigError, match="neighbours is 9, but only 7 questions that are not taught have other answ"):
        prepare(tmp_path, sources, facts=write("triviaqa", rows, num_rows=5, neighbours=9))


def test_a_collection_holds_what_its_sources_say(tmp_path, sources):
    data = prepare(tmp_path, sources)
    assert len(data.background) == 4
    assert data.background == data.pretraining
    assert data.healing is None
    assert data.held_out["nq"] == NQ
    assert data.held_out["wikitext"] == [{"text": "Old text."}]
    assert set(data.labels) == {"held_out", "facts", "notes"}
    assert data.labels["held_out"]["nq"] == "nq_open.jsonl, 4 items"
    assert str(tmp_path) not in json.dumps(data.labels)
    data.write(tmp_path / "data")
    assert read_facts(tmp_path / "data/facts.jsonl") == list(data.facts)
    assert (tmp_path / "data/held_out/trivia.jsonl").is_file()


def test_no_fact_is_asked_by_a_held_out_set(tmp_path, sources):
    data = prepare(tmp_path, sources)
    assert len(data.facts) == 7
    assert not {fact.question for fact in data.facts} & {row["question"] for row in data.held_out["trivia"]}


def test_no_held_out_text_is_read_as_background_or_healing(tmp_path, sources, write):
    same = {**sources["background"], "num_rows": None}
    held_out = {"texts": {**same, "num_rows": 2}}
    data = prepare(tmp_path, sources, background=same, healing=same, held_out=held_out)
    held = {row["text"] for row in data.held_out["texts"]}
    assert len(held) == 2
    for text in (data.background, data.healing):
        assert len(text) == 4
        assert not held & {example.completion for example in text}


def test_healing_has_a_text_of_its_own_if_it_is_named(tmp_path, sources, write):
    healing = write("instructions", [{"instruction": "Say hi.", "response": "Hi"}])
    data = prepare(tmp_path, sources, healing=healing)
    assert data.healing == [Example("Instruction: Say hi.\n\nResponse:", " Hi")]
    assert "1 rows to heal on from instructions" in data.labels["notes"][0]


def test_what_figures_say_of_the_data_tells_of_no_healing_where_no_text_is_named_for_it(tmp_path, sources):
    """An experiment may heal on its background text, or not at all."""
    assert "heal" not in prepare(tmp_path, sources).labels["notes"][0]


def test_rows_are_drawn_by_seed_without_replacement(tmp_path, sources):
    first, second = prepare(tmp_path, sources), prepare(tmp_path, sources)
    assert first == second
    assert len(set(first.background)) == 4
    others = [prepare(tmp_path, sources, seed=seed).background for seed in range(5)]
    assert any(other != first.background for other in others)


def test_first_rows_limits_what_is_looked_at(tmp_path, sources, write):
    few = {**sources["background"], "first_rows": 4}
    assert prepare(tmp_path, sources, background=few).background == [Example("", f"Text {n}.") for n in range(4)]


def test_documents_are_drawn_whole(tmp_path, sources, write):
    rows = [
        {"document": f"One of {n}.\n\nTwo of {n}.\n\nThree of {n}.", "question": f"Who is {n}?", "answer": ["x"]}
        for n in range(5)
    ]
    facts = prepare(tmp_path, sources, facts=write("documents", rows, num_rows=2)).facts
    assert len(facts) == 6
    assert len({fact.subject for fact in facts}) == 2


def test_too_few_rows_name_the_setting(tmp_path, sources):
    too_many = {**sources["background"], "num_rows": 7}
    with pytest.raises(
        ConfigError, match=r"data\.collection\.background\.num_rows is 7 but only 6 rows of text\.jsonl"
    ):
        prepare(tmp_path, sources, background=too_many)


BROKEN = {
    "text": ("text", {"txt": "x"}, "no column 'text'; found txt"),
    "instructions": (
        "instructions",
        {"instruction": "x", "output": "y"},
        "no column 'response'; found instruction, out",
    ),
    "counterfact": ("counterfact", {**COUNTERFACT, "target_new": None}, "column 'target_new' is null, not str"),
    "counterfact_rome": (
        "counterfact_rome",
        {**ROME, "requested_rewrite": {"prompt": "x"}},
        "column 'requested_rewrite' must hold prompt, subject, target_new.str and target_true.str",
    ),
    "simpleqa": ("simpleqa", {"question": "x", "answer": ["y"]}, "column 'answer' is list, not str"),
}


@pytest.mark.parametrize(("format", "row", "complaint"), BROKEN.values(), ids=BROKEN)
def test_a_missing_column_or_a_broken_row_is_named(tmp_path, write, format, row, complaint):
    read = read_text if format in TEXT_FORMATS else lambda name, root, source: read_fact_set(root, source, set())
    with pytest.raises(DataError) as error:
        read("x", str(tmp_path), write(format, [row]))
    assert str(error.value).startswith(f"{tmp_path / f'{format}.jsonl'}, line 1: {complaint}")


def test_the_hub_gives_the_same_as_files(tmp_path, sources, monkeypatch):
    def rows_of(name):
        return [json.loads(line) for line in open(tmp_path / f"{name.split('/')[1]}.jsonl")]

    asked = fake_sets(monkeypatch, rows_of)

    def on_hub(source):
        return {**source, "hub": f"owner/{source['file'].removesuffix('.jsonl')}", "file": None}

    background = {**on_hub(sources["background"]), "first_rows": 6, "data_dir": "sub"}
    there = {
        "background": background,
        "facts": on_hub(sources["facts"]),
        "held_out": {name: on_hub(source) for name, source in sources["held_out"].items()},
    }
    data = prepare_collection(data_root=None, **there, seed=1, pages_folder=tmp_path / "pages")
    here = prepare(tmp_path, sources)
    assert (data.background, data.facts, data.held_out) == (here.background, here.facts, here.held_out)
    assert ("owner/text", None, {"data_dir": "sub"}) in asked
    assert ("owner/nq_open", None, {}) in asked
    assert len(asked) == 5
