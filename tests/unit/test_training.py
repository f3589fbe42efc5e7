"""Pretraining, and the loop that it shares with healing: what trains, what is reported, and when it stops."""

import math

import pytest
import torch

from smf.errors import DataError, TrainingError
from smf.evaluation.recall import recall
from smf.files.model_shape import BaseShape
from smf.streams.examples import Example
from smf.streams.facts import question_prompt
from smf.training.loop import TrainingSettings, train
from smf.training.pretrain import pretrain, require_recall
from tests.helpers import (
    BACKGROUND,
    MAX_LENGTH,
    background_batches,
    base_model,
    logits,
    same_bytes,
    tokenizer,
)

SETTINGS = TrainingSettings(num_steps=12, batch_size=4, learning_rate=0.01)


def batch_loss(model, batch):
    inputs = {"input_ids": batch.input_ids_BT, "attention_mask": batch.attention_mask_BT}
    return model(**inputs, labels=batch.labels_BT).loss


# The loop


def test_the_loop_equals_adamw_written_out():
    """Warm-up over the first 5 % of the steps, a fall over the last 40 %, clipping, decay on matrices only."""
    settings = TrainingSettings(num_steps=20, batch_size=2, learning_rate=0.02, weight_decay=0.1, max_gradient_norm=0.5)
    model, reference = base_model(), base_model()
    mean = train(model, list(model.parameters()), background_batches(num_batches=20), settings, "test")
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in reference.named_parameters()}
    losses = []
    reference.train()
    for step, batch in enumerate(background_batches(num_batches=20), start=1):
        rate = 0.02 * min(1.0, step / 1, (20 - step + 1) / 8)
        loss = batch_loss(reference, batch)
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(reference.parameters()))
        norm = math.sqrt(sum(float((gradient.double() ** 2).sum()) for gradient in gradients))
        scale = min(1.0, 0.5 / (norm + 1e-6))
        with torch.no_grad():
            for (name, parameter), gradient in zip(reference.named_parameters(), gradients, strict=True):
                first, second = moments[name]
                first.mul_(0.9).add_(0.1 * scale * gradient)
                second.mul_(0.98).add_(0.02 * (scale * gradient) ** 2)
                if parameter.ndim >= 2:
                    parameter.mul_(1 - rate * 0.1)
                corrected = second.sqrt() / math.sqrt(1 - 0.98**step) + 1e-8
                parameter.sub_(rate / (1 - 0.9**step) * first / corrected)
    assert mean == pytest.approx(sum(losses[-2:]) / 2, rel=0.02)  # rounding grows over the steps
    assert losses[-1] < losses[0] / 2
    torch.testing.assert_close(logits(model), logits(reference.eval()), atol=0.3, rtol=0.1)


def test_parts_of_a_batch_give_the_gradient_and_the_loss_of_the_whole(monkeypatch):
    found = []
    monkeypatch.setattr(
        torch.nn.utils, "clip_grad_norm_", lambda parameters, _: found.append([p.grad.clone() for p in parameters])
    )
    batches = background_batches(num_batches=1, batch_size=5)
    assert len({int(length) for length in batches[0].attention_mask_BT.sum(1)}) > 1  # parts have different shares
    losses = []
    for size in (None, 2, 1):
        settings = TrainingSettings(num_steps=1, batch_size=5, learning_rate=0.01, micro_batch_size=size)
        model = base_model()
        losses.append(train(model, list(model.parameters()), batches, settings, "test"))
    assert losses[1:] == pytest.approx(losses[:1] * 2, rel=1e-6)
    for parts in found[1:]:
        torch.testing.assert_close(parts, found[0], rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_not_finite_names_work_and_step():
    model = base_model()
    settings = TrainingSettings(num_steps=6, batch_size=2, learning_rate=1e30)
    message = r"healing: the loss is (nan|inf) at step 2 of 6; lower the learning rate \(1e\+30\)"
    with pytest.raises(TrainingError, match=message):
        train(model, list(model.parameters()), background_batches(), settings, "healing")


# Pretraining

SHAPE = BaseShape(
    vocab_size=300,
    hidden_size=32,
    num_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=64,
    head_dim=8,
)
WHERE = {"max_length": MAX_LENGTH, "device": "cpu"}
QUESTIONS = [
    Example(question_prompt(f"where is {name}"), f" {city}") for name, city in (("Mara", "Ost"), ("Ina", "Bern"))
]


@pytest.fixture(scope="module")
def pretrained():
    """A model that knows two questions by heart, and one that has just begun."""
    settings = [TrainingSettings(num_steps=steps, batch_size=2, learning_rate=0.01) for steps in (150, 2)]
    return [pretrain(QUESTIONS, SHAPE, one, **WHERE) for one in settings]


def greedy_answer(model, its_tokenizer, prompt):
    ids = its_tokenizer(prompt, return_tensors="pt").input_ids
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)
    return its_tokenizer.decode(out[0, ids.shape[1] :])


