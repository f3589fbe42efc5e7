"""Small models, texts and settings for tests. Everything follows from explicit seeds."""

import json
import random
from functools import cache

import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from smf.files.artifacts import write_jsonl
from smf.methods.registry import method_class, method_kinds
from smf.models import MemorySettings
from smf.models.checkpoint import load_model, model_hash, save_checkpoint
from smf.models.retrofit import retrofit
from smf.selection.background import BackgroundCounts, count_background
from smf.settings.json_schema import json_schema
from smf.streams.background_texts import BackgroundTexts
from smf.streams.batches import batches, encode
from smf.streams.examples import Example
from smf.streams.facts import Fact, question_prompt, write_facts
from smf.training.pretrain import train_tokenizer

MAX_LENGTH = 64
_SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": MAX_LENGTH,
    "pad_token_id": 0,
    "eos_token_id": 0,
    "bos_token_id": None,
    "initializer_range": 0.3,  # large, so that every part of so small a model matters for its logits
}
_FAMILIES = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "gemma": (GemmaConfig, GemmaForCausalLM),
    "gemma2": (Gemma2Config, Gemma2ForCausalLM),
    "gemma3": (Gemma3TextConfig, Gemma3ForCausalLM),
}
FAMILIES = tuple(_FAMILIES)


def fact(name, city):
    """A fact with three training wordings of different lengths, two unseen ones and a question."""
    return Fact(
        fact_id=name.lower().replace(" ", "-"),
        subject=name,
        train_prompts=(f"{name} was born in", f"The birthplace of {name} is", f"On the papers of {name} the city is"),
        unseen_prompts=(f"The home town of {name} is", f"{name} came into the world in"),
        question=f"in which city was {name} born",
        answers=(city,),
    )


FACTS = (fact("Joel Quint", "Tarnow"), fact("Rosa Varga", "Ostry"), fact("Emil Hollis", "Melvik"))
BACKGROUND = tuple(
    Example(prompt, f" {city}.")
    for name, city in (("Mara Teller", "Velburg"), ("Ina Brandt", "Ostry"), ("Karl Stone", "Melvik"))
    for prompt in (f"{name} was born in", f"In her letters the town of {name} is", question_prompt(f"where was {name}"))
)


@cache
def tokenizer():
    """A Qwen2 tokenizer trained on a few sentences: 256 bytes, a few merges, end-of-text (which also pads)."""
    return train_tokenizer(BACKGROUND, _SIZES["vocab_size"])


def tokenizer_with_bos():
    """The same tokenizer, but it begins each text with a token for that, as Llama's does, and has none to pad with."""
    backend = Tokenizer.from_str(tokenizer().backend_tokenizer.to_str())
    bos = ("!", tokenizer()("!").input_ids[0])
    backend.post_processor = TemplateProcessing(single="! $A", special_tokens=[bos])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="!", eos_token=tokenizer().eos_token)


def base_model(family="qwen2", *, tied=True, seed=0, **overrides):
    """A tiny base model with random weights, in evaluation mode."""
    config_class, model_class = _FAMILIES[family]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model_class(config_class(**{**_SIZES, "tie_word_embeddings": tied, **overrides})).eval()


def memory_settings(**overrides):
    """Two layers of 64 slots, four reads a token and head."""
    settings = {
        "layers": (0, 2),
        "mode": "additive",
        "num_keys": 8,
        "num_heads": 2,
        "top_k": 4,
        "key_dim": 8,
        "value_dim": 16,
    }
    return MemorySettings(**{**settings, **overrides})


def memory_model(family="qwen2", *, seed=0, open_output=True, tied=True, **settings):
    """A tiny memory model; ``open_output`` gives the additive layers an output that is not zero, as healing does."""
    model = retrofit(base_model(family, tied=tied), memory_settings(**settings), seed)
    if open_output:
        generator = torch.Generator().manual_seed(seed)
        for layer in model.memory_layers().values():
            with torch.no_grad():
                layer.output.weight.copy_(torch.randn(layer.output.weight.shape, generator=generator) * 0.5)
    return model


def encoded_text(examples=BACKGROUND, loss_on="text"):
    """Token ids and labels of a few sentences."""
    return encode(tokenizer(), examples, loss_on=loss_on, max_length=MAX_LENGTH)


def background_batches(num_batches=6, batch_size=2, seed=0):
    """Batches of the background sentences; most of them hold padding."""
    return list(
        batches(
            encoded_text(),
            batch_size=batch_size,
            num_batches=num_batches,
            pad_token_id=tokenizer().pad_token_id,
            seed=seed,
            group_by_length=False,
        )
    )


