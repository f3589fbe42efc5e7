"""Pretraining of a small base model: tokenizer, Qwen2 model, and a check that the model knows its facts."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from smf.errors import TrainingError
from smf.evaluation.recall import recall
from smf.files.model_shape import BaseShape
from smf.files.resume import NO_RESUME, Resume
from smf.seeding import derive_seed
from smf.streams.batches import batches, encode
from smf.streams.examples import Example
from smf.training.loop import TrainingSettings, train

logger = logging.getLogger(__name__)


def train_tokenizer(examples: Sequence[Example], vocab_size: int) -> PreTrainedTokenizerBase:
    """A Qwen2 tokenizer whose merges come from these texts; end-of-text also pads."""
    texts = (example.prompt + example.completion for example in examples)
    return Qwen2Tokenizer().train_new_from_iterator(texts, vocab_size=vocab_size, show_progress=False)


def pretrain(
    examples: Sequence[Example],
    shape: BaseShape,
    settings: TrainingSettings,
    *,
    max_length: int,
    device: str,
    resume: Resume = NO_RESUME,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, dict]:
    """Train a tokenizer and a Qwen2 model with tied embeddings from scratch.

    Args:
        examples: The texts.
        shape: Sizes of the model; the tokenizer may find fewer tokens than ``shape.vocab_size``.
        settings: Rates and steps.
        max_length: Longest text, in tokens.
        device: Where to train.
        resume: Keeps the state of the training.

    Returns:
        The model, its tokenizer, and a report (final loss in nats per token, number of parameters and of tokens).

    Raises:
        DataError: A text does not fit into ``max_length`` tokens.
        TrainingError: The loss is not finite.
    """
    tokenizer = train_tokenizer(examples, shape.vocab_size)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_key_value_heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=max_length,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(settings.seed, "pretraining"))
        model: Qwen2ForCausalLM = cast("Any", Qwen2ForCausalLM(config)).to(device)
    encoded = encode(tokenizer, examples, loss_on=settings.loss_on, max_length=max_length)
    stream = batches(
        encoded,
        batch_size=settings.batch_size,
        num_batches=settings.num_steps,
        pad_token_id=tokenizer.pad_token_id,
        seed=derive_seed(settings.seed, "pretraining"),
    )
    loss = train(model, list(model.parameters()), stream, settings, "pretraining", resume=resume)
    report = {
        "final_loss": loss,
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocab_size": len(tokenizer),
        "num_texts": len(examples),
        "tokens_per_epoch": sum(len(ids) for ids, _ in encoded),
        "settings": asdict(settings),
    }
    return model, tokenizer, report


def require_recall(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Example],
    *,
    min_recall: float,
    max_length: int,
) -> float:
    """Require that the model answers enough questions exactly; returns the share that it does.

    Raises:
        TrainingError: The share is below ``min_recall``: forgetting can only be measured on what the model knew.
    """
    found = recall(model, tokenizer, questions, max_length)
    share = sum(found) / len(found)
    logger.info("the base model answers %.1f %% of %d known questions", 100 * share, len(found))
    if share < min_recall:
        raise TrainingError(
            f"the base model answers only {share:.3f} of the {len(found)} known questions, base.min_recall is "
            f"{min_recall}; raise base.pretraining.num_steps, or lower base.min_recall, which trains nothing again"
        )
    return share
