"""The token that ends a text, where it is not the one that a tokenizer names.

A model trained without its tokenizer's end-of-text token gives it next to no probability, and training a few memory slots
does not change that: each answer that is taught then keeps a loss which no step lowers. llama2.c, for one, parts texts
by the token that begins them.
"""

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smf.errors import ConfigError


def end_texts_with(token: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """From now on texts end with another token, in training and where the model generates.

    Args:
        token: As it stands in the vocabulary.
        model: Its configurations change.
        tokenizer: Its end-of-text token changes; the token that pads does not.

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
