"""Sizing: counts against models that are built, bytes against tensors that autograd keeps, advice that helps."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

from smf.config.experiment import Experiment
from smf.data.questions import question_fact, trivia_pair
from smf.errors import ConfigError
from smf.files.model_shape import FAMILIES, BaseShape, MemoryShape
from smf.memory import product_keys
from smf.methods.loss import language_model_loss
from smf.methods.registry import method_class
from smf.plan import main
from smf.rows.sources import Row
from smf.sizing import activations
from smf.sizing import peak_memory as memory
from smf.sizing.activations import Texts
from smf.sizing.jobs import jobs, remedy
from smf.sizing.text import plan
from smf.sizing.work import Work
from smf.stages.plan import describe_plan, device_memory
from smf.streams.batches import Batch
from smf.training.heal import HealingSettings, heal
from tests.helpers import TRAINED, base_model, encoded_text, memory_model, start_method, typed_settings
from tests.unit.test_experiment import collection, tiny

PRESETS = Path(__file__).parents[2] / "presets"

SIZES = {
    "vocab_size": 320,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 112,
}
QWEN = {
    "vocab_size": 151_936,
    "hidden_size": 896,
    "num_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
}


def on_meta(model_type, **sizes):
    """A model without weights, and the shape that its configuration describes."""
    config = AutoConfig.for_model(model_type, **sizes)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return model, BaseShape.from_transformers(config.to_dict(), "the test")


def num_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_parameters_are_counted_exactly(model_type, tied):
    model, shape = on_meta(model_type, **SIZES, tie_word_embeddings=tied)
    assert shape.num_parameters == num_parameters(model)
    width = {
        name: (m.in_features, m.out_features) for name, m in model.model.layers[0].named_modules() if "_proj" in name
    }
    assert {name.rpartition(".")[2]: sizes for name, sizes in width.items()} == shape.linear_maps


def test_a_llama_with_biases_is_counted_exactly():
    model, shape = on_meta("llama", **SIZES, attention_bias=True, mlp_bias=True)
    assert shape.num_parameters == num_parameters(model)


def test_a_declared_architecture_is_that_of_the_real_model():
    base = {"source": "hub", "architecture": QWEN}
    assert BaseShape.from_base(base).num_parameters == 494_032_768  # Qwen/Qwen2.5-0.5B


def test_a_hub_model_of_another_family_is_sized_by_what_is_declared():
    declared = {
        **{key: value for key, value in SIZES.items() if key != "num_hidden_layers"},
        "num_layers": SIZES["num_hidden_layers"],
        "model_type": "qwen3",
        "tie_word_embeddings": False,
        "head_dim": 16,
    }
    model, _ = on_meta("qwen3", **SIZES, tie_word_embeddings=False, head_dim=16)
    assert BaseShape.from_base({"source": "hub", "architecture": declared}).num_parameters == num_parameters(model)


@pytest.mark.parametrize("mode", ["additive", "replace"])
def test_parameters_of_memory_layers_are_counted_exactly(mode):
    model, plain = memory_model(mode=mode), base_model()
    shape = MemoryShape.from_config(model.config.to_dict(), 32)
    layer = model.memory_layers()[0]
    assert sum(shape.parameters.values()) == num_parameters(layer)
    assert shape.parameters["values"] == layer.values_SV.numel()
    base = BaseShape.from_transformers(plain.config.to_dict(), "the test")
    models = memory.Models(base, shape, weight=4, value=4, on_cpu=True)
    assert models.bytes_of("base") == 4 * num_parameters(plain)
    assert models.bytes_of("healed") == 4 * num_parameters(model)


LEARNING = {
    "full": {},
    "lora": {"rank": 4},
    "smf": {"top_t": 6, "optimizer": "adamw"},
    "full_replay": {},
    "lora_replay": {"rank": 4},
    "smf_replay": {"top_t": 6, "optimizer": "adamw"},
    "ewc": {"fisher_sequences": 2},
    "self_distillation": {},
    "lora_self_distillation": {"rank": 4},
    "osf": {},
    "memory_dense": {},
    "peft": {"peft_config": {"r": 4}},
    "sparse": {"top_t": 6, "optimizer": "adamw", "selector": "fisher", "fisher_sequences": 2},
    "surprise_replay": {"rank": 4},
    "memit": {"blocks": [0, 1], "covariance_sequences": 12},
    "ultraedit": {"blocks": [1, 2]},
}
EDITORS = ("memit", "ultraedit")


def batch_of(rows, tokens, vocab_size=300):
    ids_BT = torch.randint(1, vocab_size, (rows, tokens), generator=torch.Generator().manual_seed(0))
    return Batch(ids_BT, torch.ones_like(ids_BT), ids_BT, write_mask_BT=torch.ones_like(ids_BT))


@pytest.mark.parametrize("kind", TRAINED)
def test_a_footprint_bounds_what_a_method_leaves(kind):
    """Exactly what dense methods keep; at most the rows of all steps where a step selects some."""
    method = start_method(kind, **LEARNING[kind])
    config = memory_model().config
    base = BaseShape.from_transformers(base_model().config.to_dict(), "the test")
    footprint = method_class(kind).footprint(
        typed_settings(kind, **LEARNING[kind]),
        base,
        MemoryShape.from_config(config.to_dict(), 32),
        num_steps=2,
        tokens_per_step=24,
    )
    for _ in range(2):
        method.step(batch_of(2, 12))
    method.end_lesson((0,))
    kept = sum(tensor.numel() for tensor in method.delta().values() if tensor.is_floating_point())
    trained = sum(parameter.numel() for parameter in method.model.parameters() if parameter.requires_grad)
    if kind in ("smf", "smf_replay", "sparse"):
        assert footprint.delta / 2 <= kept <= footprint.delta
        if kind == "sparse":  # which of the vectors train is chosen by the gradient of all
            assert footprint.gradients == footprint.copies == trained
        else:
            layers = method.model.memory_layers().values()
            assert footprint.gradients == sum(layer.row_gradient.gradient_RV.numel() for layer in layers)
        state = sum(t.numel() for o in method.optimizers.values() for n, t in o.state_dict().items() if n == "moments")
        room = sum(optimizer._state.moments_MEV.numel() for optimizer in method.optimizers.values())
        assert state <= room <= footprint.state
    elif kind in EDITORS:  # they train nothing by gradient
        assert trained == footprint.gradients == 0
        assert kept == footprint.delta == footprint.copies == 2 * 32 * 48
        state = sum(tensor.numel() for tensor in method.state_dict().values() if tensor.ndim)
        assert state <= footprint.state
    else:
        assert trained == footprint.gradients
        assert kept == footprint.delta == (2 * trained if kind == "osf" else trained)
        assert footprint.state == (3 if kind == "ewc" else 2) * trained
    assert (footprint.text_share is None) != method.reads_texts(method.settings)


def test_state_of_many_steps_is_no_larger_than_the_table():
    """More steps than it takes to select every slot: room for each of them, and one free row."""
    method = start_method("smf", top_t=6, optimizer="adamw", selector="random")
    base = BaseShape.from_transformers(base_model().config.to_dict(), "the test")
    shape = MemoryShape.from_config(memory_model().config.to_dict(), 32)
    footprint = method_class("smf").footprint(method.settings, base, shape, num_steps=1000, tokens_per_step=24)
    assert footprint.delta == len(shape.layers) * shape.num_slots * shape.value_dim
    assert footprint.state == 2 * len(shape.layers) * (shape.num_slots + 1) * shape.value_dim
    method = start_method("sparse", top_t=6, optimizer="adamw")
    footprint = method_class("sparse").footprint(method.settings, base, shape, num_steps=1000, tokens_per_step=24)
    assert footprint.delta == base.num_layers * base.intermediate_size * base.hidden_size
    assert footprint.state == 2 * base.num_layers * (base.intermediate_size + 1) * base.hidden_size


WIDE = {"hidden_size": 64, "intermediate_size": 192, "vocab_size": 300, "num_hidden_layers": 4}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", [kind for kind in TRAINED if kind not in EDITORS])  # their graph begins at a hook
def test_what_blocks_keep_is_what_autograd_saves(kind, dtype):
    """Two more blocks keep so much more. Masks, scales and a rank's products are left out of the estimate."""
    texts, saved = Texts(4, 32, 31), []
    for num_layers in (4, 6):
        plain = base_model(**{**WIDE, "num_hidden_layers": num_layers}).to(dtype)
        if method_class(kind).starts_from == "healed":
            plain = _retrofit(plain)
        method = start_method(kind, model=plain, **LEARNING[kind])
        method.model.eval()
        saved.append(_saved_bytes(method.model, batch_of(texts.rows, texts.tokens)))
    base = BaseShape.from_transformers(base_model(**WIDE).config.to_dict(), "the test")
    shape = MemoryShape.from_config(memory_model().config.to_dict(), 64)
    footprint = method_class(kind).footprint(
        typed_settings(kind, **LEARNING[kind]), base, shape, num_steps=1, tokens_per_step=texts.num_tokens
    )
    a_block = activations.kept_by_blocks(base, footprint, texts, dtype.itemsize, False) / (4 - footprint.first_block)
    assert 2 * a_block == pytest.approx(saved[1] - saved[0], rel=0.12)


