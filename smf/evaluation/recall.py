"""Recall: does greedy decoding give the answer to a question? Forward passes only, no generation."""

import sys
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smf.streams.asking import PLAIN, Asking
from smf.streams.batches import IGNORED, collate, encode
from smf.streams.examples import Example

_BATCH_SIZE = 256


@torch.no_grad()
def recall(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Example],
    max_length: int,
    asking: Asking = PLAIN,
) -> list[bool]:
    """Whether the model completes each prompt exactly, token by token, and then ends the answer.

    Args:
        model: A model in evaluation mode.
        tokenizer: Its tokenizer.
        questions: Prompts, with their answers as completions.
        max_length: Longest text of plain questions, in tokens. Other prompt formats have no limit.
        asking: The format of the prompts; it knows what ends an answer.

    Returns:
        One boolean per question.
    """
    if not questions:
        return []
    longest = max_length if asking.prompt_format == "plain" else sys.maxsize
    encoded = encode(tokenizer, questions, loss_on="answer", max_length=longest, written=asking.written)
    found: list[bool] = []
    for start in range(0, len(encoded), _BATCH_SIZE):
        batch = collate(encoded[start : start + _BATCH_SIZE], tokenizer.pad_token_id).to(model.device)
        positions_P = batch.predicting_positions_P  # logits of all tokens of a large vocabulary would take gigabytes
        logits_BPV = model(
            input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT, logits_to_keep=positions_P
        ).logits
        labels_BP = batch.labels_BT[:, positions_P + 1]
        said_BP, asked_BP = logits_BPV.argmax(-1), labels_BP != IGNORED
        right_BP = (said_BP == labels_BP) | ~asked_BP
        places_P = torch.arange(asked_BP.shape[1], device=asked_BP.device)
        ends_B1 = (asked_BP * places_P).argmax(1, keepdim=True)
        ended = [[asking.ends_answer(tokenizer, token)] for token in said_BP.gather(1, ends_B1)[:, 0].tolist()]
        right_BP.scatter_(1, ends_B1, torch.tensor(ended, device=right_BP.device))
        found += right_BP.all(dim=1).tolist()
    return found
