"""Methods: what a step may change, what a delta restores, and the stream that all of them learn alike."""

import copy
import itertools
import sys

import pytest
import torch
import torch.nn.functional as F
from jsonschema import Draft202012Validator

import smf.methods
from smf.errors import CheckpointError, ConfigError, TrainingError
from smf.files.tensors import read_tensors, write_tensors
from smf.memory import record_slot_reads
from smf.methods.full import FullFinetuning
from smf.methods.loss import language_model_loss
from smf.methods.registry import method_class, method_kinds
from smf.models.memory_model import MemoryForCausalLM
from smf.models.retrofit import retrofit
from smf.selection.names import SELECTORS
from smf.streams.batches import IGNORED
from smf.streams.fact_batches import facts_batch
from smf.training.learn import StreamSettings, learn_with
from tests.helpers import (
    FACTS,
    MAX_LENGTH,
    TRAINED,
    background_counts,
    base_model,
    copy_of_state,
    logits,
    memory_model,
    memory_settings,
    method_settings,
    same_bytes,
    settings_schema,
    start_method,
    tokenizer,
)

OPTIMIZERS = {
    "sgd": {"optimizer": "sgd", "learning_rate": 1.0},
    "sgd-decay": {"optimizer": "sgd", "learning_rate": 1.0, "weight_decay": 0.1},
    "momentum": {"optimizer": "sgd", "learning_rate": 1.0, "momentum": 0.9},
    "adamw-decay": {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    "adagrad-decay": {"optimizer": "adagrad", "learning_rate": 0.01, "weight_decay": 0.1},
}
# Settings under which two steps on one fact differ, for each kind that takes steps.
LEARNING = {
    "full": {"learning_rate": 0.003},
    "lora": {"learning_rate": 0.03, "rank": 4},
    "smf": {"learning_rate": 3.0, "top_t": 6},
    "full_replay": {"learning_rate": 0.003},
    "lora_replay": {"learning_rate": 0.03, "rank": 4},
    "smf_replay": {"learning_rate": 3.0, "top_t": 6},
    "ewc": {"learning_rate": 0.003, "fisher_sequences": 3},
    "self_distillation": {"learning_rate": 0.003},
    "lora_self_distillation": {"learning_rate": 0.03, "rank": 4},
    "osf": {"learning_rate": 0.003},
    "memory_dense": {"learning_rate": 0.003},
    "peft": {"learning_rate": 0.03, "peft_config": {"r": 6}},
    "sparse": {"learning_rate": 0.03, "top_t": 6},
    "surprise_replay": {"learning_rate": 0.03, "rank": 4},
    "memit": {"learning_rate": 0.1, "blocks": [0, 1], "covariance_sequences": 12, "covariance_weight": 0.1},
    "ultraedit": {"learning_rate": 0.001, "blocks": [1, 2]},
    "retrieval": {},
}
SPARSE = ("smf", "smf_replay")
EDITORS = ("memit", "ultraedit")  # the model's norms hide how long their edits are
every_kind = pytest.mark.parametrize("kind", method_kinds())
every_trained_kind = pytest.mark.parametrize("kind", TRAINED)


def batch_of(fact, write_at="all", loss_on="text"):
    return facts_batch(tokenizer(), [fact], loss_on=loss_on, max_length=MAX_LENGTH, write_at=write_at)


def teach(method, fact, steps=1):
    """One lesson; returns the report of its last step."""
    batch = batch_of(fact, method.write_at)
    reports = [method.step(batch) for _ in range(steps)]
    method.end_lesson((FACTS.index(fact),))
    return reports[-1]


def selected_slots(method):
    return {block: layer.row_gradient.slots_R.tolist() for block, layer in method.model.memory_layers().items()}


def table_names(model):
    layers = model.memory_layers()
    return {
        name: block
        for name, parameter in model.named_parameters()
        for block, layer in layers.items()
        if parameter is layer.values_SV
    }


def test_every_kind_is_tried_here():
    assert sorted(LEARNING) == method_kinds()


def loss_of(model, batch):
    """The mean over labelled tokens, in the model's own precision; transformers' own loss is always float32."""
    logits_BTV = model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT).logits
    return F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), batch.labels_BT[:, 1:].flatten(), ignore_index=-100)


