"""The frozen prefix: computed once a batch, and nobody can tell from the numbers."""

import dataclasses
from collections import Counter

import pytest

from smf.errors import TrainingError
from smf.models.frozen_prefix import FrozenPrefix
from smf.models.memory_model import decoder_blocks
from smf.streams.fact_batches import facts_batch
from tests.helpers import FACTS, FAMILIES, MAX_LENGTH, logits, memory_model, same_bytes, start_method, tokenizer


def batch_of(fact):
    return facts_batch(tokenizer(), [fact], loss_on="answer", max_length=MAX_LENGTH)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", ["additive", "replace"])
@pytest.mark.parametrize(
    "settings",
    [{"layers": (0, 2)}, {"layers": (1, 2)}, {"layers": (2,)}, {"output_gate": "scalar", "output_gate_init": 0.7}],
    ids=str,
)
def test_steps_that_reuse_the_prefix_equal_steps_that_compute_it_bit_for_bit(family, mode, settings):
    reusing, computing = (
        start_method("smf", model=memory_model(family, mode=mode, **settings), learning_rate=3.0, top_t=6)
        for _ in range(2)
    )
    for fact in FACTS:
        batch = batch_of(fact)
        for _ in range(3):
            loss = reusing.step(batch).loss
            assert same_bytes(loss, computing.step(dataclasses.replace(batch)).loss)  # a copy: nothing to reuse
    first, second = reusing.delta(), computing.delta()
    assert first.keys() == second.keys()
    assert all(same_bytes(first[name], second[name]) for name in first)


def test_each_frozen_part_runs_once_a_batch_and_the_rest_each_step():
    model = memory_model(layers=(1, 2))
    blocks = decoder_blocks(model.language_model)
    runs = Counter()
    parts = {
        "block 0": blocks[0].input_layernorm,  # a block that is not reused runs its parts
        "attention 1": blocks[1].self_attn.o_proj,
        "network 1": blocks[1].mlp.feed_forward.down_proj,
        "query 1": blocks[1].mlp.memory.query,
        "output 1": blocks[1].mlp.memory.output,
        "query 2": blocks[2].mlp.memory.query,
    }
    for name, part in parts.items():
        part.register_forward_hook(lambda *_, name=name: runs.update([name]))
    method = start_method("smf", model=model, learning_rate=3.0, top_t=6)
    runs.clear()
    for fact in FACTS:
        batch = batch_of(fact)
        for _ in range(4):
            method.step(batch)
    frozen = {"block 0", "attention 1", "network 1", "query 1"}
    assert runs == {name: len(FACTS) * (1 if name in frozen else 4) for name in parts}


def test_outside_of_steps_the_model_computes_everything():
    model = memory_model(layers=(1, 2))
    before = logits(model)
    with FrozenPrefix(model).reused():
        logits(model, seed=2)
    assert same_bytes(logits(model), before)


def test_an_exception_inside_leaves_the_model_as_it_was():
    model = memory_model()
    before = logits(model)
    prefix = FrozenPrefix(model)

    def fail():
        with prefix.reused():
            logits(model, seed=2)
            raise KeyboardInterrupt

    pytest.raises(KeyboardInterrupt, fail)
    assert same_bytes(logits(model), before)


def test_training_mode_is_refused_because_of_dropout():
    prefix = FrozenPrefix(memory_model().train())
    with pytest.raises(TrainingError, match="evaluation mode"), prefix.reused():
        pass
