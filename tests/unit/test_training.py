"""Pretraining, healing and the loop that both use: what trains, what is reported, and when it stops."""

import math

import pytest
import torch

from smf.errors import DataError, TrainingError
from smf.evaluation.recall import recall
from smf.memory import record_slot_reads
from smf.models.retrofit import retrofit
from smf.streams.batches import collate
from smf.streams.examples import Example
from smf.streams.facts import question_prompt
from smf.training.calibrate import calibrate_queries
from smf.training.heal import heal, probe_memory
from smf.training.loop import TrainingSettings, train
from smf.training.pretrain import Architecture, pretrain, require_recall
from tests.helpers import (
    BACKGROUND,
    MAX_LENGTH,
    background_batches,
    base_model,
    copy_of_state,
    encoded_text,
    logits,
    memory_model,
    memory_settings,
    same_bytes,
    tokenizer,
)

SETTINGS = TrainingSettings(num_steps=12, batch_size=4, learning_rate=0.01)


def batch_loss(model, batch):
    inputs = {"input_ids": batch.input_ids_BT, "attention_mask": batch.attention_mask_BT}
    return model(**inputs, labels=batch.labels_BT).loss


# Healing


@pytest.mark.parametrize("mode", ["additive", "replace"])
@pytest.mark.parametrize("calibrate", [False, True])
def test_healing_trains_the_memory_and_nothing_else(mode, calibrate):
    model = retrofit(base_model(), memory_settings(mode=mode), seed=0)
    before = copy_of_state(model)
    report = heal(model, encoded_text(), SETTINGS, pad_token_id=0, calibrate=calibrate)
    changed = {name for name, tensor in model.state_dict().items() if not same_bytes(tensor, before[name])}
    assert changed == {name for name in before if ".memory." in name}
    # Nor is a gradient computed that nobody needs.
    assert all(".memory." in name for name, parameter in model.named_parameters() if parameter.grad is not None)
    assert not model.training
    assert report["loss_after"] < report["loss_before"]


def test_healing_follows_from_its_seed():
    states = []
    for seed in (1, 1, 2):
        model = retrofit(base_model(), memory_settings(), seed=0)
        settings = TrainingSettings(num_steps=5, batch_size=2, learning_rate=0.01, seed=seed)
        heal(model, encoded_text(), settings, pad_token_id=0, calibrate=True)
        states.append(logits(model))
    assert same_bytes(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_the_report_tells_the_loss_of_the_base_and_of_the_healed_model():
    """An additive memory starts as the base. The corpus is one text, so that every batch has the same loss."""
    corpus = encoded_text()[:1]
    model = retrofit(base_model(), memory_settings(), seed=0)
    report = heal(model, corpus, SETTINGS, pad_token_id=0, calibrate=True)
    with torch.no_grad():
        before, after = (batch_loss(one, collate(corpus, 0)).item() for one in (base_model(), model))
    assert report["loss_before"] == pytest.approx(before, rel=1e-5)
    assert report["loss_after"] == pytest.approx(after, rel=1e-5)
    assert report["settings"]["num_steps"] == 12
    assert set(report["slot_use"]) == {"0", "2"}


def test_loss_and_slot_use_equal_plain_loops():
    model = memory_model()
    probe = background_batches(num_batches=3, batch_size=3)
    assert any((batch.attention_mask_BT == 0).any() for batch in probe)
    loss, slot_use = probe_memory(model, probe)
    losses, counts = [], {0: [0] * 64, 2: [0] * 64}
    for batch in probe:
        with torch.no_grad(), record_slot_reads(model.memory_layers()) as reads:
            scores = model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT).logits.log_softmax(-1)
        for row, mask in enumerate(batch.attention_mask_BT.tolist()):
            for place in range(sum(mask)):
                if place > 0:
                    losses.append(-float(scores[row, place - 1, batch.input_ids_BT[row, place]]))
                for block, read in reads.items():
                    for slot in read.slot_indices_BTHK[row, place].flatten().tolist():
                        counts[block][slot] += 1
    assert loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    for block, count in counts.items():
        assert slot_use[str(block)] == {
            "num_slots": 64,
            "slots_used": sum(number > 0 for number in count),
            "share_of_busiest_1_percent": pytest.approx(max(count) / sum(count)),  # 1 % of 64 slots is one slot
            "reads": sum(count),
        }


