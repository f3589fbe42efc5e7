"""Losses and perplexities from log-likelihoods that know how many tokens they are of.

The loss of a corpus is Σ negative log-likelihoods / Σ tokens, over all its texts: a long text weighs more than a short
one. Its standard error treats the texts as drawn at random; a ratio of two sums has, to first order,
se² = m / (m - 1) · Σ (xᵢ - R nᵢ)² / (Σ nᵢ)² with m texts, their losses xᵢ and tokens nᵢ, and R the corpus's loss
(Cochran, Sampling Techniques, 6.4). Perplexity is exp(R), its standard error exp(R) · se (delta method). lm-eval's task
files name the functions of this module.
"""

import math
from collections.abc import Mapping, Sequence

_LARGEST_EXPONENT = 700.0  # e**710 is no double any more, and JSON knows no infinity

Sample = tuple[float, int]
"""A text's negative log-likelihood in nats, and of how many tokens."""


class LogLikelihood(float):
    """A log-likelihood in nats that also knows of how many tokens it is.

    lm-eval hands on what a model returns as it is, so the number of tokens arrives where a document is scored. Models
    of lm-eval's own return plain floats.
    """

    __slots__ = ("num_tokens",)

    def __new__(cls, value: float, num_tokens: int) -> "LogLikelihood":
        """A value with its number of tokens."""
        self = super().__new__(cls, value)
        self.num_tokens = num_tokens
        return self

    def __getnewargs__(self) -> tuple[float, int]:
        """What makes the same value again, where lm-eval keeps answers (``--use_cache``)."""
        return float(self), self.num_tokens


def score_text(document: Mapping, results: Sequence[float]) -> dict[str, object]:
    """What lm-eval aggregates of one running text: always by bytes, by tokens where the model tells how many they are.

    Args:
        document: Holds ``text``.
        results: The text's log-likelihood, as the only element.
    """
    return {"bits_per_byte": (results[0], len(document["text"].encode())), **_by_token(results[0], perplexity=True)}


def score_completion(document: Mapping, results: Sequence[tuple[float, bool]]) -> dict[str, object]:
    """What lm-eval aggregates of one completion: whether greedy decoding gives it, and its loss.

    Args:
        document: Holds ``completion``.
        results: The completion's log-likelihood and whether each of its tokens is the most probable one.
    """
    log_likelihood, is_greedy = results[0]
    num_bytes = len(document["completion"].encode())
    by_byte = {"bits_per_byte": (log_likelihood, num_bytes)}
    return {"acc": float(is_greedy), **by_byte, **_by_token(log_likelihood, perplexity=False)}


def nll(samples: Sequence[Sample]) -> float:
    """The corpus's loss in nats a token."""
    return sum(loss for loss, _ in samples) / sum(tokens for _, tokens in samples)


def nll_stderr(samples: Sequence[Sample]) -> float | str:
    """The standard error of :func:`nll`; lm-eval's ``"N/A"`` for a single text, which says nothing about the spread."""
    if len(samples) < 2:
        return "N/A"
    ratio, number = nll(samples), len(samples)
    squares = sum((loss - ratio * tokens) ** 2 for loss, tokens in samples)
    return math.sqrt(number / (number - 1) * squares) / sum(tokens for _, tokens in samples)


def perplexity(samples: Sequence[Sample]) -> float:
    """The corpus's perplexity a token; exp(700), not infinity, where a ruined model's loss is above 700."""
    return math.exp(min(nll(samples), _LARGEST_EXPONENT))


def perplexity_stderr(samples: Sequence[Sample]) -> float | str:
    """The standard error of :func:`perplexity` by the delta method; ``"N/A"`` for a single text."""
    error = nll_stderr(samples)
    return error if isinstance(error, str) else perplexity(samples) * error


def _by_token(log_likelihood: float, *, perplexity: bool) -> dict[str, Sample]:
    if not isinstance(log_likelihood, LogLikelihood):
        return {}
    names = ["nll", *(["perplexity"] if perplexity else [])]
    sample = (-float(log_likelihood), log_likelihood.num_tokens)
    # The error of our own comes after lm-eval's "N/A" of the same name, and takes its place.
    return {key: sample for name in names for key in (name, f"{name}_stderr")}
