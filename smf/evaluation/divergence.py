"""KL(start‖now): how far a model's predictions have moved from those of its start model.

After tuning on a new task, this divergence on the task's own inputs predicts how much of old tasks was forgotten
(Shenfeld et al. 2025, RL's Razor). The divergence of a corpus is Σ KL(p_start‖p_now) over all predicted tokens / their
number, each over the whole vocabulary and in nats, given the true tokens before it. Its standard error is computed as
for a loss per token (:mod:`smf.evaluation.likelihoods`), over texts or facts. Rounding in float32 leaves an error of
about 1e-8 of either sign in a mean, so the divergence of a model that hardly moved may be slightly below 0.

Shapes: X predicted token, D hidden size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smf.evaluation.documents import first_facts
from smf.evaluation.language_model import LanguageModel
from smf.evaluation.likelihoods import Sample, nll, nll_stderr
from smf.files.resume import Tape
from smf.models.logits import divergences, final_states
from smf.scores.metrics import DIVERGENCE, FACTS_DIVERGENCE
from smf.seeding import python_generator
from smf.streams.asking import PLAIN, Asking
from smf.streams.batches import IGNORED, Encoded, LossOn, collate
from smf.streams.fact_batches import encode_fact
from smf.streams.facts import Fact

Document = Sequence[Encoded]
"""Sequences whose predicted tokens are counted together: a text's windows, a fact's wordings."""


@dataclass(frozen=True)
class TaughtTexts:
    """Which training texts of the facts the divergence is measured on.

    Attributes:
        num_facts: Most facts to read, of those taught so far.
        loss_on: Which of their tokens are predicted: those that the stream trains on.
        max_length: Longest wording, in tokens; whole texts continue in further sequences.
    """

    num_facts: int
    loss_on: LossOn
    max_length: int


class Divergences:
    """Measures how far models have moved, on the same texts each time.

    Args:
        texts: The evaluated texts of each held-out set of running text.
        num_texts: Most texts to use of each set, a seeded subset; 0 for none.
        facts: The stream, in order.
        taught: Which of the stream's texts to use; None for none.
        seed: Seeds the subsets.
        asking: The format of training texts that are questions.
    """

    def __init__(
        self,
        texts: Mapping[str, Sequence[str]],
        num_texts: int,
        facts: Sequence[Fact],
        taught: TaughtTexts | None,
        *,
        seed: int,
        asking: Asking = PLAIN,
    ):
        self._texts = {name: _some(name, each, num_texts, seed) for name, each in texts.items() if num_texts}
        self._facts, self._taught = facts, taught if facts else None
        self._seed, self._asking = seed, asking

    def __bool__(self) -> bool:
        """Whether there is anything to measure."""
        return bool(self._texts or self._taught)

    def scores(self, lm: LanguageModel, start: PreTrainedModel, position: int, tape: Tape) -> list[dict]:
        """Measure the divergences of one snapshot.

        Args:
            lm: The model as it is now.
            start: Its start model, on the same device.
            position: How many facts of the stream it was taught; 0, for a start model, reads all facts.
            tape: Replays what an earlier process computed.

        Returns:
            A row of scores for each held-out set and one for the facts: ``metric``, ``value`` and ``stderr``, which is
            None for a single text or fact.
        """
        documents = {f"{name}_{DIVERGENCE}": _windows(lm, texts) for name, texts in self._texts.items()}
        if self._taught is not None:
            documents[FACTS_DIVERGENCE] = self._wordings(self._taught, lm.tokenizer, position)
        rows = []
        for metric, each in documents.items():
            samples = _samples(lm, start, each, tape)
            error = nll_stderr(samples)
            rows.append({"metric": metric, "value": nll(samples), "stderr": None if isinstance(error, str) else error})
        return rows

    def _wordings(self, taught: TaughtTexts, tokenizer: PreTrainedTokenizerBase, position: int) -> list[Document]:
        """The training texts of the facts taught so far that :func:`first_facts` picks."""
        facts = first_facts(self._facts[:position] or self._facts, taught.num_facts, self._seed)
        encoded = partial(encode_fact, loss_on=taught.loss_on, max_length=taught.max_length, asking=self._asking)
        return [encoded(tokenizer, fact) for fact in facts]


def _some(name: str, texts: Sequence[str], number: int, seed: int) -> list[str]:
    chosen = python_generator(seed, "texts compared on", name).sample(range(len(texts)), min(number, len(texts)))
    return [texts[index] for index in sorted(chosen)]


def _windows(lm: LanguageModel, texts: Sequence[str]) -> list[Document]:
    """The windows that the loss of running text is measured on, so that the same tokens are predicted."""
    return [
        [([*context, *predicted], [IGNORED] * len(context) + predicted) for context, predicted in of_text]
        for of_text in lm.windows(texts)
    ]


def _samples(lm: LanguageModel, start: PreTrainedModel, documents: Sequence[Document], tape: Tape) -> list[Sample]:
    """The summed divergence of each document, and its number of predicted tokens."""
    rows = [(number, sequence) for number, document in enumerate(documents) for sequence in document]
    rows.sort(key=lambda row: -len(row[1][0]))  # sequences of similar length share a pass; the widest comes first
    totals, counts = [0.0] * len(documents), [0] * len(documents)
    for first in range(0, len(rows), lm.rows_per_pass):
        part = rows[first : first + lm.rows_per_pass]
        sequences = [sequence for _, sequence in part]
        sums = tape.next(partial(_sums, lm, start, sequences))
        for (number, sequence), total in zip(part, sums, strict=True):
            totals[number] += total
            counts[number] += _num_predicted(sequence)
    return list(zip(totals, counts, strict=True))


@torch.no_grad()
def _sums(lm: LanguageModel, start: PreTrainedModel, sequences: Sequence[Encoded]) -> list[float]:
    """The summed divergence of each sequence."""
    batch = collate(sequences, lm.tokenizer.pad_token_id).to(lm.model.device)
    rows_X, positions_X = batch.predictions_X2.unbind(1)
    # the last token is predicted, not read: a window with its context may be one token longer than the model's maximum
    ids_BT, mask_BT = batch.input_ids_BT[:, :-1], batch.attention_mask_BT[:, :-1]
    now_XD, start_XD = (
        final_states(model, input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)[rows_X, positions_X]
        for model in (lm.model, start.eval())
    )
    found_X = divergences(lm.model, now_XD, start, start_XD).double().cpu()
    return [float(part.sum()) for part in found_X.split([_num_predicted(sequence) for sequence in sequences])]


def _num_predicted(sequence: Encoded) -> int:
    """How many tokens are labels; nothing predicts the first one."""
    return sum(label != IGNORED for label in sequence[1][1:])
