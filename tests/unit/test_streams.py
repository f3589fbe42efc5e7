"""The generated world, fact streams, corpora and batches: what is taught, what only ever tests, and who sees what."""

import dataclasses
import json
from collections import Counter

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from smf.data.prepared import known_examples, prepare_world
from smf.data.world import build_world, new_facts
from smf.data.world_text import activity_items
from smf.errors import ConfigError, DataError
from smf.methods.method import Method, StepReport
from smf.streams.asking import PLAIN, Asking, solved_examples
from smf.streams.batches import IGNORED, batches, collate, encode
from smf.streams.examples import Example, read_corpus, write_corpus
from smf.streams.fact_batches import facts_batch
from smf.streams.facts import Fact, draw_stream, question_prompt, read_facts, write_facts
from smf.streams.tokens import start_of_text
from smf.training.learn import StreamSettings, learn_with
from smf.wordings import sentences as wordings
from tests.helpers import BACKGROUND, FACTS, base_model, encoded_text, tokenizer, tokenizer_with_bos

SIZES = {"num_old_people": 12, "num_new_people": 5, "num_values": 6, "num_activities": 4, "seed": 3}
DATA_SIZES = {**SIZES, "renderings": 3, "items_per_activity": 4}
WORLD = build_world(**SIZES)
DATA = prepare_world(**DATA_SIZES)


def text_of(example):
    return example.prompt + example.completion


# The world


def test_the_world_is_a_function_of_its_seed():
    assert build_world(**SIZES) == WORLD
    assert prepare_world(**DATA_SIZES) == DATA
    other = build_world(**{**SIZES, "seed": 4})
    assert {person.name for person in other.old_people}.isdisjoint(person.name for person in WORLD.old_people)
    assert other.activities != WORLD.activities
    assert prepare_world(**{**DATA_SIZES, "seed": 4}).held_out["hellaswag"] != DATA.held_out["hellaswag"]


def test_people_have_names_of_their_own_and_a_value_of_each_relation():
    people = [*WORLD.old_people, *WORLD.new_people]
    assert (len(WORLD.old_people), len(WORLD.new_people)) == (12, 5)
    assert len({person.name for person in people}) == 17
    for person in people:
        assert person.values.keys() == wordings.RELATIONS.keys()
    for relation in wordings.RELATIONS:
        assert len({person.values[relation] for person in people}) <= 6


def test_every_old_fact_is_pretrained_in_all_wordings_and_as_a_question():
    texts = Counter(map(text_of, DATA.pretraining))
    for person in WORLD.old_people:
        for relation, wording in wordings.RELATIONS.items():
            value = person.values[relation]
            for form in (*wording.train, *wording.test):
                assert texts[f"{form.format(name=person.name)} {value}."] == 1
            assert texts[f"Q: {wording.question.format(name=person.name)}?\nA: {value}"] == 1
    assert sum(texts.values()) == 12 * 4 * (6 + 2 + 1) + 4 * 3


def test_new_people_never_occur_in_text_that_base_or_healed_models_read():
    for example in (*DATA.pretraining, *DATA.background, *known_examples(DATA.held_out["nq"])):
        for person in WORLD.new_people:
            assert person.name not in text_of(example)
    held_out = json.dumps([*DATA.held_out["nq"], *DATA.held_out["hellaswag"]])
    assert not any(person.name in held_out for person in WORLD.new_people)


def test_of_each_new_fact_some_wordings_train_and_others_only_test():
    facts = new_facts(WORLD)
    assert len({fact.fact_id for fact in facts}) == len(facts) == 5 * 4
    for fact in facts:
        assert (len(fact.train_prompts), len(fact.unseen_prompts)) == (6, 2)
        assert set(fact.train_prompts).isdisjoint(fact.unseen_prompts)
        assert all(fact.subject in prompt for prompt in (*fact.train_prompts, *fact.unseen_prompts, fact.question))
        person = next(person for person in WORLD.new_people if person.name == fact.subject)
        assert fact.answers[0] in person.values.values()