# What a step changes


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("pooled", [False, True], ids=["by layer", "pooled"])
def test_a_step_changes_exactly_its_own_slots_and_nothing_else(selector, optimizer, pooled):
    """After each step: slots outside this step's selection, keys, queries, gates and the base keep their bits."""
    model = memory_model(num_keys=40)  # so large that a batch leaves slots unread
    method = start_method("smf", model=model, selector=selector, top_t=5, pooled=pooled, **OPTIMIZERS[optimizer])
    tables, ever = table_names(model), {}
    at_start = copy_of_state(model)
    for fact in (*FACTS, FACTS[0]):  # the first fact comes again when its slots have momentum
        before = copy_of_state(model)
        report = method.step(batch_of(fact))
        selected = selected_slots(method)
        assert report.num_slots == {block: len(slots) for block, slots in selected.items()}
        if selector != "none":
            assert sum(report.num_slots.values()) == 2 * 5
            assert pooled or all(number == 5 for number in report.num_slots.values())
        for name, tensor in model.state_dict().items():
            if name not in tables:
                assert same_bytes(tensor, before[name]), name
                continue
            changed = (tensor != before[name]).any(dim=1).nonzero().flatten().tolist()
            # A selected slot stands still where its gradient is exactly zero, and nothing decays it: a slot of the top
            # layer that only the last token reads.
            assert set(changed) <= set(selected[tables[name]])
            assert changed == selected[tables[name]] or (changed and "decay" not in optimizer)
            others = [slot for slot in range(len(tensor)) if slot not in set(selected[tables[name]])]
            assert others
            assert same_bytes(tensor[others], before[name][others])
            ever.setdefault(name, set()).update(selected[tables[name]])
    for name, slots in ever.items():
        never = [slot for slot in range(1600) if slot not in slots]
        assert same_bytes(model.state_dict()[name][never], at_start[name][never])
        assert {int(slot) for slot in method.delta()[f"{tables[name]}.slots"]} == slots


def test_a_step_behind_an_output_gate_changes_slots_alone():
    model = memory_model(num_keys=40, output_gate="scalar", output_gate_init=0.7)
    method = start_method("smf", model=model, top_t=5, learning_rate=3.0)
    before = copy_of_state(model)
    method.step(batch_of(FACTS[0]))
    changed = {name for name, tensor in model.state_dict().items() if not same_bytes(tensor, before[name])}
    assert changed == set(table_names(model))


def dense_values_step(model, batch, learning_rate):
    """The tables after one step of dense SGD, with autograd through the whole table."""
    model = copy.deepcopy(model)
    for layer in model.memory_layers().values():
        layer.row_gradient = None
        layer.values_SV.requires_grad_(True)
    loss_of(model, batch).backward()
    return {
        block: (layer.values_SV - learning_rate * layer.values_SV.grad).detach()
        for block, layer in model.memory_layers().items()
    }


def test_selector_none_with_sgd_is_dense_sgd_on_the_values():
    model = memory_model().double()
    method = start_method("smf", model=model, selector="none", optimizer="sgd", learning_rate=2.0)
    for fact in FACTS:
        expected = dense_values_step(model, batch_of(fact), 2.0)
        before = {block: layer.values_SV.clone() for block, layer in model.memory_layers().items()}
        method.step(batch_of(fact))
        for block, layer in model.memory_layers().items():
            torch.testing.assert_close(layer.values_SV, expected[block], rtol=1e-9, atol=1e-12)
            assert (layer.values_SV - before[block]).abs().max() > 1e-3


@pytest.mark.parametrize("selector", ["tfidf", "kl", "tf", "random"])
@pytest.mark.parametrize("gate", [{}, {"output_gate": "scalar", "output_gate_init": 0.7}], ids=["no gate", "gate"])
def test_selected_slots_take_the_dense_step_and_the_others_none(selector, gate):
    model = memory_model(**gate).double()
    method = start_method("smf", model=model, selector=selector, top_t=7, optimizer="sgd", learning_rate=2.0)
    for fact in FACTS:
        expected = {block: layer.values_SV.clone() for block, layer in model.memory_layers().items()}
        dense = dense_values_step(model, batch_of(fact), 2.0)
        method.step(batch_of(fact))
        for block, slots in selected_slots(method).items():
            assert len(slots) == 7
            expected[block][slots] = dense[block][slots]
            torch.testing.assert_close(model.memory_layers()[block].values_SV, expected[block], rtol=1e-9, atol=1e-12)


