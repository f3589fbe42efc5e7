"""Model folders: saved whole or not at all, loaded completely or not at all."""

import json
import os
import tempfile
from pathlib import Path

import transformers
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import smf.models  # noqa: F401 (registers the memory model with AutoModelForCausalLM)
from smf.artifacts import not_written, sha256
from smf.errors import CheckpointError
from smf.model_folder import MODEL_FILES
from smf.models.memory_model import require_all_weights


def save_checkpoint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Write model and tokenizer as a transformers folder of :data:`MODEL_FILES`.

    The weights get their final name last, so a folder with weights is complete.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    transformers.utils.logging.disable_progress_bar()
    try:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            model.save_pretrained(name, max_shard_size="1TB")
            tokenizer.save_pretrained(name)
            # Old weights must not stand beside a new configuration.
            (folder / "model.safetensors").unlink(missing_ok=True)
            for file in sorted(MODEL_FILES, key=lambda file: file == "model.safetensors"):
                with open(Path(name) / file, "rb+") as handle:
                    os.fsync(handle.fileno())
                os.replace(Path(name) / file, folder / file)
    except Exception as error:
        error.add_note(not_written(folder))
        raise


def load_model(folder: str | Path, device: str) -> PreTrainedModel:
    """Load a language model, with memory or without, in evaluation mode.

    Raises:
        CheckpointError: The folder is missing or incomplete, or its weights do not fit its configuration.
    """
    transformers.utils.logging.disable_progress_bar()  # one bar a job, for what takes long
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError, RuntimeError, json.JSONDecodeError, SafetensorError) as error:
        raise CheckpointError(f"cannot load a language model from {folder}: {error}") from error
    require_all_weights(folder, info)  # transformers would fill what is missing or misshapen with random numbers
    return model.eval().to(device)


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer.

    Raises:
        CheckpointError: The folder holds none, or it has no padding token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot load a tokenizer from {folder}: {error}") from error
    if tokenizer.pad_token_id is None or tokenizer.eos_token_id is None:
        raise CheckpointError(f"the tokenizer in {folder} has no padding or no end-of-text token; set both")
    return tokenizer


def model_hash(folder: str | Path) -> str:
    """SHA-256 of the configuration and the weights: which model something was computed with."""
    return sha256(Path(folder) / "config.json", Path(folder) / "model.safetensors")