def _retrofit(model):
    from smf.models.retrofit import retrofit
    from tests.helpers import memory_settings

    return retrofit(model, memory_settings(), 0)


def _saved_bytes(model, batch):
    """Bytes of all storages that autograd keeps, but for parameters."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages, kept = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept.append(tensor)  # else its address could be given to another
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        language_model_loss(model, batch)
    return sum(storages.values())


# The measured peaks of benchmarks/README.md: the shape of Qwen2.5-0.5B in float32 on a CPU, 8 wordings of 32 tokens.
MEASURED = {"smf": 2.9e9, "lora": 3.7e9, "full": 9.8e9}


@pytest.mark.parametrize("kind", MEASURED)
def test_the_estimate_agrees_with_a_measured_peak_within_a_quarter(kind):
    base = BaseShape.from_base({"source": "hub", "architecture": QWEN})
    sizes = {"num_keys": 128, "num_heads": 4, "top_k": 32, "key_dim": 256, "value_dim": 896}
    shape = MemoryShape.from_config({**sizes, "mode": "additive", "layers": [6, 12, 18]}, 896)
    settings = {**LEARNING[kind], **({"rank": 16} if kind == "lora" else {"top_t": 512} if kind == "smf" else {})}
    texts = Texts(8, 32, 7)
    footprint = method_class(kind).footprint(
        typed_settings(kind, **settings), base, shape, num_steps=8, tokens_per_step=texts.num_tokens
    )
    models = memory.Models(base, shape, weight=4, value=4, on_cpu=True)
    parts = memory.learning(models, method_class(kind).starts_from, footprint, texts, None)
    assert memory.total(parts) == pytest.approx(MEASURED[kind], rel=0.25)


def work_of(config):
    experiment = Experiment(config)
    return Work(experiment.config, experiment.probes, tuple(experiment.positions))


def qwen(**changes):
    """An experiment with Qwen2.5-0.5B on a GPU."""
    parts = {
        "base": {"source": "hub", "name": "Qwen/Qwen2.5-0.5B", "architecture": QWEN, "max_length": 64},
        "memory": {"layers": [6, 12, 18], "num_keys": 128, "value_dim": 896, "key_dim": 256},
        "device": "cuda",
        "device_memory": 8,
    }
    return tiny(**{**parts, **changes})


def test_jobs_and_evaluations_are_counted():
    work = work_of(tiny(seeds=[0, 1]))
    methods = len(work.config["methods"])
    assert work.jobs["learn"] == work.jobs["evaluate"] == 2 * methods
    assert work.jobs["draw_stream"] == work.jobs["evaluate_start"] == 2
    positions = len(work.positions)
    assert work.evaluations == 2 * methods * positions + 2 * 2
    assert work.sweep_runs == sum(len(method.get("sweep", ())) for method in work.config["methods"].values())


def test_answers_are_counted_for_the_facts_that_are_asked():
    def answers(**evaluation):
        changes = {"num_items": {"nq": 5}, "wordings_per_fact": 1, **evaluation}
        return work_of(tiny(seeds=[0], evaluation=changes, stream={"num_facts": 8, "snapshots": [2]})).answers

    methods = len(tiny()["methods"])
    held_out = (2 * methods + 2) * 5
    assert answers() == held_out + 3 * (methods * (2 + 8) + 2 * 8)
    assert answers(num_facts=3) == held_out + 3 * (methods * (2 + 3) + 2 * 3)


def test_what_the_base_is_asked_first_is_counted_and_said():
    def planned(**chosen):
        facts = {"num_rows": 50, "unknown_only": bool(chosen)}
        sets = {"nq": {"num_rows": 2000, "known_only": bool(chosen)}}
        config = {**collection(facts=facts, held_out=sets), "evaluation": {"num_items": {"nq": 5}}, "device_memory": 9}
        return work_of(config)

    before, after = planned(), planned(known=True)
    assert after.answers - before.answers == 2000 + 50
    assert (before.jobs["ask_base"], after.jobs["ask_base"]) == (0, 1)
    text = " ".join(describe_plan(after.config, after.probes, after.positions).split())
    assert "asked first the base model is asked nq 2000, facts 50, to keep the questions that it answers" in text
    assert "asked first" not in describe_plan(before.config, before.probes, before.positions)


def test_a_model_that_paraphrases_is_a_job_whose_memory_is_not_known():
    paraphrases = {"source": "model", "number": 4, "model": {"name": "some/instruct"}}
    experiment = Experiment(qwen(stream={"paraphrases": paraphrases}))
    work = Work(experiment.config, experiment.probes, tuple(experiment.positions))
    assert (work.jobs["paraphrase"], work_of(qwen()).jobs["paraphrase"]) == (1, 0)
    text = describe_plan(experiment.config, experiment.probes, experiment.positions)
    assert "not estimated: the config does not tell the sizes of some/instruct" in text


def test_what_healing_measures_is_counted(monkeypatch):
    """The passes that healing a model makes, but for those of its training."""
    passes = []
    monkeypatch.setattr("smf.training.heal.train", lambda *_, **__: None)
    model, base = memory_model(mode="replace"), base_model()
    networks = {block: base.model.layers[block].mlp for block in model.memory_layers()}
    settings = {"num_steps": 4, "batch_size": 2, "probe_batches": 3, "learning_rate": 0.1}
    with model.get_input_embeddings().register_forward_hook(lambda *_: passes.append(1)):
        heal(model, networks, encoded_text(), HealingSettings(**settings), pad_token_id=0, calibrate=True)
    config = tiny(memory={"layers": [0, 1]}, healing=settings)
    assert work_of(config).probe_passes == len(passes)


def test_a_replaced_network_stays_in_memory_while_the_model_heals():
    shape = {"num_keys": 8, "num_heads": 2, "top_k": 2, "key_dim": 8, "value_dim": 16, "layers": [0, 2]}
    base = BaseShape.from_base({"source": "hub", "architecture": QWEN})
    weights = []
    for mode in ("additive", "replace"):
        memories = MemoryShape.from_config({**shape, "mode": mode}, base.hidden_size)
        models = memory.Models(base, memories, weight=4, value=4, on_cpu=False)
        weights.append(memory.healing(models, Texts(2, 8, 7))["weights"])
    assert weights[0] == weights[1]


def test_healing_of_no_steps_needs_the_weights_and_a_pass_without_gradients():
    experiment = Experiment(qwen(memory={"mode": "additive", "start": "values"}, healing={"num_steps": 0}))
    work = Work(experiment.config, experiment.probes, tuple(experiment.positions))
    [none] = [job for job in jobs(work) if job.name == "heal"]
    parts = none.parts(work.models, 2)
    trained = memory.healing(work.models, Texts(2, 8, 7))
    assert parts["weights"] == trained["weights"]
    assert not {"gradients", "optimizer", "activations"} & parts.keys()
    text = describe_plan(experiment.config, experiment.probes, experiment.positions)
    assert "0 optimizer steps of" in text


def test_logits_take_no_more_than_a_slice_of_positions_does():
    base = BaseShape.from_base({"source": "hub", "architecture": QWEN})
    small, large, larger = (activations.logits(base, Texts(rows, 128, 127)) for rows in (1, 8, 16))
    assert small == 127 * base.vocab_size * 12
    assert large < 4 * small
    assert larger - large == 8 * 127 * 2 * base.hidden_size * 4  # the hidden states


def test_a_search_takes_as_many_tokens_together_as_the_search_itself_says():
    assert memory._SEARCHED_AT_ONCE == product_keys._TOKENS_AT_ONCE


@pytest.mark.parametrize("name", ["gupta2026_medmcqa", "goyal2026_triviaqa"])
def test_a_step_has_as_many_texts_as_the_stream_gives_it(name):
    experiment = Experiment(yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8")))
    batch = Work(experiment.config, experiment.probes, tuple(experiment.positions)).batch
    row = {"question": "why", "answer": {"value": "so", "aliases": []}}
    asked = question_fact(trivia_pair(Row(1, "here", row)), "trivia")
    assert batch.rows == 16 * {"gupta2026_medmcqa": 1, "goyal2026_triviaqa": len(asked.train_prompts)}[name]


def test_steps_follow_the_stream():
    work = work_of(
        tiny(stream={"num_facts": 7, "facts_per_step": 2, "epochs": 3, "steps_per_fact": 5, "snapshots": []})
    )
    assert work.passes.num_steps == 3 * math.ceil(7 / 2) * 5
    assert work.batch.rows == 2 * 6  # the world has six training wordings


def test_a_step_is_as_long_as_the_longest_wording_may_be():
    short, long = (work_of(qwen(stream={"max_length": length})) for length in (16, None))
    assert (short.batch.tokens, long.batch.tokens) == (16, 64)
    peaks = {}
    for name, work in (("short", short), ("long", long)):
        peaks[name] = {job.name: memory.total(job.parts(work.models, job.rows)) for job in jobs(work)}
    smaller = {job for job, peak in peaks["short"].items() if peak < peaks["long"][job]}
    assert smaller == {job for job in peaks["long"] if job.startswith("learn")}


def test_advice_makes_a_job_fit():
    work = work_of(qwen())
    limit, advised = 4 * 10**9, 0
    for job in jobs(work):
        if memory.total(job.parts(work.models, job.rows)) <= limit:
            continue
        advice = remedy(job, work.models, limit)
        rows = [int(part.split(": ")[1]) for part in advice.split(" and ") if job.setting in part]
        if rows:
            models = memory.Models(
                work.models.base,
                work.models.memory,
                weight=2 if "bfloat16" in advice else 4,
                value=4,
                on_cpu=False,
                checkpointing="checkpointing: true" in advice,
            )
            assert memory.total(job.parts(models, rows[0])) <= limit
            assert memory.total(job.parts(models, rows[0] + 1)) > limit
            advised += 1
    assert advised


def test_the_plan_warns_of_a_device_that_is_too_small_and_says_what_to_change():
    def text(**changes):
        experiment = Experiment(qwen(**changes))
        return describe_plan(experiment.config, experiment.probes, experiment.positions)

    small = text(device_memory=4)
    assert "WARNING: the device has 4.00 GB" in small
    assert "learn full needs" in small
    large = text(device_memory=80)
    assert "Every job fits the device, which has 80.00 GB" in large
    assert "494,032,768 parameters" in large
    assert "WARNING" not in large


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*20*.yaml")), ids=lambda path: path.stem)
def test_all_that_sparse_finetuning_of_a_published_experiment_needs_fits_8_gb(path):
    experiment = Experiment(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert experiment.config["device_memory"] == 8
    work = Work(experiment.config, experiment.probes, tuple(experiment.positions))
    sparse = [name for name, method in experiment.methods.items() if method["kind"] == "smf"]
    wanted = {"heal", "count_background", *(f"{rule} {name}" for rule in ("learn", "evaluate") for name in sparse)}
    peaks = {job.name: memory.total(job.parts(work.models, job.rows)) for job in jobs(work) if job.name in wanted}
    assert peaks.keys() == wanted
    assert max(peaks.values()) <= 8e9, peaks


def test_the_plan_says_which_methods_take_no_steps():
    steps = [work_of(tiny(methods=more)) for more in ({}, {"shown": {"kind": "retrieval", "retriever": "gold"}})]
    without, retrieving = (plan(work, 10**10).text for work in steps)
    assert "tokens, for every method\n" in without
    assert "tokens, for every method but shown\n" in retrieving


def test_a_start_model_that_snapshots_are_compared_with_is_counted_beside_them():
    plain, compared = work_of(qwen()), work_of(qwen(evaluation={"kl": {"num_facts": 5}}))
    for start, name in (("base", "full"), ("healed", "smf_tfidf")):
        without, beside = (
            next(job.parts(work.models, job.rows) for job in jobs(work) if job.name == f"evaluate {name}")
            for work in (plain, compared)
        )
        assert beside["start model"] == plain.models.bytes_of(start) == without["weights"]
        assert "start model" not in without
        assert beside["logits"] > without["logits"]  # of both models


def test_a_table_that_starts_at_zero_is_planned_with_what_is_written_in_it():
    """2^24 slots of 896 float32 numbers are 60 GB; a stream of 4 steps writes 4 x 32 rows, on two pages each."""
    large = {"num_keys": 4096, "value_dim": 896, "layers": [1]}
    zero, healed = (
        work_of(tiny(memory={**large, **start}, healing={"num_steps": number}))
        for start, number in (({"start": "values"}, 0), ({}, 4))
    )
    table = 4 * 896 * 2**24
    assert healed.disk["healed model"] - zero.disk["healed model"] == table
    models = zero.models
    assert healed.models.bytes_in_use("healed", 10**6) - models.bytes_in_use("healed") == table
    assert models.bytes_in_use("healed", 128 * 896) - models.bytes_in_use("healed") == 128 * (4 * 896 + 4096)
    assert models.bytes_in_use("healed", 2**24 * 896) == models.bytes_of("healed")  # written all over
    assert replace(models, on_cpu=False).bytes_in_use("healed") == models.bytes_of("healed")
    peaks = {job.name: memory.total(job.parts(models, job.rows)) for job in jobs(zero)}
    assert peaks["heal"] < 4e9
    assert peaks["count_background"] < 2e9
    assert "60,129.5 MB in all, in memory only what is written" in plan(zero, 24 * 10**9).text


def test_a_hub_model_whose_sizes_are_not_declared_cannot_be_sized():
    with pytest.raises(ConfigError, match="base.architecture does not give vocab_size"):
        BaseShape.from_base({"source": "hub", "architecture": {"num_layers": 2}})
    with pytest.raises(ConfigError, match="cannot size architecture 'mamba'; known: gemma"):
        BaseShape.from_transformers({"model_type": "mamba"}, "config.json")


def test_a_device_that_is_not_here_must_be_told():
    assert device_memory("cpu") > 10**9
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no CUDA device to ask for its memory; set device_memory"):
            device_memory("cuda")


def test_the_command_prints_the_plan_or_what_is_wrong(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tiny()))
    assert main([str(config), "--memory", "0.001"]) == 0
    printed = capsys.readouterr().out
    assert "Peak memory on cpu" in printed
    assert "WARNING: the device has 0.00 GB" in printed
    assert "(; " not in printed  # parts of less than 10 MB are not shown
    config.write_text(yaml.safe_dump(tiny(stream={"num_facts": 0})))
    assert main([str(config)]) == 1
    assert "stream.num_facts is 0" in capsys.readouterr().err