def test_the_forward_pass_reads_all_slots_whatever_is_selected():
    """The loss of the first step is that of the start model, and does not depend on the selection."""
    batch = batch_of(FACTS[0])
    expected = loss_of(memory_model(), batch).item()
    for selector, top_t in (("tfidf", 1), ("tf", 20), ("none", 1)):
        assert start_method("smf", selector=selector, top_t=top_t).step(batch).loss.item() == expected


def test_only_slots_that_real_tokens_read_are_selected():
    """A wide batch whose padding reads other slots than its text does."""
    model = memory_model(num_keys=40)
    method = start_method("smf", model=model, selector="none")
    batch = batch_of(FACTS[0])
    assert (batch.attention_mask_BT == 0).any()
    with torch.no_grad(), record_slot_reads(model.memory_layers()) as reads:
        model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT)
    method.step(batch)
    poison = False
    for block, read in reads.items():
        of_text, of_padding = set(), set()
        for row in range(len(batch.input_ids_BT)):
            for column in range(batch.input_ids_BT.shape[1]):
                real = bool(batch.attention_mask_BT[row, column])
                (of_text if real else of_padding).update(read.slot_indices_BTHK[row, column].flatten().tolist())
        assert selected_slots(method)[block] == sorted(of_text)
        poison |= not of_padding <= of_text
    assert poison  # otherwise this test could not fail


def test_nothing_of_the_tables_size_is_left_after_a_step():
    method = start_method("smf", optimizer="adamw", top_t=3)
    for fact in FACTS:
        method.step(batch_of(fact))
    assert all(parameter.grad is None for parameter in method.model.parameters())
    for layer in method.model.memory_layers().values():
        assert layer.row_gradient.gradient_RV.shape == (3, 16)


def test_lora_starts_at_the_base_and_leaves_its_weights_untouched():
    before, start = logits(base_model()), copy_of_state(base_model())
    method = start_method("lora", **LEARNING["lora"])
    assert same_bytes(logits(method.model), before)
    for fact in FACTS:
        method.step(batch_of(fact))
    assert not torch.equal(logits(method.model), before)
    found = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): tensor
        for name, tensor in method.model.state_dict().items()
        if "lora_" not in name
    }
    assert found.keys() == start.keys()
    for name, tensor in found.items():
        assert same_bytes(tensor, start[name]), name


def test_lora_adapts_all_linear_maps_of_the_blocks_or_the_named_ones():
    names = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in start_method("lora").delta()}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    named = start_method("lora", target_modules=["q_proj", "down_proj"], rank=3).delta()
    assert {name.split(".lora_")[0].rsplit(".", 1)[1] for name in named} == {"q_proj", "down_proj"}
    assert {3} == {min(tensor.shape) for tensor in named.values()}


@pytest.mark.parametrize(
    ("optimizer", "reference"),
    [
        ({"optimizer": "sgd"}, lambda parameters: torch.optim.SGD(parameters, lr=0.1)),
        (
            {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01},
            lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
        ),
        ({}, lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.0, fused=True)),
        (
            {"optimizer": "adamw", "weight_decay": 0.2},
            lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.2, fused=True),
        ),
    ],
    ids=["sgd", "momentum-decay", "default", "adamw-decay"],
)
def test_full_finetuning_steps_all_weights_with_the_optimizer_of_its_settings(optimizer, reference):
    method, model = start_method("full", **optimizer), base_model()
    by_hand = reference(model.parameters())
    for fact in FACTS:
        batch = batch_of(fact)
        report = method.step(batch)
        by_hand.zero_grad()
        loss = language_model_loss(model, batch)
        torch.testing.assert_close(loss, loss_of(model, batch))
        loss.backward()
        by_hand.step()
        assert report.loss.item() == loss.item()
        assert report.num_slots == {}
        for name, weight in model.named_parameters():
            torch.testing.assert_close(method.model.get_parameter(name), weight)


