"""Row-sparse steps under transformers' Trainer and in loops of one's own."""

import peft
import pytest
import torch
from transformers import Trainer, TrainingArguments

from smf.adapters.memory import load_memory
from smf.adapters.peft_config import SparseMemoryConfig
from smf.errors import CheckpointError, ConfigError
from smf.memory import record_slot_reads
from smf.models.checkpoint import load_model, save_checkpoint
from smf.training.row_sparse_optimizer import RowSparseOptimizer
from tests.helpers import background_counts, base_model, logits, memory_model, memory_settings, same_bytes, tokenizer
from tests.pages import example

LR = 2.0
TEXTS = ("Joel Quint was born in Tarnow.", "The home of Rosa Varga is Ostry, she says.")


def batch(texts=TEXTS):
    encoded = tokenizer()(list(texts), return_tensors="pt", padding=True)
    labels = encoded.input_ids.masked_fill(encoded.attention_mask == 0, -100)
    return {"input_ids": encoded.input_ids, "attention_mask": encoded.attention_mask, "labels": labels}


def rows_of(inputs):
    return [{name: tensor[row] for name, tensor in inputs.items()} for row in range(len(inputs["input_ids"]))]


def opened(layers):
    """Memories whose output depends on the values, and values that are not zero."""
    generator = torch.Generator().manual_seed(0)
    for layer in layers.values():
        layer.values_SV.data.normal_(generator=generator)
        layer.output.weight.data.normal_(generator=generator)


def dense_gradients(model, *batches):
    """The gradient of the whole tables, by autograd, summed over the batches; and the slots that their tokens read."""
    layers = model.memory_layers()
    read = {block: set() for block in layers}
    for inputs in batches:
        with record_slot_reads(layers) as reads:
            model(**inputs).loss.backward()
        for block, slots in reads.items():
            read[block] |= set(slots.slots_of_tokens(inputs["attention_mask"]).flatten().tolist())
    gradients = {block: layer.values_SV.grad.clone() for block, layer in layers.items()}
    model.zero_grad()
    return gradients, {block: sorted(slots) for block, slots in read.items()}


def values(model):
    return {block: layer.values_SV.detach().clone() for block, layer in model.memory_layers().items()}


def trained_by_trainer(model, optimizer, folder, **options):
    arguments = {"per_device_train_batch_size": 2, "max_steps": 1, "report_to": "none", "use_cpu": True}
    arguments |= {"lr_scheduler_type": "constant", "disable_tqdm": True, "save_strategy": "no", **options}
    trainer = Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(folder), **arguments),
        train_dataset=rows_of(batch()),
        optimizers=(optimizer, None),
    )
    trainer.train()
    return trainer


def test_one_batch_under_trainer_steps_the_rows_that_it_reads_along_the_dense_gradient(tmp_path):
    save_checkpoint(base_model(), tokenizer(), tmp_path / "base")
    model = peft.get_peft_model(load_model(tmp_path / "base"), SparseMemoryConfig(memory=memory_settings(num_keys=16)))
    opened(model.memory_layers())
    model.eval()
    before, (gradients, read) = values(model), dense_gradients(model, batch())
    others = {name: weight.detach().clone() for name, weight in model.named_parameters() if "values_SV" not in name}
    trainer = trained_by_trainer(model, RowSparseOptimizer(model, lr=LR), tmp_path / "out")
    for block, table_SV in values(model).items():
        torch.testing.assert_close(table_SV, before[block] - LR * gradients[block])
        changed = (table_SV != before[block]).any(dim=1).nonzero().flatten().tolist()
        assert set(changed) <= set(read[block])
        assert len(changed) < len(table_SV)
    assert all(same_bytes(weight, others[name]) for name, weight in model.named_parameters() if name in others)
    # What Trainer saves is the trained memory.
    trainer.save_model(tmp_path / "saved")
    assert same_bytes(logits(load_memory(tmp_path / "base", tmp_path / "saved")), logits(model.eval()))


def test_batches_add_up_until_the_step(tmp_path):
    model = memory_model(num_keys=16)
    opened(model.memory_layers())
    first, second = batch(TEXTS[:1]), batch(TEXTS[1:])
    before, (gradients, _) = values(model), dense_gradients(model, first, second)
    optimizer = RowSparseOptimizer(model, lr=LR)
    for inputs in (first, second):
        model(**inputs).loss.backward()
    optimizer.step()
    once = values(model)
    for block in before:
        torch.testing.assert_close(once[block], before[block] - LR * gradients[block])
    optimizer.step()  # nothing is left of them
    model(**first).loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    with torch.no_grad():
        model(**first)
    optimizer.step()
    assert all(same_bytes(table, once[block]) for block, table in values(model).items())


def test_with_a_selector_only_its_slots_step_and_padding_reads_none():
    model = memory_model(num_keys=16)
    opened(model.memory_layers())
    before, (_, read) = values(model), dense_gradients(model, batch())
    optimizer = RowSparseOptimizer(model, lr=LR, selector="tfidf", top_t=3, background=background_counts(model))
    model(**batch()).loss.backward()
    optimizer.step()
    for block, table_SV in values(model).items():
        changed = (table_SV != before[block]).any(dim=1).nonzero().flatten().tolist()
        assert len(changed) == 3
        assert set(changed) <= set(read[block])


@pytest.mark.parametrize("kind", ["sgd", "adamw", "adagrad"])
def test_a_run_that_goes_on_from_its_state_takes_the_steps_that_it_would_have_taken(kind):
    def steps(model, optimizer, number):
        for _ in range(number):
            model(**batch()).loss.backward()
            optimizer.step()

    def start():
        model = memory_model(num_keys=16)
        opened(model.memory_layers())
        return model, RowSparseOptimizer(model, lr=0.1, optimizer=kind, weight_decay=0.01)

    whole, optimizer = start()
    steps(whole, optimizer, 2)
    halves, optimizer = start()
    steps(halves, optimizer, 1)
    state = optimizer.state_dict()
    optimizer.close()
    optimizer = RowSparseOptimizer(halves, lr=0.3, optimizer=kind)
    optimizer.load_state_dict(state)
    steps(halves, optimizer, 1)
    assert all(same_bytes(table, values(halves)[block]) for block, table in values(whole).items())


def test_recomputed_activations_select_no_slots_of_their_own(tmp_path):
    tables = []
    for checkpointing in (False, True):
        model = memory_model(num_keys=16)
        opened(model.memory_layers())
        trained_by_trainer(
            model, RowSparseOptimizer(model, lr=LR), tmp_path / "out", gradient_checkpointing=checkpointing
        )
        tables.append(values(model))
    for block, table_SV in tables[0].items():
        assert not same_bytes(table_SV, values(memory_model(num_keys=16))[block])
        torch.testing.assert_close(tables[1][block], table_SV)


def test_a_model_without_memory_and_a_selector_without_counts_are_refused():
    with pytest.raises(CheckpointError, match="Qwen2ForCausalLM has no memory layers to train; retrofit it"):
        RowSparseOptimizer(base_model(), lr=LR)
    with pytest.raises(ConfigError, match="selector tfidf needs background counts"):
        RowSparseOptimizer(memory_model(), lr=LR, selector="tfidf")


def test_the_example_of_the_docs_teaches_by_trainer_and_peft(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(base_model(), tokenizer(), "base")
    names = {"rows": rows_of(batch())}
    exec(example("memory by peft"), names)
    with torch.no_grad():
        loss = names["model"].eval()(**batch()).loss
        assert loss < 0.9 * load_model("base")(**batch()).loss
        assert names["again"].eval()(**batch()).loss == loss