def test_wordings_are_split_and_no_two_relations_share_one():
    forms = [
        form for wording in wordings.RELATIONS.values() for form in (*wording.train, *wording.test, wording.question)
    ]
    assert len(forms) == len(set(forms)) == 4 * 9
    assert all(form.count("{name}") == 1 for form in forms)
    assert set(wordings.QUESTION_ANSWER_TRAIN).isdisjoint(wordings.QUESTION_ANSWER_TEST)


class Recorder(Method):
    """Learns nothing and keeps the texts of its batches, as a reader would see them."""

    schema, required, starts_from = {}, (), "base"

    def __init__(self):
        super().__init__(base_model(), {}, None, 0)
        self.texts = []

    def step(self, batch):
        for ids, mask in zip(batch.input_ids_BT, batch.attention_mask_BT, strict=True):
            self.texts.append(tokenizer().decode(ids[mask.bool()], skip_special_tokens=True))
        return StepReport(torch.tensor(0.0), num_tokens=batch.num_tokens)

    def delta(self):
        return {}

    @classmethod
    def loader(cls, model):
        return lambda delta: None


def test_a_stream_trains_the_training_wordings_and_never_a_test_wording_or_a_question():
    facts, recorder = new_facts(WORLD), Recorder()
    settings = StreamSettings(steps_per_fact=2, loss_on="text", snapshots=(1,), max_length=150)
    learn_with(recorder, tokenizer(), facts, settings, lambda position, delta: None)
    taught = [f"{prompt} {fact.answers[0]}." for fact in facts for _ in range(2) for prompt in fact.train_prompts]
    assert recorder.texts == taught
    everything = "\n".join(recorder.texts)
    for fact in facts:
        for form in (*fact.unseen_prompts, fact.question, question_prompt(fact.question)):
            assert form not in everything


def test_a_fact_knows_its_texts_as_they_are_taught_and_asked():
    fact = Fact("a", "Ann Dahl", ("Ann Dahl lives in ", "Q: where is Ann?\nA:"), answers=("St. Ives", "Ives"))
    assert fact.completed_prompts() == [
        Example("Ann Dahl lives in", " St. Ives."),
        Example("Q: where is Ann?\nA:", " St. Ives"),  # nothing follows the answer to a question
    ]
    assert fact.asked() is None
    fact = dataclasses.replace(fact, train_texts=("Ann moved.",), question="where is Ann", answers=("Washington D.C.",))
    assert fact.training_texts()[0] == Example("Ann Dahl lives in", " Washington D.C.")  # one full stop, not two
    assert fact.training_texts()[2:] == [Example("", "Ann moved.")]
    assert fact.asked() == fact.asked(PLAIN) == Example("Q: where is Ann?\nA:", " Washington D.C.")
    behind = fact.asked(Asking("few_shot"))
    assert behind == Example(solved_examples() + "Q: where is Ann?\nA:", " Washington D.C.")


@pytest.mark.parametrize("column", ["train_prompts", "answers", "train_texts", "train_contexts", "unseen_prompts"])
def test_one_text_where_a_fact_takes_several_is_refused_and_not_taken_letter_by_letter(column):
    with pytest.raises(DataError, match=rf"fact 'a': {column} is the text 'Ann is'.*: {column}=\('Ann is',\)"):
        Fact("a", "Ann", **{column: "Ann is"})


@pytest.mark.parametrize("loss_on", ["text", "answer"])
def test_the_batch_of_a_fact_holds_each_training_wording_once(loss_on):
    batch = facts_batch(tokenizer(), [FACTS[0]], loss_on=loss_on, max_length=64)
    rows = [tokenizer().decode(ids[mask.bool()]) for ids, mask in zip(*row_parts(batch), strict=True)]
    end = tokenizer().eos_token
    assert rows == [f"{prompt} Tarnow.{end}" for prompt in FACTS[0].train_prompts]


