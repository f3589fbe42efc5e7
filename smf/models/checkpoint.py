"""Model folders, saved and loaded completely or not at all."""

import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import smf.models  # noqa: F401 (registers the memory model with AutoModelForCausalLM)
from smf.errors import CheckpointError, DataError
from smf.files.artifacts import read_json, sha256
from smf.files.atomic import not_written, put_in_place
from smf.files.model_folder import MEMORY_MODEL_FILES, MODEL_FILES
from smf.models.device import require_device
from smf.models.memory_model import MemoryForCausalLM, require_all_weights
from smf.models.remote_code import add_remote_code
from smf.models.vocabulary import read_config, require_fast, require_rows_for_tokens

logger = logging.getLogger(__name__)

_TEMPORARY = ".saving."
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"


def save_checkpoint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Write model and tokenizer as a transformers folder: :data:`MODEL_FILES`, and for a memory model its code.

    The weights get their final name last, so a folder with weights is complete.

    Example:
        >>> save_checkpoint(model, tokenizer, "taught")
        >>> type(load_model("taught")).__name__
        'MemoryForCausalLM'
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    transformers.utils.logging.disable_progress_bar()
    try:
        for left in folder.glob(f"{_TEMPORARY}*"):  # by a killed process
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_TEMPORARY) as name:
            model.save_pretrained(name, max_shard_size="1TB")
            tokenizer.save_pretrained(name, save_jinja_files=False)  # a chat template goes into its configuration
            files: tuple[str, ...] = MODEL_FILES
            if isinstance(model, MemoryForCausalLM):
                add_remote_code(name)
                files = MEMORY_MODEL_FILES
            # Old weights must not sit next to a new configuration.
            (folder / "model.safetensors").unlink(missing_ok=True)
            for file in sorted(files, key=lambda file: file == "model.safetensors"):
                put_in_place(Path(name) / file, folder / file)
    except Exception as error:
        error.add_note(not_written(folder))
        raise


def load_model(folder: str | Path, device: str = "cpu", dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Load a language model, with memory or without, in evaluation mode.

    Args:
        folder: A transformers folder; weights may be in one file or in several with an index.
        device: Device to put the model on.
        dtype: Dtype of the weights; None for the dtype that they are saved in. Value tables keep theirs.

    Raises:
        CheckpointError: The folder is missing or incomplete, or its weights do not fit its configuration.
        ConfigError: The device is not available.

    Example:
        >>> load_model("base").training
        False
    """
    require_device(device)
    if not (Path(folder) / "config.json").is_file():  # transformers would look for the name on the hub
        raise CheckpointError(
            f"cannot load a language model from {folder}: it has no config.json; name a model's folder"
        )
    read_config(folder)
    transformers.utils.logging.disable_progress_bar()  # a job shows one bar, for its long part
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype or "auto",
            local_files_only=True,
            use_safetensors=True,  # a pickle can run any code
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (OSError, ValueError, RuntimeError, json.JSONDecodeError, SafetensorError) as error:
        raise CheckpointError(f"cannot load a language model from {folder}: {error}") from error
    model, info = loaded
    require_all_weights(folder, info)  # transformers would initialize missing or misshapen weights at random
    return model.eval().to(device)


def cast_weights(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Cast all weights to another dtype in place; buffers such as rotary frequencies keep theirs, as after loading."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.config.dtype = dtype


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer. If it has no padding token, as with Llama, the end-of-text token pads: padding is masked.

    Raises:
        CheckpointError: The folder holds no tokenizer or a slow one, or the tokenizer has no end-of-text token, or it
            has tokens for which the folder's model has no embedding.

    Example:
        >>> load_tokenizer("base").is_fast
        True
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot load a tokenizer from {folder}: {error}") from error
    require_fast(folder, tokenizer)
    if tokenizer.eos_token_id is None:
        raise CheckpointError(
            f"the tokenizer in {folder} has no end-of-text token, by which a model ends its answers; name it as "
            "`eos_token` in tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        logger.info("the tokenizer in %s has no padding token; padding with %r", folder, tokenizer.eos_token)
        tokenizer.pad_token = tokenizer.eos_token
    if (Path(folder) / "config.json").is_file():
        require_rows_for_tokens(folder, tokenizer, read_config(folder).get_text_config().vocab_size)
    return tokenizer


def weight_files(folder: str | Path) -> list[Path]:
    """The files that a model's weights are read from: one, or several with an index.

    Raises:
        CheckpointError: The index is damaged.
    """
    folder = Path(folder)
    index = folder / _INDEX
    if (folder / _WEIGHTS).is_file() or not index.is_file():
        return [folder / _WEIGHTS]
    try:
        return [folder / shard for shard in sorted(set(read_json(index)["weight_map"].values()))]
    except (DataError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is damaged ({error}); get a new copy of the model") from error


def model_hash(folder: str | Path) -> str:
    """SHA-256 of a model's configuration and weights, in one file or several; it identifies the model behind a result.

    Raises:
        CheckpointError: A file is missing, or the list of weight files is damaged.

    Example:
        >>> len(model_hash("base"))
        64
    """
    folder, weights = Path(folder), weight_files(folder)
    index = [] if weights == [Path(folder) / _WEIGHTS] else [folder / _INDEX]
    try:
        return sha256(folder / "config.json", *index, *weights)
    except OSError as error:
        raise CheckpointError(f"{folder} is not a complete model folder: {error}; name one that is") from error