def test_the_busiest_percent_is_of_all_slots_of_the_table():
    _, slot_use = probe_memory(memory_model(num_keys=20), background_batches(num_batches=2))
    model, counts = memory_model(num_keys=20), torch.zeros(400)
    for batch in background_batches(num_batches=2):
        with torch.no_grad(), record_slot_reads(model.memory_layers()) as reads:
            model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT)
        counts += torch.bincount(reads[2].slots_of_tokens(batch.attention_mask_BT).flatten(), minlength=400)
    busiest = sorted(counts.tolist(), reverse=True)[:4]  # 1 % of 400
    assert slot_use["2"]["share_of_busiest_1_percent"] == pytest.approx(sum(busiest) / float(counts.sum()))


@pytest.mark.parametrize("mode", ["additive", "replace"])
def test_calibrated_queries_have_mean_zero_and_deviation_one_over_real_tokens(mode):
    model = retrofit(base_model(), memory_settings(mode=mode), seed=0)
    probe = background_batches(num_batches=4)
    assert any((batch.attention_mask_BT == 0).any() for batch in probe)
    keys = model.memory_layers()[0].keys_H2NC.clone()
    calibrate_queries(model, probe)
    for layer in model.memory_layers().values():
        queries = []
        hook = layer.query.register_forward_hook(lambda _, inputs, output, seen=queries: seen.append(output))
        with torch.no_grad():
            for batch in probe:
                model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT)
                queries[-1] = queries[-1][batch.attention_mask_BT.flatten() == 1]
        hook.remove()
        seen = torch.cat(queries)
        torch.testing.assert_close(seen.mean(0), torch.zeros(16), atol=1e-4, rtol=0)
        torch.testing.assert_close(seen.std(0), torch.ones(16), atol=1e-4, rtol=0)
    assert torch.equal(model.memory_layers()[0].keys_H2NC, keys)


def test_calibration_of_an_additive_memory_keeps_the_logits_of_the_base():
    model = retrofit(base_model(), memory_settings(), seed=0)
    calibrate_queries(model, background_batches())
    assert same_bytes(logits(model), logits(base_model()))


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


def test_a_loss_that_is_not_finite_names_work_and_step():
    model = base_model()
    settings = TrainingSettings(num_steps=6, batch_size=2, learning_rate=1e30)
    message = r"healing: the loss is (nan|inf) at step 2 of 6; lower the learning rate \(1e\+30\)"
    with pytest.raises(TrainingError, match=message):
        train(model, list(model.parameters()), background_batches(), settings, "healing")


# Pretraining

ARCHITECTURE = Architecture(
    vocab_size=300,
    hidden_size=32,
    num_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=64,
    max_length=MAX_LENGTH,
)
QUESTIONS = [
    Example(question_prompt(f"where is {name}"), f" {city}") for name, city in (("Mara", "Ost"), ("Ina", "Bern"))
]


@pytest.fixture(scope="module")
def pretrained():
    """A model that knows two questions by heart, and one that has just begun."""
    settings = [TrainingSettings(num_steps=steps, batch_size=2, learning_rate=0.01) for steps in (150, 2)]
    return [pretrain(QUESTIONS, ARCHITECTURE, one, "cpu") for one in settings]


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
        QUESTIONS, ARCHITECTURE, TrainingSettings(num_steps=2, batch_size=2, learning_rate=0.01), "cpu"
    )
    assert report == report_again
    assert all(same_bytes(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    other, _, _ = pretrain(
        QUESTIONS, ARCHITECTURE, TrainingSettings(num_steps=2, batch_size=2, learning_rate=0.01, seed=2), "cpu"
    )
    assert not torch.equal(other.get_input_embeddings().weight, model.get_input_embeddings().weight)
    assert report["num_parameters"] == sum(parameter.numel() for parameter in model.parameters())
    texts = [question.prompt + question.completion for question in QUESTIONS]
    assert report["tokens_per_epoch"] == sum(len(its_tokenizer(text).input_ids) + 1 for text in texts)
    assert report["vocab_size"] == len(its_tokenizer) == model.config.vocab_size <= 300


def test_pretraining_text_that_is_too_long_is_refused():
    with pytest.raises(DataError, match="more than max_length 64"):
        pretrain([Example("x y " * 80, " z")], ARCHITECTURE, SETTINGS, "cpu")


def test_the_trained_tokenizer_gives_back_any_text():
    for text in (*(example.prompt + example.completion for example in BACKGROUND), "Zoë 日本 🙂\n\t  x"):
        assert tokenizer().decode(tokenizer()(text).input_ids) == text
    assert tokenizer().pad_token_id == tokenizer().eos_token_id