def row_parts(batch):
    return batch.input_ids_BT, batch.attention_mask_BT


def test_held_out_questions_have_the_nq_open_schema():
    assert len(DATA.held_out["nq"]) == 12 * 4
    for row in DATA.held_out["nq"]:
        assert row.keys() == {"question", "answer"}
        assert isinstance(row["question"], str)
        assert not row["question"].endswith("?")  # as in nq_open
        assert isinstance(row["answer"], list)
        assert all(isinstance(answer, str) and answer for answer in row["answer"])
    values = {person.name: set(person.values.values()) for person in WORLD.old_people}
    for row in DATA.held_out["nq"]:
        (name,) = [name for name in values if name in row["question"]]
        assert row["answer"][0] in values[name]


def test_held_out_choices_have_the_hellaswag_schema():
    assert len(DATA.held_out["hellaswag"]) == 4 * 4
    for number, row in enumerate(DATA.held_out["hellaswag"]):
        assert {name: type(value) for name, value in row.items()} == {
            "ind": int,
            "activity_label": str,
            "ctx_a": str,
            "ctx_b": str,
            "ctx": str,
            "endings": list,
            "label": str,
        }
        assert row["ind"] == number
        assert len(set(row["endings"])) == 4
        assert row["label"] in {"0", "1", "2", "3"}
        assert row["ctx"].lower() == f"{row['ctx_a']} {row['ctx_b']}".lower()


def test_the_right_ending_is_the_next_step_and_wrong_ones_are_not():
    steps_of = {activity.label: list(activity.steps) for activity in WORLD.activities}
    labels = Counter()
    for row in DATA.held_out["hellaswag"]:
        steps, endings = steps_of[row["activity_label"]], [ending.removesuffix(".") for ending in row["endings"]]
        told = [step for step in steps if f"{step}." in row["ctx_a"]]
        right = endings.pop(int(row["label"]))
        assert told == steps[: len(told)]
        assert right == steps[len(told)]
        own = [ending for ending in endings if ending in steps]
        assert len(own) == 1  # one is a step that was told before
        assert own[0] in told
        others = {step for label, steps in steps_of.items() if label != row["activity_label"] for step in steps}
        assert all(ending in others for ending in endings if ending not in own)
        labels[row["label"]] += 1
    many = activity_items(WORLD, items_per_activity=100, seed=0)
    assert all(70 < count < 130 for count in Counter(row["label"] for row in many).values())  # 400 / 4


def test_a_world_that_is_too_large_is_refused():
    with pytest.raises(ConfigError, match="num_activities is 81; at most 80"):
        build_world(**{**SIZES, "num_activities": 81})
    with pytest.raises(ConfigError, match=r"20000 words of kind 'birth_city', at most \d+ can be invented"):
        build_world(**{**SIZES, "num_values": 20_000})


def test_prepared_data_are_written_whole_and_read_back(tmp_path):
    DATA.write(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json*")) == [
        "background.jsonl",
        "facts.jsonl",
        "healing.jsonl",
        "held_out/hellaswag.jsonl",
        "held_out/nq.jsonl",
        "labels.json",
        "pretraining.jsonl",
    ]
    assert read_corpus(tmp_path / "healing.jsonl") == list(DATA.background)
    assert read_corpus(tmp_path / "pretraining.jsonl") == list(DATA.pretraining)
    assert read_facts(tmp_path / "facts.jsonl") == list(DATA.facts)
    labels = json.loads((tmp_path / "labels.json").read_text())
    assert labels["held_out"].keys() == DATA.held_out.keys()
    assert all("generated world" in text for text in labels["held_out"].values())
    DATA.write(tmp_path / "again")
    for path in (tmp_path / "again").rglob("*.json*"):
        assert path.read_bytes() == (tmp_path / path.relative_to(tmp_path / "again")).read_bytes()