@pytest.mark.parametrize("loss_on", ["text", "answer"])
@every_trained_kind
def test_the_loss_of_a_step_is_the_mean_over_labelled_tokens(kind, loss_on):
    method = start_method(kind, **LEARNING[kind])
    batch = batch_of(FACTS[1], method.write_at, loss_on)
    with torch.no_grad():
        logits_BTW = method.model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT).logits
    log_probabilities = logits_BTW.log_softmax(-1)
    losses = []
    for row, labels in enumerate(batch.labels_BT.tolist()):
        for place, label in list(enumerate(labels))[1:]:  # a text's first token has nothing to be predicted from
            if label != IGNORED:
                losses.append(-float(log_probabilities[row, place - 1, label]))
    num_predicted = int(batch.attention_mask_BT.sum()) - len(batch.labels_BT)
    assert len(losses) == num_predicted if loss_on == "text" else len(losses) < num_predicted
    assert method.step(batch).loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


# Deltas


def learned(kind):
    """A method after each of three facts: its deltas, and the logits that belong to them."""
    method = start_method(kind, **LEARNING[kind])
    deltas, expected = {}, {}
    for position, fact in enumerate(FACTS, start=1):
        teach(method, fact, steps=2)
        deltas[position], expected[position] = method.delta(), logits(method.model)
    return deltas, expected


@every_trained_kind
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 2, 3, 1, 3)], ids=str)
def test_deltas_restore_the_logits_bit_for_bit_in_any_order_also_without_what_learning_takes(kind, order, tmp_path):
    deltas, expected = learned(kind)
    assert not any(torch.equal(expected[first], expected[second]) for first, second in ((1, 2), (2, 3), (1, 3)))
    for position, delta in deltas.items():
        write_tensors(tmp_path / f"{position}.safetensors", delta, {"position": position})
    method = start_method(kind, seed=99, **LEARNING[kind])
    healed = type(method).starts_from == "healed"
    holder = type(method).holder(memory_model() if healed else base_model(), method.settings)
    for position in order:
        delta, metadata = read_tensors(tmp_path / f"{position}.safetensors")
        assert metadata == {"position": position}
        method.load_delta(delta)
        assert same_bytes(logits(method.model), expected[position])
        holder.load(delta)
        assert same_bytes(logits(holder.model), expected[position])


@every_trained_kind
def test_later_steps_do_not_change_a_delta(kind):
    method = start_method(kind, **LEARNING[kind])
    teach(method, FACTS[0])
    delta = method.delta()
    kept = {name: tensor.clone() for name, tensor in delta.items()}
    teach(method, FACTS[1])
    assert all(same_bytes(tensor, kept[name]) for name, tensor in delta.items())
    assert any(name not in kept or not same_bytes(tensor, kept[name]) for name, tensor in method.delta().items())


def test_the_delta_of_smf_is_small_and_holds_only_slots_that_trained():
    deltas, _ = learned("smf")
    for position, delta in deltas.items():
        for block in (0, 2):
            slots, values = delta[f"{block}.slots"], delta[f"{block}.values"]
            assert values.shape == (len(slots), 16)
            assert 0 < len(slots) <= 6 * 2 * position
            assert slots.tolist() == sorted(set(slots.tolist()))


def keeps(kind):
    """What a delta of this kind holds: replay, penalties and anchors change how a method learns, not what it keeps."""
    plain = kind.removesuffix("_replay").removesuffix("_self_distillation")
    return {"ewc": "full", "self_distillation": "full", "surprise": "lora", "ultraedit": "memit"}.get(plain, plain)


@pytest.mark.parametrize(
    ("kind", "other"),
    [(kind, other) for kind, other in itertools.permutations(sorted(LEARNING), 2) if keeps(kind) != keeps(other)],
)
def test_the_delta_of_another_kind_is_refused(kind, other):
    delta = start_method(other, **LEARNING[other]).delta()
    with pytest.raises(CheckpointError, match="the delta holds"):
        start_method(kind, **LEARNING[kind]).load_delta(delta)


