"""Sparse memory finetuning: teach a language model new facts, and take them back.

Notebooks and applications import from here; docs/tutorial.md walks through it. Start from a model folder, some ordinary
texts and a few facts:

    from smf import *

    model, tokenizer = retrofit(load_model("model")), load_tokenizer("model")
    background = count_background(model, text_batches(tokenizer, texts))
    learned = learn_stream(model, tokenizer, facts, MethodSettings("smf"), background=background)
    revert(model, [learned.patch])

``import smf`` alone takes milliseconds: each name is imported on first use. The workflow and smf's own modules import
from the defining modules, never from here.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smf.adapters.memory import load_memory as load_memory
    from smf.adapters.memory import save_memory as save_memory
    from smf.adapters.peft_config import SparseMemoryConfig as SparseMemoryConfig
    from smf.config.load import load_config as load_config
    from smf.errors import SmfError as SmfError
    from smf.evaluation.harness import Evaluator as Evaluator
    from smf.evaluation.settings import EvaluationSettings as EvaluationSettings
    from smf.methods.settings import MethodSettings as MethodSettings
    from smf.models.checkpoint import load_model as load_model
    from smf.models.checkpoint import load_tokenizer as load_tokenizer
    from smf.models.checkpoint import model_hash as model_hash
    from smf.models.checkpoint import save_checkpoint as save_checkpoint
    from smf.models.retrofit import retrofit as retrofit
    from smf.patches.apply import apply as apply
    from smf.patches.apply import revert as revert
    from smf.patches.forget import forget as forget
    from smf.patches.patch import MemoryPatch as MemoryPatch
    from smf.patches.patch import read_patch as read_patch
    from smf.patches.patch import write_patch as write_patch
    from smf.patches.stack import stack as stack
    from smf.selection.background import BackgroundCounts as BackgroundCounts
    from smf.selection.background import count_background as count_background
    from smf.settings.memory import MemorySettings as MemorySettings
    from smf.streams.background_texts import text_batches as text_batches
    from smf.streams.facts import Fact as Fact
    from smf.streams.facts import read_facts as read_facts
    from smf.teaching.ask import answer as answer
    from smf.training.calibrate import calibrate_queries as calibrate_queries
    from smf.training.learn import StreamSettings as StreamSettings
    from smf.training.row_sparse_optimizer import RowSparseOptimizer as RowSparseOptimizer
    from smf.training.stream import Learned as Learned
    from smf.training.stream import learn_stream as learn_stream

_HOMES = {
    "adapters.memory": ("load_memory", "save_memory"),
    "adapters.peft_config": ("SparseMemoryConfig",),
    "config.load": ("load_config",),
    "errors": ("SmfError",),
    "evaluation.harness": ("Evaluator",),
    "evaluation.settings": ("EvaluationSettings",),
    "methods.settings": ("MethodSettings",),
    "models.checkpoint": ("load_model", "load_tokenizer", "model_hash", "save_checkpoint"),
    "models.retrofit": ("retrofit",),
    "patches.apply": ("apply", "revert"),
    "patches.forget": ("forget",),
    "patches.patch": ("MemoryPatch", "read_patch", "write_patch"),
    "patches.stack": ("stack",),
    "selection.background": ("BackgroundCounts", "count_background"),
    "settings.memory": ("MemorySettings",),
    "streams.background_texts": ("text_batches",),
    "streams.facts": ("Fact", "read_facts"),
    "teaching.ask": ("answer",),
    "training.calibrate": ("calibrate_queries",),
    "training.learn": ("StreamSettings",),
    "training.row_sparse_optimizer": ("RowSparseOptimizer",),
    "training.stream": ("Learned", "learn_stream"),
}
"""Where each name is defined."""

_MODULES = {name: f"smf.{module}" for module, names in _HOMES.items() for name in names}

__all__ = [
    "BackgroundCounts",
    "EvaluationSettings",
    "Evaluator",
    "Fact",
    "Learned",
    "MemoryPatch",
    "MemorySettings",
    "MethodSettings",
    "RowSparseOptimizer",
    "SmfError",
    "SparseMemoryConfig",
    "StreamSettings",
    "answer",
    "apply",
    "calibrate_queries",
    "count_background",
    "forget",
    "learn_stream",
    "load_config",
    "load_memory",
    "load_model",
    "load_tokenizer",
    "model_hash",
    "read_facts",
    "read_patch",
    "retrofit",
    "revert",
    "save_checkpoint",
    "save_memory",
    "stack",
    "text_batches",
    "write_patch",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'smf' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