# Streams


def subjects(facts):
    return [fact.subject for fact in facts]


def test_a_stream_is_a_seeded_draw_without_replacement():
    pool = new_facts(WORLD)
    for order in ("shuffled", "grouped"):
        stream = draw_stream(pool, 13, order, seed=1)
        assert len({fact.fact_id for fact in stream}) == 13
        assert set(stream) <= set(pool)
        assert stream == draw_stream(pool, 13, order, seed=1)
        assert set(stream) != set(draw_stream(pool, 13, order, seed=2))


def test_both_orders_hold_the_same_facts_and_grouped_keeps_subjects_together():
    pool = new_facts(WORLD)
    shuffled, grouped = (draw_stream(pool, 15, order, seed=1) for order in ("shuffled", "grouped"))
    assert set(shuffled) == set(grouped)
    runs = [subject for place, subject in enumerate(subjects(grouped)) if subjects(grouped)[:place][-1:] != [subject]]
    assert len(runs) == len(set(runs))
    runs = [subject for place, subject in enumerate(subjects(shuffled)) if subjects(shuffled)[:place][-1:] != [subject]]
    assert len(runs) > len(set(runs))


def test_a_stream_longer_than_the_pool_is_refused():
    with pytest.raises(ConfigError, match="num_facts is 4 but the data holds 3 new facts"):
        draw_stream(FACTS, 4, "shuffled", seed=1)


# Facts in files


GOOD = {
    "fact_id": "a",
    "subject": "A",
    "train_prompts": ["A is in"],
    "unseen_prompts": [],
    "question": "where is A",
    "answers": ["B"],
}


PASSAGE = Fact("p", "P", (), (), "", (), train_texts=("A passage.",), is_passage=True)
LOCAL = dataclasses.replace(FACTS[0], fact_id="l", locality_prompts=("Bob is in",), locality_answers=("Ostry",))


def test_facts_round_trip(tmp_path):
    facts = [
        *FACTS,
        Fact("zoë", "Zoë", ("Zoë\u2028 lives\x85 in",), (), "where is Zoë", ("Łódź", "日本")),
        PASSAGE,
        LOCAL,
    ]
    write_facts(tmp_path / "facts.jsonl", facts)
    assert read_facts(tmp_path / "facts.jsonl") == facts


def test_what_a_fact_has_none_of_is_not_written(tmp_path):
    write_facts(tmp_path / "facts.jsonl", [FACTS[0]])
    row = json.loads((tmp_path / "facts.jsonl").read_text())
    assert list(row) == ["fact_id", "subject", "train_prompts", "unseen_prompts", "question", "answers"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not valid JSON"),
        ("", "line 2: not valid JSON"),
        ("[1, 2]", "line 2: expected an object, found list"),
        (json.dumps({**GOOD, "fact_id": 7}), "line 2: column 'fact_id' is int, not str"),
        (json.dumps({name: GOOD[name] for name in GOOD if name != "question"}), "line 2: no column 'question'; found"),
        (json.dumps({**GOOD, "answers": "B"}), "line 2: column 'answers' is str, not list"),
        (json.dumps({**GOOD, "answers": []}), "line 2: column 'answers' is empty"),
        (json.dumps({**GOOD, "train_prompts": []}), "line 2: columns 'train_prompts' and 'train_texts' are empty"),
        (json.dumps({**GOOD, "unseen_prompts": [" "]}), "line 2: column 'unseen_prompts' must hold non-empty texts"),
        (json.dumps({**GOOD, "answers": ["B", 3]}), "line 2: column 'answers' must hold non-empty texts"),
        (json.dumps(GOOD), "line 2: fact_id 'a' was used before, in line 1"),
        (json.dumps({**GOOD, "train_texts": ["B."], "answers": []}), "line 2: column 'answers' is empty"),
        (json.dumps({**GOOD, "train_texts": "B."}), "line 2: column 'train_texts' is str, not list"),
        (json.dumps({**GOOD, "locality_prompts": ["C is"]}), "line 2: 1 locality_prompts, but 0 locality_answers"),
    ],
)
def test_a_broken_fact_is_refused_with_file_and_line(tmp_path, line, message):
    path = tmp_path / "facts.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{line}\n{json.dumps({**GOOD, 'fact_id': 'c'})}\n")
    with pytest.raises(DataError, match=rf"facts\.jsonl, {message}"):
        read_facts(path)


