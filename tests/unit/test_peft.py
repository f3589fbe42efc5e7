"""peft's LoRA on a memory model: it attaches, trains, is saved and comes back."""

import peft
import pytest
import torch

from smf.models.checkpoint import load_model, save_checkpoint
from tests.helpers import copy_of_state, logits, memory_model, same_bytes, tokenizer

targets = pytest.mark.parametrize(
    ("target_modules", "expected"),
    [
        ("all-linear", {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
        (["q_proj", "memory.query"], {"q_proj", "query"}),
    ],
    ids=["all-linear", "named"],
)


def with_lora(model, target_modules):
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=target_modules, init_lora_weights="gaussian")
    return peft.get_peft_model(model, config)


@targets
@pytest.mark.parametrize("family", ["qwen2", "gemma3"])
def test_an_adapter_trains_is_saved_and_comes_back(family, target_modules, expected, tmp_path):
    save_checkpoint(memory_model(family), tokenizer(), tmp_path / "model")
    before = copy_of_state(load_model(tmp_path / "model", "cpu"))
    model = with_lora(load_model(tmp_path / "model", "cpu"), target_modules)
    adapted = {name.split(".")[-2] for name, module in model.named_modules() if name.endswith(".lora_A")}
    assert adapted == expected | ({"query", "gate", "output"} if target_modules == "all-linear" else set())
    ids = torch.randint(1, 250, (2, 9), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(3):
        loss = model(input_ids=ids, labels=ids).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[2] < losses[0]
    model.save_pretrained(tmp_path / "adapter")
    again = peft.PeftModel.from_pretrained(load_model(tmp_path / "model", "cpu"), tmp_path / "adapter")
    assert same_bytes(logits(again.eval()), logits(model.eval()))
    for name, tensor in again.unload().state_dict().items():
        assert same_bytes(tensor, before[name]), name


def test_a_merged_adapter_gives_the_adapters_logits():
    model = with_lora(memory_model(), "all-linear")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    before = logits(model)
    torch.testing.assert_close(logits(model.merge_and_unload()), before, rtol=1e-3, atol=1e-3)
