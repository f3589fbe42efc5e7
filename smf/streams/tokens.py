"""How text becomes token ids: in training, evaluation, questions to a model and lm-eval's command line.

The one rule: what the tokenizer puts before a text by itself (the beginning-of-text token of Llama and Gemma; nothing
for Qwen) stands there, once, because a model that was trained with it is lost without it. What the tokenizer puts
behind a text does not: behind a prompt it would end the text before the answer, and training writes its own end. The
text between is plain text: a special token that is spelled out in it (``<|endoftext|>``, ``<s>``) is cut into ordinary
tokens, also at the beginning. Added tokens that are not special stay tokens.
"""

import json
from collections.abc import Sequence
from itertools import takewhile
from typing import Any
from weakref import WeakKeyDictionary

from tokenizers import Tokenizer
from tokenizers.models import Unigram
from transformers import BatchEncoding, PreTrainedTokenizerBase, PreTrainedTokenizerFast

Offsets = list[tuple[int, int]]
"""Of each token, the first character of the text that it stands for and the one after the last."""

_UNSPELLABLE = "\ue000\ue001"  # private characters of Unicode, which no text spells out by chance
_PLAIN: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[int, PreTrainedTokenizerBase]] = WeakKeyDictionary()


def start_of_text(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that the tokenizer puts before each text by itself; empty if it puts none."""
    encoding = tokenizer(["a"])
    number = sum(1 for _ in takewhile(lambda of_text: of_text is None, encoding.sequence_ids(0)))
    return encoding["input_ids"][0][:number]


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, chats: bool = False) -> list[list[int]]:
    """The ids of each text, with the tokens that start it and without any that end it.

    Args:
        tokenizer: A fast tokenizer.
        texts: Plain text; may be empty.
        chats: The texts were written by a chat template: special tokens spelled out in them are meant as such, and one
            that starts a text already is not put there again.
    """
    start = start_of_text(tokenizer)
    bodies = body_ids(tokenizer, texts, chats=chats)
    return [ids if chats and start and ids[: len(start)] == start else start + ids for ids in bodies]


def body_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, chats: bool = False) -> list[list[int]]:
    """The ids of each text, without tokens that start or end it; see :func:`token_ids`."""
    return _encoded(tokenizer, texts, chats)["input_ids"] if texts else []


def body_ids_and_offsets(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, chats: bool = False
) -> list[tuple[list[int], Offsets]]:
    """Like :func:`body_ids`, with the characters that each token stands for."""
    if not texts:
        return []
    encoding = _encoded(tokenizer, texts, chats, return_offsets_mapping=True)
    return list(zip(encoding["input_ids"], encoding["offset_mapping"], strict=True))


def split_ids(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], *, chats: bool = False
) -> list[tuple[list[int], list[int]]]:
    """The ids of contexts and of what follows them, cut out of the ids of both together.

    A token that stands for characters of both belongs to what follows, as in training. So does white space at the
    context's end, as in lm-eval: most tokenizers join it to the next word.

    Returns:
        For each pair, the context's ids, without the tokens that start a text, and those of what follows.
    """
    wholes = body_ids_and_offsets(tokenizer, [context + following for context, following in pairs], chats=chats)
    split = []
    for (context, _), (ids, offsets) in zip(pairs, wholes, strict=True):
        end = len(context.rstrip())
        first = next((place for place, (_, stop) in enumerate(offsets) if stop > end), len(ids))
        split.append((ids[:first], ids[first:]))
    return split


def chat_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[str]) -> BatchEncoding:
    """Prompts of a chat with one message each, padded on the left: ``input_ids`` and ``attention_mask``, (B, T).

    Special tokens that the chat template writes are such; those that a message spells out are plain text.
    """
    padded: Any = tokenizer.apply_chat_template(
        [[{"role": "user", "content": message}] for message in messages],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        padding=True,
        sanitize_control_tokens=True,
        tokenizer_kwargs={"padding_side": "left", "return_token_type_ids": False},
    )
    return padded


def chat(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]], *, goes_on: bool = True
) -> tuple[str, list[int]]:
    """One chat as text and as token ids, special tokens as in :func:`chat_ids`.

    Args:
        tokenizer: One with a chat template.
        turns: Role and content of each message.
        goes_on: The assistant's next message is to follow.
    """
    messages = [{"role": role, "content": content} for role, content in turns]
    text: Any = tokenizer.apply_chat_template(messages, add_generation_prompt=goes_on, tokenize=False)
    ids: Any = tokenizer.apply_chat_template(
        messages, add_generation_prompt=goes_on, tokenize=True, return_dict=False, sanitize_control_tokens=True
    )
    return text, ids


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], chats: bool, **options: Any) -> BatchEncoding:
    plain = tokenizer if chats else without_spelled_control_tokens(tokenizer)
    return plain(list(texts), add_special_tokens=False, split_special_tokens=not chats, **options)


def without_spelled_control_tokens(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer itself, or a copy for plain text if it is of the Unigram kind.

    A Unigram model takes any piece of its vocabulary from a text, ``<s>`` too, whatever ``split_special_tokens`` says.
    In the copy these pieces have names that no text holds; all ids stay.
    """
    backend = tokenizer.backend_tokenizer
    if not isinstance(backend.model, Unigram):
        return tokenizer
    size, plain = _PLAIN.get(tokenizer, (None, tokenizer))
    if size != len(tokenizer):  # tokens were added since
        state = json.loads(backend.to_str())
        special = [token for token in state["added_tokens"] if token["special"]]
        hidden = {token["content"]: f"{_UNSPELLABLE}{token['id']}" for token in special}
        state["model"]["vocab"] = [[hidden.get(piece, piece), score] for piece, score in state["model"]["vocab"]]
        for token in state["added_tokens"]:
            token["content"] = hidden.get(token["content"], token["content"])
        plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))
        _PLAIN[tokenizer] = len(tokenizer), plain
    return plain