FOREIGN = {
    "full: wider": ("full", {"model": lambda: base_model(intermediate_size=52)}, "made from another base"),
    "full: deeper": ("full", {"model": lambda: base_model(num_hidden_layers=4)}, "made from another base"),
    "lora: rank": ("lora", {"rank": 5}, "learn the stream again"),
    "lora: modules": ("lora", {"target_modules": ["q_proj"]}, "learn the stream again"),
    "memory_dense: wider": (
        "memory_dense",
        {"model": lambda: memory_model(value_dim=8)},
        "other memory layers than the model",
    ),
    "osf: rank": ("osf", {"effective_rank": 0.25}, "learn the stream again"),
    "sparse: deeper": (
        "sparse",
        {"model": lambda: base_model(num_hidden_layers=4)},
        r"feed-forward networks in blocks \[0, 1, 2\]",
    ),
    "sparse: narrower": (
        "sparse",
        {"model": lambda: base_model(hidden_size=16)},
        r"the delta's units of block 0 do not fit a table of \(48, 32\)",
    ),
    "memit: deeper": ("memit", {"model": lambda: base_model(num_hidden_layers=4), "blocks": [3]}, "not last maps of"),
    "ultraedit: wider": ("ultraedit", {"model": lambda: base_model(intermediate_size=52)}, "not last maps of"),
    "smf: blocks": ("smf", {"model": lambda: memory_model(layers=(0, 1))}, r"memory in blocks \[0, 2\]"),
    "smf: slot size": ("smf", {"model": lambda: memory_model(value_dim=8)}, r"do not fit a table of \(64, 16\)"),
    "smf: table size": ("smf", {"model": lambda: memory_model(num_keys=30)}, r"do not fit a table of \(64, 16\)"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_delta_of_another_model_is_refused_before_anything_changes(case):
    kind, changes, message = FOREIGN[case]
    changes = {name: value() if name == "model" else value for name, value in changes.items()}
    foreign = start_method(kind, **{**LEARNING[kind], **changes})
    teach(foreign, FACTS[0])
    method = start_method(kind, **LEARNING[kind])
    before = copy_of_state(method.model)
    with pytest.raises(CheckpointError, match=message):
        method.load_delta(foreign.delta())
    for name, tensor in method.model.state_dict().items():
        assert same_bytes(tensor, before[name])


# Registry


@every_kind
def test_every_method_describes_its_settings(kind):
    chosen = method_class(kind)
    assert chosen.__doc__
    assert chosen.starts_from in ("base", "healed")
    schema = settings_schema(kind)
    for name, part in schema["properties"].items():
        assert len(part["description"]) > 5, name
        assert ("default" in part) == (name not in schema.get("required", ())), name
        Draft202012Validator.check_schema(part)
        if "default" in part:
            Draft202012Validator(part).validate(part["default"])
    assert chosen.retrieves or not Draft202012Validator(schema["properties"]["learning_rate"]).is_valid(0)


def test_the_schema_of_smf_offers_every_selector():
    assert sorted(settings_schema("smf")["properties"]["selector"]["enum"]) == ["kl", "none", "random", "tf", "tfidf"]


@pytest.mark.parametrize(("kind", "near"), [("lroa", "lora"), ("ful", "full"), ("smff", "smf")])
def test_an_unknown_kind_is_refused_with_the_nearest_known_one(kind, near):
    with pytest.raises(
        ConfigError, match=f"unknown method kind '{kind}'; did you mean '{near}'.*known: {', '.join(method_kinds())}"
    ):
        method_class(kind)


def test_helpers_are_not_kinds():
    for name in (
        "method",
        "loss",
        "registry",
        "dense",
        "deltas",
        "kind_settings",
        "settings",
        "ordinary_text",
        "replay",
        "no",
    ):
        with pytest.raises(ConfigError, match="unknown method kind"):
            method_class(name)


ONE_METHOD = '''
from smf.methods.loss import language_model_loss
from smf.methods.method import Method, StepReport

class Frozen(Method):
    """Learns nothing."""
    starts_from = "base"

    def step(self, batch):
        return StepReport(language_model_loss(self.model, batch).detach(), num_tokens=batch.num_tokens)

    def delta(self):
        return {}

    @classmethod
    def loader(cls, model):
        return lambda delta: None
'''


@pytest.fixture
def methods_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(smf.methods, "__path__", [*smf.methods.__path__, str(tmp_path)])
    yield tmp_path
    method_class.cache_clear()
    for name in ("frozen", "frozen_twice"):
        sys.modules.pop(f"smf.methods.{name}", None)
        if hasattr(smf.methods, name):
            delattr(smf.methods, name)


def test_a_new_file_is_a_new_kind(methods_folder):
    (methods_folder / "frozen.py").write_text(ONE_METHOD)
    assert method_kinds() == sorted([*LEARNING, "frozen"])
    method = method_class("frozen")(base_model(), {}, None, 0)
    rows = learn_with(method, tokenizer(), FACTS, stream_settings(), lambda position, delta: None)
    assert [row["losses"][0] == row["losses"][1] for row in rows] == [True] * 3


def test_a_file_with_two_methods_is_refused(methods_folder):
    text = ONE_METHOD + "\nclass Other(Frozen):\n    pass\n"
    (methods_folder / "frozen_twice.py").write_text(text)
    with pytest.raises(ConfigError, match=r"frozen_twice\.py defines 2 methods; one subclass of Method is expected"):
        method_class("frozen_twice")


def free_biases(model):
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith(".bias"))


class PreparedByHook(FullFinetuning):
    def begin(self):
        free_biases(self.model)
        super().begin()


class PreparedByConstructor(FullFinetuning):
    def __init__(self, model, *others):
        free_biases(model)
        super().__init__(model, *others)


@pytest.mark.parametrize("kind", [PreparedByHook, PreparedByConstructor])
def test_a_method_trains_what_requires_gradient_when_its_base_class_begins(kind):
    model = base_model()
    before = copy_of_state(model)
    method = kind(model, method_settings("full"), None, 0)
    method.step(batch_of(FACTS[0]))
    changed = {name for name, tensor in model.state_dict().items() if not same_bytes(tensor, before[name])}
    assert changed
    assert all(name.endswith(".bias") for name in changed)


class Listening(FullFinetuning):
    def begin(self):
        self.known = self.model, self.settings.learning_rate, self.background, self.seed, self.texts


def test_a_method_begins_when_it_knows_all_that_it_was_given():
    model, background, texts = base_model(), object(), object()
    assert Listening(model, {"learning_rate": 0.5}, background, 3, texts).known == (model, 0.5, background, 3, texts)


def test_smf_without_background_counts_is_refused():
    with pytest.raises(ConfigError, match="needs background counts"):
        method_class("smf")(memory_model(), method_settings("smf"), None, 0)


# Streams


def stream_settings(**overrides):
    settings = {"steps_per_fact": 2, "loss_on": "text", "snapshots": (1, 3), "max_length": MAX_LENGTH}
    return StreamSettings(**{**settings, **overrides})


def learn(method, **overrides):
    """The rows without times, and the snapshots."""
    snapshots = {}
    rows = learn_with(method, tokenizer(), FACTS, stream_settings(**overrides), snapshots.__setitem__)
    assert all(row.pop("seconds") >= 0 for row in rows)
    return rows, snapshots


@every_trained_kind
def test_no_further_step_follows_one_whose_loss_was_low_enough(kind):
    (whole, *_), _ = learn(start_method(kind, **LEARNING[kind]), steps_per_fact=6)
    stop_loss = whole["losses"][2] + 1e-4
    (early, *_), _ = learn(start_method(kind, **LEARNING[kind]), steps_per_fact=6, stop_loss=stop_loss)
    number = next(step for step, loss in enumerate(whole["losses"], start=1) if loss < stop_loss)
    assert early["losses"] == whole["losses"][:number]


@every_kind
def test_a_stream_learns_the_same_twice(kind):
    settings = {**LEARNING[kind], **({"selector": "random"} if kind in SPARSE else {})}
    (rows, snapshots), (again, snapshots_again) = (learn(start_method(kind, **settings)) for _ in range(2))
    assert rows == again
    assert list(snapshots) == list(snapshots_again) == [1, 3]
    for position, delta in snapshots.items():
        assert all(same_bytes(tensor, snapshots_again[position][name]) for name, tensor in delta.items())


def test_the_seed_of_a_run_reaches_its_random_selection():
    rows = [learn(start_method("smf", seed=seed, selector="random", **LEARNING["smf"]))[0] for seed in (0, 1)]
    assert rows[0][0]["losses"][0] == rows[1][0]["losses"][0]
    assert rows[0][0]["losses"][1] != rows[1][0]["losses"][1]


@every_trained_kind
def test_a_row_tells_what_happened(kind):
    method = start_method(kind, **LEARNING[kind])
    rows, _ = learn(method)
    assert [(row["position"], row["fact_id"]) for row in rows] == [
        (number, fact.fact_id) for number, fact in enumerate(FACTS, start=1)
    ]
    for row in rows:
        assert row["losses"][1] < row["losses"][0]  # of the same batch, after one step on it
        assert row["slots"] == ([{"0": 6, "2": 6}] * 2 if kind in SPARSE else [{}] * 2)
        assert row["acquired"] in (True, False)
    assert not method.model.training


def test_all_methods_see_the_same_batches():
    seen = {}
    for kind in TRAINED:
        method = start_method(kind, **LEARNING[kind])
        step, seen[kind] = method.step, []
        method.step = lambda batch, step=step, kept=seen[kind]: kept.append(batch) or step(batch)
        learn(method, loss_on="answer")
    first = seen.pop(TRAINED[0])
    assert len(first) == 2 * len(FACTS)
    for batches in seen.values():
        for mine, reference in zip(batches, first, strict=True):
            for column in ("input_ids_BT", "attention_mask_BT", "labels_BT"):
                assert same_bytes(getattr(mine, column), getattr(reference, column))


@pytest.mark.parametrize("kind", [kind for kind in TRAINED if kind not in EDITORS])
def test_a_loss_that_is_not_finite_names_step_and_fact(kind):
    method = start_method(kind, **{**LEARNING[kind], "learning_rate": 1e30})
    if kind in SPARSE:  # the norm after a huge memory output hides it, an infinite one becomes NaN
        for layer in method.model.memory_layers().values():
            layer.output.weight.mul_(1e15)
    if kind == "sparse":  # the same of a network's output
        for layer in method.model.model.layers:
            layer.mlp.up_proj.weight.mul_(1e15)
    message = r"the loss is (nan|inf) at step 2 of fact 1 \('joel-quint'\); lower .*1e\+30"
    with pytest.raises(TrainingError, match=message):
        learn(method, steps_per_fact=3)


def test_weights_that_the_last_step_before_a_snapshot_blew_up_are_never_kept(monkeypatch):
    method = start_method("full", **LEARNING["full"])
    step = method.step

    def exploding_step(batch):
        report = step(batch)  # the loss is that of before the step: still finite
        next(method.model.parameters()).data.fill_(float("inf"))
        return report

    monkeypatch.setattr(method, "step", exploding_step)
    with pytest.raises(TrainingError, match=r"weights are not finite after step 1 of fact 1 \('joel-quint'\)"):
        learn(method, steps_per_fact=1, snapshots=(1,))


def test_a_snapshot_beyond_the_streams_end_is_refused_before_anything_is_learned():
    method = start_method("full")
    before = copy_of_state(method.model)
    with pytest.raises(ConfigError, match="snapshots names position 4, but must be at most the stream's 3 facts"):
        learn(method, snapshots=(2, 4))
    assert all(same_bytes(tensor, before[name]) for name, tensor in method.model.state_dict().items())


def test_counts_of_the_start_model_are_what_smf_selects_by():
    """A slot that the background reads in every document is never chosen by tfidf while others are left."""
    model = memory_model()
    counts = background_counts(model)
    method = start_method("smf", model=model, selector="tfidf", top_t=4, learning_rate=1e-6)
    method.step(batch_of(FACTS[0]))
    for block, slots in selected_slots(method).items():
        layer = counts.layers[block]
        chosen = layer.document_frequency_S[slots].double().mean()
        assert chosen < layer.document_frequency_S.double().mean()
    assert isinstance(model, MemoryForCausalLM)


# Micro-batches and resuming


@every_trained_kind
@pytest.mark.parametrize("size", [1, 2])
def test_micro_batches_add_up_to_the_whole_batch(kind, size):
    """In float64, so that only another order of sums can differ. Lengths and numbers of labels differ between parts."""
    whole, parts = (start_method(kind, model=double_model(kind), **LEARNING[kind]) for _ in range(2))
    parts.micro_batch_size = size
    for fact in FACTS:
        batch = batch_of(fact, whole.write_at)
        for _ in range(2):
            torch.testing.assert_close(parts.step(batch).loss, whole.step(batch).loss, rtol=1e-9, atol=1e-12)
            if kind in SPARSE:
                assert selected_slots(parts) == selected_slots(whole)
        for method in (parts, whole):
            method.end_lesson((FACTS.index(fact),))
    for (name, tensor), expected in zip(parts.delta().items(), whole.delta().values(), strict=True):
        torch.testing.assert_close(tensor, expected, rtol=1e-7, atol=1e-10, msg=name)


def double_model(kind):
    model = memory_model() if method_class(kind).starts_from == "healed" else base_model()
    return model.double()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_with_micro_batches_slots_outside_one_selection_keep_their_bits(optimizer):
    model = memory_model(num_keys=40)
    method = start_method("smf", model=model, top_t=5, **OPTIMIZERS[optimizer])
    method.micro_batch_size = 1
    for fact in (*FACTS, FACTS[0]):
        before = copy_of_state(model)
        report = method.step(batch_of(fact))
        assert all(number == 5 for number in report.num_slots.values())
        for name, block in table_names(model).items():
            others = [slot for slot in range(1600) if slot not in set(selected_slots(method)[block])]
            assert same_bytes(model.state_dict()[name][others], before[name][others])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("base_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_bfloat16_table_takes_steps_on_its_selected_slots_alone(base_dtype, optimizer):
    model = retrofit(base_model().to(base_dtype), memory_settings(num_keys=40, value_dtype="bfloat16"), 0)
    for layer in model.memory_layers().values():
        layer.output.weight.data.fill_(0.1)
    method = start_method("smf", model=model, top_t=5, **OPTIMIZERS[optimizer])
    for fact in FACTS:
        before = {block: layer.values_SV.clone() for block, layer in model.memory_layers().items()}
        assert method.step(batch_of(fact)).loss.isfinite()
        for block, layer in model.memory_layers().items():
            assert layer.values_SV.dtype == torch.bfloat16
            differs_S = (layer.values_SV.view(torch.int16) != before[block].view(torch.int16)).any(1)
            assert set(differs_S.nonzero().flatten().tolist()) <= set(selected_slots(method)[block])
            assert differs_S.any()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("selector", ["tfidf", "random"])
def test_a_stream_that_is_resumed_in_the_middle_ends_at_the_same_bits(selector, optimizer):
    settings = {"selector": selector, "top_t": 5, **OPTIMIZERS[optimizer]}
    whole = start_method("smf", **settings)
    for fact in FACTS[:2]:
        whole.step(batch_of(fact))
    resumed = start_method("smf", **settings)
    resumed.load_state_dict(whole.state_dict(), whole.delta())
    for fact in (FACTS[2], FACTS[0]):
        whole.step(batch_of(fact))
        resumed.step(batch_of(fact))
        for name, tensor in whole.model.state_dict().items():
            assert same_bytes(resumed.model.state_dict()[name], tensor), name
    for name, tensor in whole.delta().items():
        assert same_bytes(resumed.delta()[name], tensor), name


def test_nothing_below_the_lowest_memory_layer_keeps_a_graph_and_its_weights_get_no_gradient():
    model = memory_model(layers=(1, 2))
    method = start_method("smf", model=model, selector="tfidf", learning_rate=1.0)
    method.step(batch_of(FACTS[0]))
    blocks, seen = model.language_model.get_decoder().layers, {}
    with torch.enable_grad(), record_slot_reads(model.memory_layers()):
        for number, layer in model.memory_layers().items():
            layer.on_read = lambda slots, weights, number=number: seen.update({number: weights.requires_grad})
        hooks = [
            blocks[0].register_forward_hook(lambda *parts: seen.update(block=parts[-1].requires_grad)),
            blocks[1].self_attn.register_forward_hook(lambda *parts: seen.update(attention=parts[-1][0].requires_grad)),
        ]
        loss_of(model, batch_of(FACTS[0]))
    for hook in hooks:
        hook.remove()
    assert seen == {"block": False, "attention": False, 1: False, 2: True}  # 2 is read by what block 1 gives it
