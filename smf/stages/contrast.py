"""Count the slots that contrast texts read, in documents as long as those of ordinary text."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from smf.files.artifacts import sha256
from smf.files.resume import NO_RESUME, Resume
from smf.logs import progress
from smf.models.checkpoint import load_model, load_tokenizer, model_hash
from smf.models.device import require_device
from smf.models.memory_model import MemoryForCausalLM, require_memory
from smf.seeding import python_generator
from smf.selection.background import BackgroundCounts, count_background
from smf.selection.joined import joined
from smf.streams.batches import Batch, Encoded, collate, encode
from smf.streams.examples import Example, read_corpus
from smf.wordings.contexts import contrast_behind_examples


def write_contrast_counts(
    healed_folder: str | Path,
    counts_path: str | Path,
    contrast_path: str | Path,
    *,
    max_length: int,
    seed: int,
    device: str,
    path: str | Path,
    examples_share: float = 0.0,
    resume: Resume = NO_RESUME,
) -> None:
    """Count which slots contrast texts read and write the counts with their provenance.

    Args:
        healed_folder: The healed model.
        counts_path: Counts of ordinary text by the same model.
        contrast_path: The contrast texts.
        max_length: Longest text, in tokens.
        seed: Seed of the order.
        device: Where to compute.
        path: Where the counts go.
        examples_share: Share of the texts that follow solved examples, as training prompts do.
        resume: Saves the counts so far.
    """
    require_device(device)
    healed = model_hash(healed_folder)
    provenance: dict[str, object] = {"model_hash": healed, "corpus_sha256": sha256(contrast_path), "seed": seed}
    if examples_share:
        provenance["behind_examples"] = examples_share
    text = BackgroundCounts.load(counts_path, model_hash=healed)
    counts = count_contrast(
        require_memory(load_model(healed_folder, device)),
        load_tokenizer(healed_folder),
        contrast_behind_examples(read_corpus(contrast_path), examples_share, seed),
        text,
        max_length=max_length,
        seed=seed,
        provenance=provenance,
        resume=resume,
    )
    counts.save(path)


def with_contrast(
    model: MemoryForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    text: BackgroundCounts,
    examples: Sequence[Example],
    weight: float,
    *,
    max_length: int,
    seed: int,
) -> BackgroundCounts:
    """Join ordinary text and contrast texts into one background.

    The contrast texts are counted here; only the blocks up to the last memory layer run.

    Args:
        model: The model that ``text`` was counted with.
        tokenizer: Its tokenizer.
        text: Counts of ordinary text.
        examples: The contrast texts. Without any this is ``text`` itself.
        weight: See :func:`smf.selection.joined.joined`.
        max_length: Longest text, in tokens.
        seed: Seed of the order.
    """
    if not examples:
        return text
    counts = count_contrast(
        model, tokenizer, examples, text, max_length=max_length, seed=seed, provenance=text.provenance
    )
    return joined(text, counts, weight)


def count_contrast(
    model: MemoryForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    text: BackgroundCounts,
    *,
    max_length: int,
    seed: int,
    provenance: Mapping[str, object],
    resume: Resume = NO_RESUME,
) -> BackgroundCounts:
    """Count the slots that contrast texts read, each text once.

    Contrast texts are shorter than ordinary text. A batch of them, which is one document, holds as many tokens as the
    average batch of ordinary text: in a longer document every slot is read more often.

    Args:
        model: The healed model.
        tokenizer: Its tokenizer.
        examples: The contrast texts.
        text: Counts of ordinary text by the same model.
        max_length: Longest sequence, in tokens; a longer text continues in further sequences.
        seed: Seed of the order.
        provenance: What the counts are made of; saved with them.
        resume: Saves the counts so far.
    """
    encoded = encode(tokenizer, examples, loss_on="text", max_length=max_length, long="split")
    block, layer = next(iter(model.memory_layers().items()))
    of_text = text.layers[block]
    num_tokens = float(of_text.total_accesses) / (layer.num_heads * layer.top_k)
    tokens_per_batch = num_tokens / of_text.by_document()["batch"].number
    batches = even_batches(encoded, tokens_per_batch, tokenizer.pad_token_id, seed)
    seen = progress(batches, "batches of contrast texts", total=len(batches))
    provenance = {**provenance, "num_batches": len(batches)}
    return count_background(model, seen, document=of_text.document, provenance=provenance, resume=resume)


def even_batches(encoded: Sequence[Encoded], tokens_per_batch: float, pad_token_id: int, seed: int) -> list[Batch]:
    """Split all sequences into random batches, as even in number as possible, of about ``tokens_per_batch`` each.

    Args:
        encoded: The sequences.
        tokens_per_batch: Tokens per batch on average; sequences with fewer tokens in total make one batch.
        pad_token_id: Token that pads sequences on the right.
        seed: Seed of the order.
    """
    order = python_generator(seed, "contrast batches").sample(list(encoded), len(encoded))
    num_tokens = sum(len(sequence[0]) for sequence in encoded)
    number = min(max(1, round(num_tokens / tokens_per_batch)), len(encoded))
    return [collate(order[start::number], pad_token_id) for start in range(number)]