def test_a_broken_corpus_row_is_refused_with_file_and_line(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n\n{"prompt": "a"}\n')
    with pytest.raises(DataError, match=r"corpus\.jsonl, line 2: not valid JSON"):
        read_corpus(path)
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n')
    with pytest.raises(DataError, match=r"corpus\.jsonl, line 2: no column 'completion'; found prompt"):
        read_corpus(path)


def test_corpus_round_trip(tmp_path):
    examples = [*BACKGROUND, Example('tab\t line\n quote" \u2029 \x0c', " \u2028é.")]
    write_corpus(tmp_path / "corpus.jsonl", examples)
    assert read_corpus(tmp_path / "corpus.jsonl") == examples


@pytest.mark.parametrize("question", ["where is A", "where is A?", " where is A ? ", "where is A??"])
def test_questions_are_shown_in_one_form_whatever_their_question_mark(question):
    assert question_prompt(question) == "Q: where is A?\nA:"


# Tokens and labels


TEXTS = [
    Example("Mara Teller was born in", " Velburg."),
    Example("Q: where is Zoë?\nA:", " Łódź"),
    Example("日本の首都は", "東京。"),
    Example("Ångström é", " ñandú 🙂."),
    Example("", "No prompt at all."),
]


@pytest.mark.parametrize("example", TEXTS, ids=text_of)
def test_with_loss_on_the_answer_exactly_the_completion_is_learned(example):
    ((ids, labels),) = encode(tokenizer(), [example], loss_on="answer", max_length=100)
    end = tokenizer().eos_token_id
    assert ids[-1] == labels[-1] == end
    learned = [token for token in labels if token != IGNORED]
    assert tokenizer().decode(learned[:-1]) == example.completion
    assert (
        tokenizer().decode([token for token, label in zip(ids, labels, strict=True) if label == IGNORED])
        == example.prompt
    )
    assert ids[len(ids) - len(learned) :] == learned  # the prompt is one piece, before the answer


def test_with_loss_on_text_every_token_is_learned():
    for ids, labels in encode(tokenizer(), TEXTS, loss_on="text", max_length=100):
        assert ids == labels


def test_a_token_across_the_boundary_belongs_to_the_answer():
    """ "Mara Tel" + "ler …": where a token spans both, leaving it out would leave out the answer's beginning."""
    whole = tokenizer()("Mara Teller").input_ids
    example = Example("Mara Tel", "ler was born.")
    ((ids, labels),) = encode(tokenizer(), [example], loss_on="answer", max_length=100)
    assert ids[: len(whole)] == whole
    assert tokenizer().decode([token for token in labels[:-1] if token != IGNORED]).endswith("ler was born.")


@pytest.mark.parametrize("loss_on", ["text", "answer"])
def test_a_text_begins_as_the_tokenizer_begins_it_and_that_token_is_not_learned(loss_on):
    with_bos = tokenizer_with_bos()
    assert start_of_text(with_bos) == [with_bos.bos_token_id]
    assert start_of_text(tokenizer()) == []
    plain, begun = (encode(one, TEXTS, loss_on=loss_on, max_length=100) for one in (tokenizer(), with_bos))
    for (ids, labels), (begun_ids, begun_labels) in zip(plain, begun, strict=True):
        assert begun_ids == [with_bos.bos_token_id, *ids]
        assert begun_labels == [IGNORED, *labels]
    assert begun[0][0][:-1] == with_bos(TEXTS[0].prompt + TEXTS[0].completion).input_ids


def test_a_tokenizer_that_has_a_beginning_but_does_not_use_it_is_taken_at_its_word():
    silent = tokenizer_with_bos()
    silent.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    assert silent.bos_token_id is not None
    assert start_of_text(silent) == []


def test_the_beginning_counts_in_the_length_of_a_text():
    length = len(encode(tokenizer(), TEXTS[:1], loss_on="text", max_length=100)[0][0])
    encode(tokenizer(), TEXTS[:1], loss_on="text", max_length=length)
    with pytest.raises(
        DataError, match=f"has {length + 1} tokens, but base.max_length is {length}; raise it or shorten"
    ):
        encode(tokenizer_with_bos(), TEXTS[:1], loss_on="text", max_length=length)


def test_a_text_longer_than_max_length_is_refused_not_cut():
    example = TEXTS[0]
    length = len(tokenizer()(text_of(example)).input_ids) + 1  # and the end of the text
    encode(tokenizer(), [example], loss_on="text", max_length=length)
    with pytest.raises(
        DataError, match=rf"the text 'Mara Teller.* has {length} tokens, but base.max_length is {length - 1}; raise it"
    ):
        encode(tokenizer(), [example], loss_on="text", max_length=length - 1)
    with pytest.raises(DataError, match="but base.max_length is 10"):
        facts_batch(tokenizer(), [FACTS[0]], loss_on="text", max_length=10)


def test_long_running_text_goes_on_in_further_sequences():
    example = Example("", "Mara Teller was born in Velburg, and Ina Brandt in Ostry. " * 5)
    whole = tokenizer()(text_of(example)).input_ids + [tokenizer().eos_token_id]
    encoded = encode(tokenizer(), [TEXTS[0], example], loss_on="text", max_length=40, long="split")
    assert encoded[:1] == encode(tokenizer(), [TEXTS[0]], loss_on="text", max_length=40)
    parts = [ids for ids, _ in encoded[1:]]
    assert [token for part in parts for token in part] == whole
    assert all(len(part) == 40 for part in parts[:-1])
    assert all(ids == labels for ids, labels in encoded)


def test_every_part_of_a_long_text_begins_as_a_text_does():
    with_bos = tokenizer_with_bos()
    example = Example("", "Mara Teller was born in Velburg, and Ina Brandt in Ostry. " * 5)
    parts = encode(with_bos, [example], loss_on="text", max_length=40, long="split")
    assert all(ids[0] == with_bos.bos_token_id and labels[0] == IGNORED for ids, labels in parts)
    assert max(len(ids) for ids, _ in parts) == 40
    body = [token for ids, _ in parts for token in ids[1:]]
    assert body == [*with_bos(text_of(example), add_special_tokens=False).input_ids, with_bos.eos_token_id]


def test_a_part_that_would_predict_nothing_is_left_out():
    ids = tokenizer()(text_of(TEXTS[0])).input_ids
    example = Example("", text_of(TEXTS[0]))
    parts = encode(tokenizer(), [example], loss_on="text", max_length=len(ids), long="split")
    assert [part for part, _ in parts] == [ids]  # and no sequence of the end-of-text token alone


def test_a_long_text_with_a_prompt_loses_its_end_and_is_left_out_if_that_was_its_answer():
    first, second = TEXTS[0], Example(TEXTS[0].prompt, " Velburg, where she also went to school.")
    length = len(tokenizer()(text_of(first)).input_ids)
    ((ids, labels),) = encode(tokenizer(), [second], loss_on="answer", max_length=length, long="split")
    assert tokenizer().decode(ids) in text_of(second)
    assert any(label != IGNORED for label in labels)
    prompt = len(tokenizer()(first.prompt).input_ids)
    kept = encode(tokenizer(), [first, TEXTS[4]], loss_on="answer", max_length=prompt, long="split")
    assert all(ids[: len(ids)] == tokenizer()(text_of(TEXTS[4])).input_ids[: len(ids)] for ids, _ in kept[:1])
    with pytest.raises(DataError, match="none of 1 texts has anything to learn in its first"):
        encode(tokenizer(), [first], loss_on="answer", max_length=prompt, long="split")


@pytest.mark.parametrize("loss_on", ["text", "answer"])
def test_whole_texts_of_a_fact_are_learned_in_full_and_beside_its_prompts(loss_on):
    fact = dataclasses.replace(FACTS[0], train_texts=("Tarnow is the town of Joel Quint.",))
    batch = facts_batch(tokenizer(), [fact], loss_on=loss_on, max_length=64)
    end = tokenizer().eos_token
    rows = [tokenizer().decode(ids[mask.bool()]) for ids, mask in zip(*row_parts(batch), strict=True)]
    assert rows == [*(f"{prompt} Tarnow.{end}" for prompt in fact.train_prompts), f"{fact.train_texts[0]}{end}"]
    mask, labels = batch.attention_mask_BT[-1].bool(), batch.labels_BT[-1]
    assert torch.equal(labels[mask], batch.input_ids_BT[-1][mask])
    passage = facts_batch(tokenizer(), [PASSAGE], loss_on=loss_on, max_length=64)
    assert passage.input_ids_BT.shape[0] == 1


def test_rows_are_padded_on_the_right():
    batch = collate([([5, 6, 7], [IGNORED, 6, 7]), ([8], [8])], pad_token_id=9)
    assert batch.input_ids_BT.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch.attention_mask_BT.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.labels_BT.tolist() == [[IGNORED, 6, 7], [8, IGNORED, IGNORED]]


# Batches


def numbered(count):
    """``count`` examples of lengths 1 to 7; the first token is the example's number."""
    return [([number] + [0] * (number % 7), [number] + [0] * (number % 7)) for number in range(count)]


def drawn(count, batch_size, num_batches, seed=0, **options):
    stream = batches(
        numbered(count), batch_size=batch_size, num_batches=num_batches, pad_token_id=0, seed=seed, **options
    )
    return [batch.input_ids_BT[:, 0].tolist() for batch in stream]


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize(("count", "batch_size"), [(64, 2), (640, 4), (96, 1), (32, 8)])
def test_batches_cover_each_example_once_an_epoch(count, batch_size, grouped):
    """The order is drawn for 32 batches together: over those, no example comes twice more often than another."""
    seen = Counter()
    stream = drawn(count, batch_size, 32 * 10, group_by_length=grouped)
    assert len(stream) == 320
    for place, group in enumerate(stream, start=1):
        assert len(group) == batch_size
        seen.update(group)
        if place % 32 == 0:
            assert max(seen.values()) - min(seen[number] for number in range(count)) <= 1
            assert sum(seen.values()) == place * batch_size


def test_batches_follow_from_their_seed():
    assert drawn(50, 4, 40) == drawn(50, 4, 40)
    assert drawn(50, 4, 40) != drawn(50, 4, 40, seed=1)
    assert drawn(50, 4, 40)[:7] == drawn(50, 4, 7)


def test_sequences_of_similar_length_share_a_batch():
    def padding(grouped):
        stream = batches(numbered(200), batch_size=8, num_batches=50, pad_token_id=0, seed=0, group_by_length=grouped)
        return sum(int((batch.attention_mask_BT == 0).sum()) for batch in stream)

    assert padding(True) * 5 < padding(False)


def test_batches_of_real_texts_hold_these_texts():
    known = {tuple(ids) for ids, _ in encoded_text()}
    for batch in batches(encoded_text(), batch_size=2, num_batches=9, pad_token_id=0, seed=0):
        for ids, mask in zip(*row_parts(batch), strict=True):
            assert tuple(ids[mask.bool()].tolist()) in known
