"""How far a write to the chosen slots carries to other texts, and how much it disturbs those it should not reach.

A memory layer reads sum_i w_i(x) v_i for a token x. One step moves the value of slot i by
-eta s_i sum_x w_i(x) e(x), over the tokens x of the taught wordings that may write, where e(x) is the error signal and
s_i the share of its step that the slot takes, 0 if it is not selected. If the error signals of a fact's wordings are
alike, the reads of a text B change, relative to those of the taught wordings T, by

    R(T, B) = K(T, B) / K(T, T),    K(A, B) = sum_i s_i W_i(A) W_i(B),

W_i being the weight with which a text reads slot i, summed over tokens and heads. docs/selection.md has the derivation.

Shapes: F fact, S slot.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

OVERLAP_COLUMNS = (
    "method", "setting", "seed", "layer", "slots", "unseen", "question", "neighbours", "other_facts", "past", "text",
    "contrast",
)  # fmt: skip


@dataclass(frozen=True)
class LayerReads:
    """What the texts of a stream's facts read in one layer: W_i, the mean over sequences; an empty row is no text.

    Attributes:
        taught_FS: Training wordings; of tokens that may write alone.
        unseen_FS: Wordings that only test.
        question_FS: The question, in the form in which it is asked.
        neighbours_FS: Prompts that teaching must not change.
    """

    taught_FS: csr_array
    unseen_FS: csr_array
    question_FS: csr_array
    neighbours_FS: csr_array


def overlap_numbers(shares_FS: csr_array, reads: LayerReads, disturbance: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The columns of one setting, seed and layer: means over the facts that have the number; NaN where none has.

    Args:
        shares_FS: s_i: for each fact the share of its step that each slot takes in the fact's first step.
        reads: What the facts' texts read.
        disturbance: For ``text`` and ``contrast``, as far as known, the mean over tokens of the squared weight with
            which a token reads each slot (S).

    Returns:
        ``slots``: selected slots. ``unseen``, ``question``, ``neighbours``: R(T, B) with the fact's own texts.
        ``other_facts``, ``past``: the mean R(T, B) with the questions and with the taught wordings of the stream's
        other facts. ``text``, ``contrast``: the mean over tokens of the squared change of a read, without its cross
        terms, for a write that changes the reads of a taught wording by 1, summed over its tokens:
        sum_i (s_i W_i(T) / K(T, T))² E[w_i²]. A fact that no slot of the layer was selected for has no number but 0
        slots.
    """
    written_FS = shares_FS.multiply(reads.taught_FS).tocsr()
    seen_F = _overlap(written_FS, reads.taught_FS)
    with np.errstate(divide="ignore"):
        written_FS = written_FS.multiply(np.where(seen_F > 0, 1 / seen_F, np.nan)[:, None]).tocsr()
    writes_F = seen_F > 0
    found = {
        "slots": np.diff(shares_FS.indptr).astype(float),
        "unseen": _with_own(written_FS, reads.unseen_FS),
        "question": _with_own(written_FS, reads.question_FS),
        "neighbours": _with_own(written_FS, reads.neighbours_FS),
        "other_facts": _with_others(written_FS, reads.question_FS),
        "past": _with_others(written_FS, reads.taught_FS),
        **{name: written_FS.power(2) @ squares_S for name, squares_S in disturbance.items()},
    }
    return {name: _mean(values_F if name == "slots" else values_F[writes_F]) for name, values_F in found.items()}


def _overlap(written_FS: csr_array, texts_FS: csr_array) -> np.ndarray:
    return written_FS.multiply(texts_FS).sum(axis=1)


def _with_own(written_FS: csr_array, texts_FS: csr_array) -> np.ndarray:
    """The overlap of each fact with its own text; NaN for a fact without one."""
    return np.where(np.diff(texts_FS.indptr) > 0, _overlap(written_FS, texts_FS), np.nan)


def _with_others(written_FS: csr_array, texts_FS: csr_array) -> np.ndarray:
    """The mean overlap of each fact with the texts of the other facts; NaN where no other fact has one."""
    there_F = np.diff(texts_FS.indptr) > 0
    others_F = there_F.sum() - there_F
    sums_F = written_FS @ texts_FS.sum(axis=0) - _overlap(written_FS, texts_FS)
    return np.where(others_F > 0, sums_F / np.maximum(others_F, 1), np.nan)


def _mean(values_F: np.ndarray) -> float:
    known = values_F[~np.isnan(values_F)]
    return float(known.mean()) if len(known) else float("nan")


def overlap_table(rows: list[dict]) -> pd.DataFrame:
    """Rows with all columns of the table; what a row does not know stays empty."""
    return pd.DataFrame(rows, columns=list(OVERLAP_COLUMNS))
