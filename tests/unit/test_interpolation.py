"""Interpolation with the start model: weights on the straight line between both, and nothing that remains."""

import copy
import json
from functools import cache

import pytest
import torch

from smf.analysis.interpolation.weights import Interpolation
from smf.errors import CheckpointError, ConfigError
from smf.methods.registry import method_class, start_method
from smf.stages.evaluate import evaluate_run
from smf.stages.interpolate import interpolate_run
from smf.stages.learn import learn
from smf.streams.fact_batches import facts_batch
from tests.helpers import (
    FACTS,
    MAX_LENGTH,
    TRAINED,
    background_counts,
    base_model,
    copy_of_state,
    logits,
    memory_model,
    same_bytes,
    texts,
    tokenizer,
)
from tests.unit.test_methods import LEARNING
from tests.unit.test_peft_kinds import OF_LORA, SMALL, STARTING
from tests.unit.test_trial import ASKED, run_of  # noqa: F401 (a fixture)
from tests.unit.test_trial import LEARNING as STREAM_LEARNING
from tests.unit.test_trial import METHODS as RUNS

NOT_MERGED = ("BEFT", "LILY")
KINDS = {kind: {"kind": kind, **LEARNING[kind]} for kind in TRAINED}
TYPES = {name: (name, SMALL.get(name, {})) for name in STARTING if name not in NOT_MERGED}
TYPES |= {name: ("LORA", {"r": 4, **config}) for name, config in OF_LORA.items()}
TYPES |= {"biases": ("LORA", {"r": 4, "bias": "all"}), "head": ("LORA", {"r": 4, "modules_to_save": ["lm_head"]})}
CASES = KINDS | {
    name: {"kind": "peft", "peft_type": kind, "peft_config": config, "learning_rate": 0.01, "init_texts": 6}
    for name, (kind, config) in TYPES.items()
}
every_case = pytest.mark.parametrize("case", CASES)


def start_of(given, dtype=torch.float32):
    """The model that a method starts from."""
    healed = method_class(given["kind"]).starts_from == "healed"
    return (memory_model() if healed else base_model(tied="head" not in str(given))).to(dtype)


def holder_of(given, dtype=torch.float32):
    return method_class(given["kind"]).holder(start_of(given, dtype), given)


@cache
def deltas(case):
    """What a method has learned after one fact, and after two."""
    given, model = CASES[case], start_of(CASES[case])
    healed = method_class(given["kind"]).starts_from == "healed"
    method = start_method(given, model, background_counts(model) if healed else None, texts(), seed=3)
    found = []
    for place, fact in enumerate(FACTS[:2]):
        batch = facts_batch(tokenizer(), [fact], loss_on="text", max_length=MAX_LENGTH, write_at=method.write_at)
        for _ in range(2):
            method.step(batch)
        method.end_lesson((place,))
        found.append(method.delta())
    return found


def plain(model):
    """The weights by which a model answers, under the names of the model without an adapter."""
    return copy_of_state(copy.deepcopy(model).merge_and_unload() if hasattr(model, "peft_config") else model)


@cache
def loaded(case, number):
    """The model that holds a delta, and its logits; not to be changed."""
    holder = holder_of(CASES[case])
    holder.load(deltas(case)[number])
    return holder.model, logits(holder.model)


@every_case
def test_share_0_is_the_start_model_and_share_1_the_delta_bit_for_bit(case):
    interpolation, delta = Interpolation(holder_of(CASES[case])), deltas(case)[1]
    start = logits(start_of(CASES[case]))
    for share, expected in ((0, start), (1, loaded(case, 1)[1]), (0.0, start)):
        with interpolation.between(delta, share) as model:
            assert same_bytes(logits(model), expected)


@every_case
def test_between_them_every_weight_lies_on_the_straight_line(case):
    interpolation, delta = Interpolation(holder_of(CASES[case])), deltas(case)[1]
    start, learned = plain(start_of(CASES[case])), plain(loaded(case, 1)[0])
    assert start.keys() == learned.keys()
    for share in (0.25, 0.6):
        expected = start_of(CASES[case])
        expected.load_state_dict({name: start[name] + share * (learned[name] - start[name]) for name in start})
        with interpolation.between(delta, share) as model:
            torch.testing.assert_close(logits(model), logits(expected), rtol=1e-3, atol=2e-4)
        for end in (logits(start_of(CASES[case])), loaded(case, 1)[1]):
            assert (logits(expected) - end).abs().max() > 2e-3  # else any share would do


@every_case
def test_nothing_remains_for_deltas_that_are_loaded_later(case):
    holder = holder_of(CASES[case])
    interpolation = Interpolation(holder)
    for number, share in ((1, 0.3), (0, 0.0), (1, 0.9)):
        expected, expected_logits = loaded(case, number)
        with pytest.raises(KeyboardInterrupt), interpolation.between(deltas(case)[number], share):
            raise KeyboardInterrupt
        held = expected.state_dict()
        assert all(same_bytes(tensor, held[name]) for name, tensor in holder.model.state_dict().items())
        assert same_bytes(logits(holder.model), expected_logits)
        holder.load(deltas(case)[1 - number])
        assert same_bytes(logits(holder.model), loaded(case, 1 - number)[1])


