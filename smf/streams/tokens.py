"""How text becomes token ids: in training, evaluation, questions to a model and lm-eval's command line.

The one rule: the tokens that the tokenizer adds before a text by default (beginning-of-text for Llama and Gemma; none
for Qwen) are there, once, because a model that was trained with them is lost without them. The tokens that it adds
after a text are not: after a prompt they would end the text before the answer, and training adds its own. The text
itself is plain text: a special token that is spelled out in it (``<|endoftext|>``, ``<s>``) is split into ordinary
tokens, even at the beginning. Added tokens that are not special stay whole.
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
"""For each token, the first character of the text that it covers and the one after the last."""

_UNSPELLABLE = "\ue000\ue001"  # Unicode private-use characters, which no text contains by chance
_PLAIN: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[int, PreTrainedTokenizerBase]] = WeakKeyDictionary()


def start_of_text(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that the tokenizer adds before each text by default; empty if it adds none."""
    encoding = tokenizer(["a"])
    number = sum(1 for _ in takewhile(lambda of_text: of_text is None, encoding.sequence_ids(0)))
    return encoding["input_ids"][0][:number]


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, chats: bool = False) -> list[list[int]]:
    """Token ids of each text, with start-of-text tokens and without end-of-text tokens.

    Args:
        tokenizer: A fast tokenizer.
        texts: Plain text; may be empty.
        chats: The texts were written by a chat template: special tokens spelled out in them count as special, and a
            start-of-text token that is already there is not added again.
    """
    start = start_of_text(tokenizer)
    bodies = body_ids(tokenizer, texts, chats=chats)
    return [ids if chats and start and ids[: len(start)] == start else start + ids for ids in bodies]


def body_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, chats: bool = False) -> list[list[int]]:
    """Token ids of each text, without start-of-text and end-of-text tokens; see :func:`token_ids`."""
    return _encoded(tokenizer, texts, chats)["input_ids"] if texts else []


def body_ids_and_offsets(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, chats: bool = False
) -> list[tuple[list[int], Offsets]]:
    """Like :func:`body_ids`, with the characters that each token covers."""
    if not texts:
        return []
    encoding = _encoded(tokenizer, texts, chats, return_offsets_mapping=True)
    return list(zip(encoding["input_ids"], encoding["offset_mapping"], strict=True))


def split_ids(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], *, chats: bool = False
) -> list[tuple[list[int], list[int]]]:
    """Token ids of each context and its continuation, which are tokenized together and then split.

    A token that covers characters of both belongs to the continuation, as in training. So does white space at the
    context's end, as in lm-eval: most tokenizers join it to the next word.

    Returns:
        For each pair, the ids of the context, without start-of-text tokens, and those of the continuation.
    """
    wholes = body_ids_and_offsets(tokenizer, [context + following for context, following in pairs], chats=chats)
    split = []
    for (context, _), (ids, offsets) in zip(pairs, wholes, strict=True):
        end = len(context.rstrip())
        first = next((place for place, (_, stop) in enumerate(offsets) if stop > end), len(ids))
        split.append((ids[:first], ids[first:]))
    return split


def chat_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[str]) -> BatchEncoding:
    """Chat prompts of one user message each, padded on the left: ``input_ids`` and ``attention_mask``, (B, T).

    Special tokens that the chat template writes are special; those that a message spells out are plain text.
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
    """One chat as text and as token ids; special tokens are treated as in :func:`chat_ids`.

    Args:
        tokenizer: One with a chat template.
        turns: Role and content of each message.
        goes_on: Whether the assistant's next message is to follow.
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
    """The tokenizer itself, or for a Unigram tokenizer a copy that reads spelled-out special tokens as plain text.

    A Unigram model matches any piece of its vocabulary, even ``<s>``, whatever ``split_special_tokens`` says. In the
    copy these pieces have names that no text contains; all ids stay the same.
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
