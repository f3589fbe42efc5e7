"""Losses and perplexities from log-likelihoods that carry their number of tokens.

The loss of a corpus is Σ negative log-likelihoods / Σ tokens, over all its texts: a long text weighs more than a short
one. Its standard error treats the texts as drawn at random; a ratio of two sums has, to first order,
se² = m / (m - 1) · Σ (xᵢ - R nᵢ)² / (Σ nᵢ)² with m texts, their losses xᵢ and tokens nᵢ, and R the corpus's loss
(Cochran, Sampling Techniques, 6.4). Perplexity is exp(R), its standard error exp(R) · se (delta method). lm-eval's task
files name the functions of this module.
"""

import math
from collections.abc import Mapping, Sequence

_LARGEST_EXPONENT = 700.0  # e**710 overflows a double, and JSON has no infinity

Sample = tuple[float, int]
"""A text's negative log-likelihood in nats, and its number of tokens."""


class LogLikelihood(float):
    """A log-likelihood in nats that carries its number of tokens.

    lm-eval passes a model's return values on unchanged, so the number of tokens reaches the function that scores a
    document. lm-eval's own models return plain floats.
    """

    __slots__ = ("num_tokens",)
    num_tokens: int

    def __new__(cls, value: float, num_tokens: int) -> "LogLikelihood":
        """A value with its number of tokens."""
        self = super().__new__(cls, value)
        self.num_tokens = num_tokens
        return self

    def __reduce__(self) -> tuple[type["LogLikelihood"], tuple[float, int]]:
        """How lm-eval's cache of answers (``--use_cache``) recreates the value."""
        return LogLikelihood, (float(self), self.num_tokens)


def score_text(document: Mapping, results: Sequence[float]) -> dict[str, object]:
    """The values of one running text for lm-eval to aggregate: by bytes, and by tokens if the model gives their number.

    Args:
        document: Holds ``text``.
        results: The text's log-likelihood, as the only element.
    """
    return {"bits_per_byte": (results[0], len(document["text"].encode())), **_by_token(results[0], perplexity=True)}


def score_completion(document: Mapping, results: Sequence[tuple[float, bool]]) -> dict[str, object]:
    """The values of one completion for lm-eval to aggregate: whether greedy decoding produces it, and its loss.

    Args:
        document: Holds ``completion``.
        results: The completion's log-likelihood and whether each of its tokens is the most probable one.
    """
    log_likelihood, is_greedy = results[0]
    num_bytes = len(document["completion"].encode())
    by_byte = {"bits_per_byte": (log_likelihood, num_bytes)}
    return {"acc": float(is_greedy), **by_byte, **_by_token(log_likelihood, perplexity=False)}


def nll(samples: Sequence[Sample]) -> float:
    """The corpus's loss in nats per token."""
    return sum(loss for loss, _ in samples) / sum(tokens for _, tokens in samples)


def nll_stderr(samples: Sequence[Sample]) -> float | str:
    """The standard error of :func:`nll`; lm-eval's ``"N/A"`` for a single text, which says nothing about the spread."""
    if len(samples) < 2:
        return "N/A"
    ratio, number = nll(samples), len(samples)
    squares = sum((loss - ratio * tokens) ** 2 for loss, tokens in samples)
    return math.sqrt(number / (number - 1) * squares) / sum(tokens for _, tokens in samples)


def perplexity(samples: Sequence[Sample]) -> float:
    """The corpus's perplexity per token, capped at exp(700) so that a ruined model's is not infinite."""
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
    # Our own standard error comes after lm-eval's "N/A" of the same name and replaces it.
    return {key: sample for name in names for key in (name, f"{name}_stderr")}
