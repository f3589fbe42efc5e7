"""Tiny fast tokenizers, one of each kind that models come with, made by hand so that their tokens can be written down.

Each knows the words Ann, was, in and Ostry; all else is letters or bytes.
"""

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

WORDS = ("Ann", "was", "in", "Ostry")


def _bpe(first, words, vocab, **options):
    """A model that merges the letters of each word, with ``first`` before them, from left to right."""
    merges = []
    for word in words:
        made = first
        for letter in word:
            vocab.setdefault(letter, len(vocab))
            if made:
                merges.append((made, letter))
            made += letter
            vocab.setdefault(made, len(vocab))
    return BPE(vocab, list(dict.fromkeys(merges)), **options)


def byte_level(template=None, special=("<|end|>",)):
    """As of GPT-2, Qwen and Llama 3: bytes, a space belongs to the word behind it, special tokens beside the model."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: number for number, letter in enumerate(letters)}
    model = _bpe("Ġ", WORDS, vocab)
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    if template:
        ids = [(token, backend.token_to_id(token)) for token in special]
        backend.post_processor = TemplateProcessing(single=template, special_tokens=ids)
    return backend


def sentencepiece(template=None, legacy=False):
    """As of Llama 2, Mistral and Gemma: a mark for each space and for the beginning, bytes for unknown letters."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, **{f"<0x{byte:02X}>": 4 + byte for byte in range(256)}}
    backend = Tokenizer(_bpe("▁", WORDS, vocab, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if legacy:
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    spaces = decoders.Replace("▁", " ")
    backend.decoder = decoders.Sequence(
        [spaces, decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", left=1, right=0)]
    )
    backend.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in ("<s>", "</s>", "<unk>")]
    )
    if template:
        backend.post_processor = TemplateProcessing(single=template, special_tokens=[("<s>", 1), ("</s>", 2)])
    return backend


def unigram(template):
    """As of XGLM and many Japanese models: whatever the vocabulary has can come out of a text, ``<s>`` too."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -3.0), *((f"▁{word}", -2.0) for word in WORDS)]
    letters = sorted({*"".join(WORDS), *"</>s|endkp"})
    backend = Tokenizer(Unigram(pieces + [(letter, -4.0) for letter in letters], unk_id=0, byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in ("<s>", "</s>", "<unk>")]
    )
    backend.post_processor = TemplateProcessing(single=template, special_tokens=[("<s>", 1), ("</s>", 2)])
    return backend


def _fast(backend, **special):
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def with_added_tokens():
    """Byte-level, with a special and an ordinary token added, and the end of text as padding."""
    backend = byte_level(special=("<|end|>", "<|control|>"))
    backend.add_tokens([AddedToken("<keep>", normalized=False)])
    return _fast(backend, eos_token="<|end|>", pad_token="<|end|>")


_SENTENCEPIECE = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_SANDWICH = ("<|bos|>", "<|end|>")

FAMILIES = {
    "bytes": lambda: _fast(byte_level(), eos_token="<|end|>", pad_token="<|end|>"),
    "bytes, beginning and end": lambda: _fast(
        byte_level("<|bos|> $A <|end|>", _SANDWICH), bos_token="<|bos|>", eos_token="<|end|>", pad_token="<|end|>"
    ),
    "bytes, one token begins and ends": lambda: _fast(
        byte_level("<|end|> $A"), bos_token="<|end|>", eos_token="<|end|>", pad_token="<|end|>"
    ),
    "bytes, a beginning without a name": lambda: _fast(
        byte_level("<|bos|> <|bos|> $A <|end|>", _SANDWICH), eos_token="<|end|>", pad_token="<|end|>"
    ),
    "added tokens": with_added_tokens,
    "pieces": lambda: _fast(sentencepiece(), **_SENTENCEPIECE, pad_token="<unk>"),
    "pieces, beginning": lambda: _fast(sentencepiece("<s> $A"), **_SENTENCEPIECE, pad_token="</s>"),
    "pieces, beginning and end": lambda: _fast(sentencepiece("<s> $A </s>"), **_SENTENCEPIECE, pad_token="</s>"),
    "pieces, old way": lambda: _fast(sentencepiece("<s> $A </s>", legacy=True), **_SENTENCEPIECE, pad_token="</s>"),
    "unigram": lambda: _fast(unigram("<s> $A </s>"), **_SENTENCEPIECE, pad_token="</s>"),
}
