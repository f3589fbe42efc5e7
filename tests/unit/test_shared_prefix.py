"""Answers to prompts that begin alike, against plain greedy decoding of one prompt at a time."""

import random

import pytest
import torch

from smf.evaluation import shared_prefix
from smf.evaluation.shared_prefix import with_shared_prefix
from tests.helpers import FAMILIES, base_model, memory_model

NEW = 6


def prompts(shared, number=5, seed=0):
    """Rows of random ids behind a common beginning, of one to nine tokens of their own."""
    rng = random.Random(seed)
    prefix = [rng.randrange(3, 250) for _ in range(shared)]
    own = [[rng.randrange(3, 250) for _ in range(rng.randint(1, 9))] for _ in range(number)]
    return [[*prefix, first, *rest] for first, (_, *rest) in zip(range(3, 3 + number), own, strict=True)]


def padded(rows):
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    return ids, torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])


def one_by_one(model, row):
    """What the model goes on with, without a cache."""
    ids = torch.tensor([row])
    with torch.no_grad():
        for _ in range(NEW):
            ids = torch.cat([ids, model(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    return ids[0, len(row) :].tolist()


def generated(model, found):
    said = model.generate(
        input_ids=found.ids_BT,
        attention_mask=found.mask_BT,
        past_key_values=found.cache,
        max_new_tokens=NEW,
        min_new_tokens=NEW,
        do_sample=False,
        pad_token_id=0,
    )
    return said[:, found.ids_BT.shape[1] :].tolist()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["base", "memory"])
def test_answers_behind_a_shared_beginning_are_those_of_prompts_asked_alone(family, kind):
    model = (base_model(family) if kind == "base" else memory_model(family)).eval()
    model.generation_config.eos_token_id = None
    rows = prompts(shared=12)
    ids, mask = padded(rows)
    found = with_shared_prefix(model, ids, mask, ids.shape[1] + NEW)
    assert generated(model, found) == [one_by_one(model, row) for row in rows]


def test_the_beginning_is_computed_once_and_the_width_stays():
    model, rows = base_model().eval(), prompts(shared=20)
    ids, mask = padded(rows)
    found = with_shared_prefix(model, ids, mask, 64)
    assert found.cache.get_seq_length() == 20
    assert found.ids_BT.shape == ids.shape
    assert [row[seen.bool()].tolist() for row, seen in zip(found.ids_BT, found.mask_BT, strict=True)] == rows


@pytest.mark.parametrize(
    "rows",
    [
        prompts(shared=20, number=1),
        prompts(shared=shared_prefix._LEAST - 1),
        [[5] * 12, [5]],
    ],
)
def test_prompts_that_share_little_stay_as_they_are(rows):
    ids, mask = padded(rows)
    found = with_shared_prefix(base_model().eval(), ids, mask, 64)
    assert found.cache is None
    assert torch.equal(found.ids_BT, ids)


def test_a_sliding_window_shorter_than_prompt_and_answer_shares_nothing():
    model = base_model("gemma3").eval()
    ids, mask = padded(prompts(shared=20))
    window = model.config.get_text_config().sliding_window
    assert with_shared_prefix(model, ids, mask, window + 1).cache is None
