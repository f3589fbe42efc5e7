"""Check that a model's embedding has a row for each token id; otherwise a text fails in the middle of a run."""

from collections.abc import Iterable
from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase

from smf.errors import CheckpointError
from smf.streams.tokens import start_of_text

_CONTROL = ("bos_token_id", "eos_token_id", "pad_token_id")


def require_fast(where: object, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that cannot map tokens to characters.

    Raises:
        CheckpointError: The tokenizer is slow, that is, written in Python.
    """
    if not tokenizer.is_fast:
        raise CheckpointError(
            f"the tokenizer in {where} is a {type(tokenizer).__name__}, which gives no character offsets; smf needs a "
            "fast tokenizer: put the model's tokenizer.json into the folder"
        )


def require_rows_for_tokens(where: object, tokenizer: PreTrainedTokenizerBase, num_rows: int) -> None:
    """Refuse a tokenizer that can produce an id for which the model has no embedding.

    Text never produces a special token, so one without a row does no harm (Gemma 3's text models have one for images),
    unless it starts, ends or pads texts. Rows without a token, as in Qwen, do no harm either.

    Args:
        where: The folder, for messages.
        tokenizer: The tokenizer.
        num_rows: Rows of the model's embedding.

    Raises:
        CheckpointError: Such an id exists; the message names both sizes.
    """
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    needed = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, *start_of_text(tokenizer)}
    reached = ({*tokenizer.get_vocab().values()} - special) | (needed - {None})
    beyond = sorted(index for index in reached if index >= num_rows)
    if beyond:
        names = ", ".join(f"{tokenizer.convert_ids_to_tokens(index)!r} ({index})" for index in beyond[:3])
        raise CheckpointError(
            f"the tokenizer in {where} has {len(tokenizer)} tokens, but the model's embedding has {num_rows} rows, "
            f"without one for {names}{'…' if len(beyond) > 3 else ''}; take the tokenizer that the model was trained "
            "with, or call model.resize_token_embeddings(len(tokenizer)), train the new rows and save the model again"
        )


def read_config(folder: str | Path) -> PreTrainedConfig:
    """The configuration of a model folder.

    Raises:
        CheckpointError: It is damaged, of an unknown kind, or names a start, end or padding token without an embedding.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot load a language model from {folder}: {error}") from error
    num_rows = config.get_text_config().vocab_size
    for part in (config, config.get_text_config()):
        for name in _CONTROL:
            value = getattr(part, name, None)
            ids = value if isinstance(value, Iterable) else () if value is None else (value,)
            if beyond := [index for index in ids if index >= num_rows]:
                raise CheckpointError(
                    f"config.json in {folder} names {beyond[0]} as {name}, but the embedding has {num_rows} rows "
                    "(vocab_size), counted from 0; correct it to the id that the tokenizer has for this token"
                )
    return config
