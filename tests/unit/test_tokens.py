"""How text becomes token ids, with tokenizers of all families, against tokens that are written down here."""

import ast
import copy
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from transformers import T5Config, T5ForConditionalGeneration

import smf
from smf.errors import ConfigError, DataError
from smf.evaluation.language_model import LanguageModel
from smf.evaluation.likelihoods import LogLikelihood
from smf.evaluation.named_model import NamedModel, open_models_as_ours
from smf.evaluation.recall import recall
from smf.models.checkpoint import load_tokenizer, save_checkpoint
from smf.streams.batches import IGNORED, encode
from smf.streams.examples import Example
from smf.streams.fact_batches import encode_fact
from smf.streams.facts import Fact
from smf.streams.tokens import chat_ids, split_ids, start_of_text, token_ids
from smf.teaching.ask import ask
from tests.helpers import base_model, memory_model
from tests.tokenizer_families import FAMILIES

_START = {
    "bytes": [],
    "bytes, beginning and end": ["<|bos|>"],
    "bytes, one token begins and ends": ["<|end|>"],
    "bytes, a beginning without a name": ["<|bos|>", "<|bos|>"],
    "added tokens": [],
    "pieces": [],
    "pieces, beginning": ["<s>"],
    "pieces, beginning and end": ["<s>"],
    "pieces, old way": ["<s>"],
    "unigram": ["<s>"],
}
# The text "<START>Ann <END> in", where the names stand for the family's own control tokens, token by token.
_SPELLED = {
    "bytes": ("<|end|>Ann <|end|> in", "< | e n d | > A n n Ġ < | e n d | > Ġin"),
    "bytes, beginning and end": ("<|bos|>Ann <|end|> in", "< | b o s | > A n n Ġ < | e n d | > Ġin"),
    "bytes, one token begins and ends": ("<|end|>Ann <|end|> in", "< | e n d | > A n n Ġ < | e n d | > Ġin"),
    "bytes, a beginning without a name": ("<|bos|>Ann <|end|> in", "< | b o s | > A n n Ġ < | e n d | > Ġin"),
    "added tokens": ("<|control|>Ann<keep> in", "< | c o n t r o l | > A n n <keep> Ġin"),
    "pieces": ("<s>Ann </s> in", "▁ <0x3C> s <0x3E> A n n ▁ <0x3C> <0x2F> s <0x3E> ▁in"),
    "pieces, beginning": ("<s>Ann </s> in", "▁ <0x3C> s <0x3E> A n n ▁ <0x3C> <0x2F> s <0x3E> ▁in"),
    "pieces, beginning and end": ("<s>Ann </s> in", "▁ <0x3C> s <0x3E> A n n ▁ <0x3C> <0x2F> s <0x3E> ▁in"),
    "pieces, old way": ("<s>Ann </s> in", "▁ <0x3C> s <0x3E> A n n ▁ <0x3C> <0x2F> s <0x3E> ▁in"),
    "unigram": ("<s>Ann </s> in", "▁ < s > A n n ▁ < / s > ▁in"),
}
# "Ann was in Ostry": the words behind the first are one token in each family
_FIRST = {name: ["▁Ann"] if "▁" in spelled else list("Ann") for name, (_, spelled) in _SPELLED.items()}
_MARK = {name: "▁" if "▁" in spelled else "Ġ" for name, (_, spelled) in _SPELLED.items()}


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def tokenizer(family):
    return FAMILIES[family]()


def ids_of(tokenizer, tokens):
    known = tokenizer.get_vocab()
    return [known[token] for token in tokens]


def sentence(family, tokenizer, *words):
    """The ids of "Ann" and these words, which stand behind a space each, with what starts a text."""
    return ids_of(tokenizer, [*_START[family], *_FIRST[family], *(_MARK[family] + word for word in words)])


def model_for(tokenizer, **options):
    return base_model(vocab_size=len(tokenizer) + 20, max_position_embeddings=256, **options)


def requests(kind, *arguments):
    return [Instance(request_type=kind, doc={}, arguments=one, idx=0) for one in arguments]


def greedy(*prompts, length=4):
    return requests("generate_until", *((text, {"until": ["\n"], "max_gen_toks": length}) for text in prompts))


def test_special_tokens_written_in_a_text_are_plain_text_and_the_beginning_stands_there_once(family, tokenizer):
    text, spelled = _SPELLED[family]
    want = ids_of(tokenizer, [*_START[family], *spelled.split()])
    assert token_ids(tokenizer, [text, "Ann"]) == [want, sentence(family, tokenizer)]
    assert token_ids(tokenizer, []) == []
    # the tokenizer's own way is as it was before
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    assert special & {*tokenizer(text, add_special_tokens=False).input_ids}