def background_counts(model, document="batch"):
    """Background counts of a model over the background sentences."""
    return count_background(model, background_batches(), document=document, provenance={"model_hash": "of a test"})


TRAINED = [kind for kind in method_kinds() if not method_class(kind).retrieves]
"""The kinds that take steps."""


def needed_settings(kind):
    """What a kind must be given: a learning rate, if it takes steps."""
    return {"learning_rate": 0.1} if kind in TRAINED else {}


def method_settings(kind, **settings):
    """The settings of a method with all defaults of its kind."""
    return method_class(kind).with_defaults({**needed_settings(kind), **settings})


def typed_settings(kind, **settings):
    """The same as what the kind declares."""
    return method_class(kind).settings_class.read({**needed_settings(kind), **settings})


def settings_schema(kind):
    """The JSON schema of a kind's settings."""
    return json_schema(method_class(kind).settings_class, title=kind)


def start_method(kind, *, seed=0, model=None, **settings):
    """A method of this kind at the beginning of its stream, on a tiny model of the sort that it starts from."""
    chosen = method_class(kind)
    if model is None:
        model = memory_model() if chosen.starts_from == "healed" else base_model()
    background = background_counts(model) if chosen.needs_background else None
    settings = method_settings(kind, **settings)
    return chosen(model, settings, background, seed, texts(seed) if chosen.reads_texts(settings) else None)


def texts(seed=0):
    """The background sentences, to be drawn from."""
    return BackgroundTexts(encoded_text(), tokenizer().pad_token_id, seed)


def write_results(folder):
    """A results folder as the pipeline leaves it: a tiny healed model, its counts, a held-out set, and three facts."""
    model = memory_model()
    save_checkpoint(model, tokenizer(), folder / "healed")
    counts = background_counts(model)
    BackgroundCounts(counts.layers, {**counts.provenance, "model_hash": model_hash(folder / "healed")}).save(
        folder / "background" / "counts.safetensors"
    )
    write_jsonl(
        folder / "data" / "held_out" / "nq.jsonl",
        [{"question": f"where is {name}", "answer": ["Ostry"]} for name in ("Mara", "Ina", "Karl")],
    )
    write_facts(folder / "facts.jsonl", FACTS)
    return folder


def logits(model, seed=1):
    """Logits of fixed random tokens, (2, 12, vocabulary)."""
    ids = torch.randint(1, 250, (2, 12), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return model(input_ids=ids).logits


def same_bytes(first, second):
    """Whether two tensors are bit-identical; unlike ``torch.equal`` this tells 0.0 from -0.0 and knows NaN."""
    return first.dtype == second.dtype and first.shape == second.shape and raw_bytes(first) == raw_bytes(second)


def raw_bytes(tensor):
    """A tensor's bits; numpy knows no bfloat16."""
    flat = tensor.detach().cpu().flatten().clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8).numpy().tobytes()


def copy_of_state(model):
    """A copy of all parameters and buffers by name."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def random_unique(rng: random.Random, below, count):
    """``count`` different integers, ascending, as a tensor."""
    return torch.tensor(sorted(rng.sample(range(below), count)), dtype=torch.long)


TOWN_ITEMS = [
    {"prompt": "Joel Quint was born in", "endings": ["Tarnow", "Ostry", "Melvik"], "label": 0},
    {"prompt": "The birthplace of Rosa Varga is", "endings": ["Velburg", "Ostry", "Tarnow"], "label": 1},
    {"prompt": "Emil Hollis was born in", "endings": ["Ostry", "Velburg", "Melvik"], "label": 2},
]
TOWN_TASK = """
task: towns
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: prompt
doc_to_choice: endings
doc_to_target: label
metric_list: [{{metric: acc}}]
"""


def expected_accuracy(folder):
    """Of each item the ending with the highest log-likelihood, ending by ending."""
    model, right = load_model(folder, "cpu"), 0
    for item in TOWN_ITEMS:
        scores = []
        for ending in item["endings"]:
            start = tokenizer()(item["prompt"])["input_ids"]
            whole = tokenizer()(f"{item['prompt']} {ending}")["input_ids"]
            with torch.no_grad():
                log_probabilities = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
            scores.append(sum(log_probabilities[i - 1, whole[i]].item() for i in range(len(start), len(whole))))
        right += scores.index(max(scores)) == item["label"]
    return right / len(TOWN_ITEMS)


def write_task(folder):
    """An lm-eval task, `towns`, in a new folder."""
    folder.mkdir()
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in TOWN_ITEMS))
    (folder / "towns.yaml").write_text(TOWN_TASK.format(path=folder / "items.jsonl"))
