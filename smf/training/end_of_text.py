"""Handle models that end texts with another token than their tokenizer's end-of-text token.

A model trained without its tokenizer's end-of-text token gives it next to no probability, and training a few memory
slots does not change that: each taught answer then keeps a loss that no step lowers. llama2.c, for example, separates
texts by the token that begins them.
"""

import logging
import math
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smf.errors import ConfigError
from smf.methods.loss import language_model_loss
from smf.streams.batches import IGNORED, collate, encode
from smf.streams.examples import Example

logger = logging.getLogger(__name__)

_NUM_TEXTS = 16


def end_texts_with(token: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """End texts with another token from now on, in training and in generation.

    Args:
        token: The token, as in the vocabulary.
        model: Its configurations change.
        tokenizer: Its end-of-text token changes; its padding token does not.

    Raises:
        ConfigError: The vocabulary has no such token.
    """
    if token not in tokenizer.get_vocab():
        raise ConfigError(
            f"base.end_of_text is {token!r}, which the vocabulary of {tokenizer.name_or_path} does not have; its "
            f"special tokens are {', '.join(map(repr, tokenizer.all_special_tokens))}"
        )
    tokenizer.eos_token = token
    model.config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id


@torch.no_grad()
def end_of_text_loss(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[Example], max_length: int
) -> float | None:
    """Mean loss on the end-of-text token, over the first few texts that are short enough, in nats.

    Warns if the model gives the token less than the uniform probability.

    Args:
        model: A model in evaluation mode.
        tokenizer: Its tokenizer.
        texts: Ordinary text.
        max_length: Longest text, in tokens.

    Returns:
        The negative log-likelihood of the end-of-text token after a text; None if all texts are too long.
    """
    encoded = encode(tokenizer, texts[: 8 * _NUM_TEXTS], loss_on="text", max_length=max_length, long="split")
    end = tokenizer.eos_token_id
    ends = [(ids, [*(IGNORED for _ in ids[1:]), end]) for ids, _ in encoded if ids[-1] == end][:_NUM_TEXTS]
    if not ends:
        return None
    loss = float(language_model_loss(model, collate(ends, tokenizer.pad_token_id).to(model.device)))
    logger.info("after %d texts the end-of-text token has a loss of %.1f nats", len(ends), loss)
    if loss > math.log(len(tokenizer)):
        logger.warning(
            "the base model hardly ever ends a text with %r (%.1f nats; chance level is %.1f). It may have been "
            "trained without this token, and no method can then teach it answers that end in it. Set base.end_of_text "
            "to the token that ended its texts",
            tokenizer.eos_token,
            loss,
            math.log(len(tokenizer)),
        )
    return loss