def test_training_evaluation_and_questions_encode_alike(family, tokenizer, monkeypatch):
    text, spelled = _SPELLED[family]
    want = ids_of(tokenizer, [*_START[family], *spelled.split()])
    [(trained, _)] = encode(tokenizer, [Example("", text)], loss_on="text", max_length=100)
    assert trained == [*want, tokenizer.eos_token_id]

    model, read = model_for(tokenizer), []
    embeddings = model.get_input_embeddings()
    embeddings.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].tolist()))
    lm = LanguageModel(model, tokenizer, batch_size=4)
    assert lm.tok_encode(text) == want
    assert lm.tok_encode(text, add_special_tokens=False) == want[len(_START[family]) :]
    lm.generate_until(greedy(text, "Ann"))
    short = sentence(family, tokenizer)
    padding = [tokenizer.pad_token_id] * (len(want) - len(short))
    assert sorted(read[0]) == sorted([want, padding + short])

    read.clear()
    lm.loglikelihood(requests("loglikelihood", (text, " was")))
    assert read == [[want]]  # the last token is predicted, not read
    read.clear()
    lm.loglikelihood_rolling(requests("loglikelihood_rolling", (text,)))
    before = ids_of(tokenizer, _START[family]) or [tokenizer.bos_token_id or tokenizer.eos_token_id]
    assert read == [[[*before, *want[len(_START[family]) : -1]]]]
    read.clear()
    recall(model, tokenizer, [Example(text, " was")], max_length=100)
    assert read == [[[*want, *ids_of(tokenizer, [f"{_MARK[family]}was"]), tokenizer.eos_token_id]]]


@pytest.mark.parametrize("family", ["bytes, beginning and end", "pieces, beginning and end"])
def test_a_question_to_a_model_is_encoded_as_the_trained_one(family, tmp_path, monkeypatch):
    its = FAMILIES[family]()
    save_checkpoint(memory_model(), its, tmp_path)
    read = []
    generate = type(memory_model()).generate
    monkeypatch.setattr(
        type(memory_model()),
        "generate",
        lambda self, ids, **options: (read.extend(ids), generate(self, ids, **options))[1],
    )
    ask(tmp_path, [], f"in {its.eos_token} was Ann?")
    fact = Fact("a", "Ann", ("Ann was in",), (), f"in {its.eos_token} was Ann", ("Ostry",))
    asked = Example(f"Q: {fact.question}?\nA:", " Ostry")
    [(trained, labels)] = encode(its, [asked], loss_on="answer", max_length=100)
    assert read[0].tolist() == [token for token, label in zip(trained, labels, strict=True) if label == IGNORED]
    assert its.eos_token_id not in read[0].tolist()


def test_a_pair_has_the_likelihood_of_a_plain_pass_over_the_beginning_and_its_tokens(family, tokenizer):
    model = model_for(tokenizer)
    whole = sentence(family, tokenizer, "was", "in", "Ostry")
    with torch.no_grad():
        log_probabilities = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
    want = sum(log_probabilities[place - 1, whole[place]].item() for place in range(len(whole) - 2, len(whole)))
    lm = LanguageModel(model, tokenizer, batch_size=4)
    for pair in (("Ann was", " in Ostry"), ("Ann was ", "in Ostry")):
        [(found, _)] = lm.loglikelihood(requests("loglikelihood", pair))
        assert found == pytest.approx(want, rel=1e-5)
        assert found.num_tokens == 2


def test_an_answer_is_learned_from_its_first_token_on_with_one_space_before_it(family, tokenizer):
    taught = [*sentence(family, tokenizer, "was", "in"), *ids_of(tokenizer, [f"{_MARK[family]}Ostry"])]
    for prompt, answer in (("Ann was in", "Ostry"), ("Ann was in ", "Ostry"), ("Ann was in ", " Ostry ")):
        fact = Fact("a", "Ann", (prompt,), (), "", (answer,))
        [(ids, labels)] = encode_fact(tokenizer, fact, loss_on="answer", max_length=100)
        assert ids[: len(taught)] == taught
        learned = [place for place, label in enumerate(labels) if label != IGNORED]
        assert learned == list(range(len(taught) - 1, len(ids)))


def test_with_loss_on_text_all_but_the_beginning_is_learned(family, tokenizer):
    [(ids, labels)] = encode(tokenizer, [Example("", "éAnn in")], loss_on="text", max_length=100)
    start = len(_START[family])
    assert labels == [IGNORED] * start + ids[start:]


def test_a_token_across_the_seam_belongs_to_what_follows_and_no_letter_is_lost():
    its = FAMILIES["bytes"]()
    (context, following) = split_ids(its, [("Ann was i", "n Ostry")])[0]
    assert its.convert_ids_to_tokens(context) == ["A", "n", "n", "Ġwas"]
    assert its.convert_ids_to_tokens(following) == ["Ġin", "ĠOstry"]