def test_of_lora_the_product_is_scaled_and_its_matrices_stay():
    delta = deltas("lora")[1]
    scale = 32 / LEARNING["lora"]["rank"]
    start = base_model()
    weights = {
        name.removesuffix(".lora_A.weight").removeprefix("base_model.model.") for name in delta if "lora_A" in name
    }
    with torch.no_grad():
        for name in weights:
            down, up = (delta[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
            start.get_parameter(f"{name}.weight").add_(0.3 * scale * up @ down)
    holder = holder_of(CASES["lora"])
    with Interpolation(holder).between(delta, 0.3) as model:
        torch.testing.assert_close(logits(model), logits(start), rtol=1e-4, atol=1e-4)
        held = model.state_dict()
        for name, tensor in delta.items():
            assert same_bytes(held[name.replace(".weight", ".default.weight")], tensor)


def test_slots_that_a_sparse_method_did_not_write_keep_their_bits():
    delta, start = deltas("smf")[1], memory_model()
    with Interpolation(holder_of(CASES["smf"])).between(delta, 0.5) as model:
        for block, layer in model.memory_layers().items():
            before, written = start.memory_layers()[block].values_SV, delta[f"{block}.slots"]
            others = [slot for slot in range(len(before)) if slot not in set(written.tolist())]
            assert same_bytes(layer.values_SV[others], before[others])
            torch.testing.assert_close(layer.values_SV[written], (before[written] + delta[f"{block}.values"]) / 2)
            assert not torch.equal(layer.values_SV[written], before[written])


def test_weights_of_low_precision_are_mixed_in_float32():
    start, learned = base_model().bfloat16(), base_model(seed=1).bfloat16()
    holder = holder_of(CASES["full"], torch.bfloat16)
    with Interpolation(holder).between(dict(learned.named_parameters()), 0.7) as model:
        for name, weight in model.named_parameters():
            one, other = (each.get_parameter(name).double() for each in (start, learned))
            # rounded once, to eight binary digits
            torch.testing.assert_close(weight.double(), 0.3 * one + 0.7 * other, rtol=1.01 * 2**-8, atol=0)


@pytest.mark.parametrize(
    ("peft_type", "config", "dtype", "message"),
    [
        ("BEFT", {}, torch.float32, "an adapter of type BEFT cannot be merged into weights .*leave the method out of "),
        ("LILY", {}, torch.float32, "an adapter of type LILY cannot be merged into weights .*leave the method out of "),
        ("LORA", {"r": 4, "use_dora": True}, torch.bfloat16, "LORA, merged into weights in torch.bfloat16, changes "),
    ],
    ids=["BEFT", "LILY", "DoRA in bfloat16"],
)
def test_an_adapter_whose_weights_are_not_those_that_answer_is_refused_and_stays_loaded(
    peft_type, config, dtype, message
):
    given = {"kind": "peft", "peft_type": peft_type, "peft_config": config, "learning_rate": 1e-4}
    method = start_method(given, base_model().to(dtype), seed=3)
    method.step(facts_batch(tokenizer(), FACTS[:1], loss_on="text", max_length=MAX_LENGTH))
    holder = holder_of(given, dtype)
    with pytest.raises(ConfigError, match=message), Interpolation(holder).between(method.delta(), 0.5):
        pytest.fail("it was mixed")
    assert same_bytes(logits(holder.model), logits(method.model))


def test_a_share_beyond_the_ends_is_refused():
    interpolation = Interpolation(holder_of(CASES["full"]))
    with pytest.raises(ConfigError, match="share is 1.5, but must be between 0"), interpolation.between({}, 1.5):
        pytest.fail("it was mixed")


@pytest.mark.parametrize("kind", [kind for kind in RUNS if kind in TRAINED])
def test_at_share_1_a_run_scores_what_its_evaluation_says_and_between_it_something_else(tmp_path, run_of, kind):  # noqa: F811
    run, divergence = run_of(kind), {"kl_facts": {"num_facts": 3, "loss_on": "answer", "max_length": 64}}
    learn(run, STREAM_LEARNING, delta_paths={3: tmp_path / "delta"}, log_path=tmp_path / "facts")
    asked = {**ASKED, **divergence}
    evaluate_run("a", run, asked, {}, delta_paths={3: tmp_path / "delta"}, score_paths={3: tmp_path / "scores"})
    paths = {share: tmp_path / f"{share}.json" for share in (0.0, 0.4, 1.0)}
    interpolate_run("a", run, asked, {}, position=3, delta_path=tmp_path / "delta", score_paths=paths)
    start, between, whole = (json.loads(path.read_text()) for path in paths.values())
    assert whole == json.loads((tmp_path / "scores").read_text()) | {"share": 1.0}
    divergences = [
        {score["metric"]: score["value"] for score in found["scores"]}["facts_kl"] for found in (start, between, whole)
    ]
    assert divergences[0] == 0 < divergences[1] < divergences[2]
    assert (between["method"], between["seed"], between["position"], between["share"]) == ("a", 0, 3, 0.4)


def test_a_delta_of_another_start_model_is_refused_before_anything_is_asked(tmp_path, run_of):  # noqa: F811
    run = run_of("lora")
    learn(run, STREAM_LEARNING, delta_paths={3: tmp_path / "delta"}, log_path=tmp_path / "facts")
    other = run_of("smf").start_folder
    moved = type(run)(run.method, other, run.facts_path)
    with pytest.raises(CheckpointError, match="was learned from another model than .*; learn the stream again"):
        interpolate_run("a", moved, ASKED, {}, position=3, delta_path=tmp_path / "delta", score_paths={})