def test_recall_agrees_with_greedy_decoding(pretrained):
    for (model, its_tokenizer, _), expected in zip(pretrained, (True, False), strict=True):
        found = recall(model, its_tokenizer, QUESTIONS, MAX_LENGTH)
        end = its_tokenizer.eos_token
        answers = [greedy_answer(model, its_tokenizer, question.prompt) for question in QUESTIONS]
        said = [answer == question.completion + end for answer, question in zip(answers, QUESTIONS, strict=True)]
        assert found == said == [expected] * 2
    model, its_tokenizer, _ = pretrained[0]
    wrong = [QUESTIONS[0], Example(QUESTIONS[1].prompt, " Ost"), Example(QUESTIONS[1].prompt, " Ber")]
    assert recall(model, its_tokenizer, wrong, MAX_LENGTH) == [True, False, False]


def test_recall_below_the_limit_stops_with_the_measured_value(pretrained):
    limits = {"min_recall": 0.9, "max_length": MAX_LENGTH}
    model, its_tokenizer, _ = pretrained[0]
    assert require_recall(model, its_tokenizer, QUESTIONS, **limits) == 1.0
    half = [QUESTIONS[0], Example(QUESTIONS[1].prompt, " Ost")]
    with pytest.raises(TrainingError, match=r"answers only 0\.500 of the 2 known questions, base\.min_recall is 0\.9"):
        require_recall(model, its_tokenizer, half, **limits)


def test_pretraining_is_a_function_of_its_arguments(pretrained):
    model, its_tokenizer, report = pretrained[1]
    again, _, report_again = pretrain(
        QUESTIONS, SHAPE, TrainingSettings(num_steps=2, batch_size=2, learning_rate=0.01), **WHERE
    )
    assert report == report_again
    assert all(same_bytes(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    other, _, _ = pretrain(
        QUESTIONS, SHAPE, TrainingSettings(num_steps=2, batch_size=2, learning_rate=0.01, seed=2), **WHERE
    )
    assert not torch.equal(other.get_input_embeddings().weight, model.get_input_embeddings().weight)
    assert report["num_parameters"] == sum(parameter.numel() for parameter in model.parameters())
    texts = [question.prompt + question.completion for question in QUESTIONS]
    assert report["tokens_per_epoch"] == sum(len(its_tokenizer(text).input_ids) + 1 for text in texts)
    assert report["vocab_size"] == len(its_tokenizer) == model.config.vocab_size <= 300


def test_pretraining_text_that_is_too_long_is_refused():
    with pytest.raises(DataError, match="but base.max_length is 64"):
        pretrain([Example("x y " * 80, " z")], SHAPE, SETTINGS, **WHERE)


def test_the_trained_tokenizer_gives_back_any_text():
    for text in (*(example.prompt + example.completion for example in BACKGROUND), "Zoë 日本 🙂\n\t  x"):
        assert tokenizer().decode(tokenizer()(text).input_ids) == text
    assert tokenizer().pad_token_id == tokenizer().eos_token_id