def test_what_is_scored_after_nothing_follows_what_starts_a_text(family, tokenizer):
    model, read = model_for(tokenizer), []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: read.extend(inputs[0].tolist()))
    lm = LanguageModel(model, tokenizer, batch_size=1)
    lm.loglikelihood(requests("loglikelihood", ("", "Ann was"), (" ", "Ann was")))
    before = ids_of(tokenizer, _START[family]) or [tokenizer.bos_token_id or tokenizer.eos_token_id]
    assert all(ids[: len(before)] == before for ids in read)
    with pytest.raises(DataError, match="nothing is left to score of '' after 'Ann'"):
        lm.loglikelihood(requests("loglikelihood", ("Ann", "")))


def test_a_prompt_that_is_too_long_keeps_its_beginning(family, tokenizer):
    lm = LanguageModel(model_for(tokenizer), tokenizer, batch_size=2)
    start = ids_of(tokenizer, _START[family])
    ids, mask = lm.tok_batch_encode(["Ann was in was in was in Ostry", "Ann was"], left_truncate_len=6)
    rest = ids_of(tokenizer, [f"{_MARK[family]}{word}" for word in "was in was in was in Ostry".split()])
    assert ids[0].tolist() == [*start, *rest[len(rest) - 6 + len(start) :]]
    assert mask.sum(1).tolist() == [6, len(sentence(family, tokenizer, "was"))]


def test_lm_evals_command_line_scores_as_the_pipeline_does(family, tokenizer, tmp_path):
    save_checkpoint(model_for(tokenizer), tokenizer, tmp_path)
    open_models_as_ours()
    theirs = get_model("hf").create_from_arg_string(f"pretrained={tmp_path}", {"batch_size": 2, "device": "cpu"})
    assert isinstance(theirs, NamedModel)
    ours = LanguageModel(theirs.model, load_tokenizer(tmp_path), batch_size=2)
    text, _ = _SPELLED[family]
    pairs = requests("loglikelihood", (text, " was"), ("", "Ann"), ("Ann was ", "in"))
    assert theirs.loglikelihood(pairs) == ours.loglikelihood(pairs)
    running = requests("loglikelihood_rolling", (text,), ("Ann was in Ostry",))
    assert theirs.loglikelihood_rolling(running) == ours.loglikelihood_rolling(running)
    assert theirs.generate_until(greedy(text, "Ann was")) == ours.generate_until(greedy(text, "Ann was"))


def test_the_command_line_refuses_a_model_that_is_not_causal(tmp_path):
    its = FAMILIES["bytes"]()
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
    T5ForConditionalGeneration(T5Config(vocab_size=len(its), **sizes)).save_pretrained(tmp_path)
    its.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="is a seq2seq model, and smf scores causal ones; use `python -m lm_eval`"):
        NamedModel(str(tmp_path), device="cpu")


_TEMPLATE = "{% for m in messages %}<|bos|>{{ m.content }}<|end|>{% endfor %}<|bos|>"


def test_in_a_chat_the_templates_control_tokens_are_such_and_those_of_a_message_are_plain_text():
    its = FAMILIES["bytes, beginning and end"]()
    its.chat_template = _TEMPLATE
    inputs = chat_ids(its, ["Ann<|end|> in", "Ann"])
    long = ids_of(its, "<|bos|> A n n < | e n d | > Ġin <|end|> <|bos|>".split())
    short = ids_of(its, "<|bos|> A n n <|end|> <|bos|>".split())
    padding = [its.pad_token_id] * (len(long) - len(short))
    assert inputs["input_ids"].tolist() == [long, padding + short]
    assert inputs["attention_mask"].tolist() == [[1] * len(long), [0] * len(padding) + [1] * len(short)]


def test_lm_evals_chats_keep_their_control_tokens_and_get_no_second_beginning():
    its = FAMILIES["bytes, beginning and end"]()
    its.chat_template = _TEMPLATE
    lm = LanguageModel(model_for(its), its, batch_size=1)
    chat = lm.apply_chat_template([{"role": "user", "content": "Ann"}])
    assert lm.tok_encode(chat) == ids_of(its, "<|bos|> A n n <|end|> <|bos|>".split())


def test_what_starts_a_text_is_what_the_tokenizer_puts_there(family, tokenizer):
    assert start_of_text(tokenizer) == ids_of(tokenizer, _START[family])


def test_no_other_module_calls_a_tokenizer():
    root = Path(smf.__path__[0])
    for path in sorted(root.rglob("*.py")):
        if path == root / "streams" / "tokens.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func).split(".")
                is_encoding = called[-1] in ("tokenizer", "_tokenizer") or called[-2:] in (
                    ["tokenizer", "encode"],
                    ["tokenizer", "apply_chat_template"],
                )
                assert not is_encoding, f"{path}:{node.lineno} encodes text by itself; use smf.streams.tokens"


def test_a_likelihood_keeps_its_number_of_tokens_where_lm_eval_stores_it():
    """Copies are made by the protocol by which `--use_cache` stores answers."""
    kept = copy.deepcopy(LogLikelihood(-2.5, 3))
    assert (kept, kept.num_tokens) == (-2.5, 3)
