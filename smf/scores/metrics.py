"""Metric names and their meaning: the set that was asked, the measure, and whether higher or lower is better.

A metric is named ``<set>_<measure>``: ``nq_f1``, ``hellaswag_acc_norm``, ``wikitext_perplexity``. The measure alone
determines direction and range, so tables and figures need to know nothing else about a set.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from smf.errors import ConfigError, did_you_mean

MEASURES = {
    "questions": ("f1", "em"),
    "choices": ("acc", "acc_norm"),
    "texts": ("nll", "perplexity"),
    "completions": ("nll", "acc"),
}
"""The measures of each kind of held-out set."""

LOCALITY = "facts_locality_f1"
"""Agreement with the start model's own answers about neighbours of the taught facts; it starts at 1 by definition."""

DIVERGENCE = "kl"
"""KL(start‖now) on texts (:mod:`smf.evaluation.divergence`); ``evaluation.kl`` adds it to ``MEASURES``.

It starts at 0 by definition, so a relative rise is undefined and it cannot be a headline metric."""

FACTS_DIVERGENCE = f"facts_{DIVERGENCE}"
"""The same divergence, on the facts taught so far."""

COST = "retrieved_tokens"
"""Tokens that retrieval adds to a prompt, of methods that retrieve; any other model's are 0."""

TASK, NEIGHBOURS = "task", "neighbours"
"""The kinds of metrics without a held-out set: of lm-eval's own tasks, which have their own measures; locality."""

FACTS_METRICS = ("facts_seen_f1", "facts_unseen_f1", "facts_question_f1")
"""Metrics of all new facts; every other metric is of some of them, held out, or a cost."""

UPDATED, STALE = "facts_updated_f1", "facts_stale_f1"
"""Of facts that a later one replaced: agreement with the answer that is true now, and with those that were."""

TWO_HOP = "facts_two_hop_f1"
"""Questions that take a new fact and something else to answer, of facts that have one."""

PARTIAL_METRICS = (TWO_HOP, UPDATED, STALE)
"""Metrics of some of the new facts, which may be missing where few facts were taught."""

_LOWER_IS_BETTER = ("nll", "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", DIVERGENCE, COST)
_SHARES = ("f1", "em", "acc", "acc_norm", "acc_bytes", "exact_match")


@dataclass(frozen=True)
class HeldOutMetric:
    """A held-out metric, parsed from its name.

    Attributes:
        name: The whole name.
        probe: The held-out set or the lm-eval task.
        kind: How it is asked: a key of ``MEASURES``, ``TASK`` or ``NEIGHBOURS``.
    """

    name: str
    probe: str
    kind: str

    @property
    def measure(self) -> str:
        """The measure, such as ``f1``."""
        return self.name.removeprefix(f"{self.probe}_")

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is better."""
        return higher_is_better(self.name)


def higher_is_better(metric: str) -> bool:
    """Whether a larger value is better; false for losses, perplexities, divergences and outdated answers."""
    return metric != STALE and not _ends_with(metric, _LOWER_IS_BETTER)


def is_divergence(metric: str) -> bool:
    """Whether a metric is a KL(start‖now)."""
    return _ends_with(metric, (DIVERGENCE,))


def is_cost(metric: str) -> bool:
    """Whether a metric is what an answer costs, not how good it is."""
    return _ends_with(metric, (COST,))


def is_share(metric: str) -> bool:
    """Whether a metric's values lie in [0, 1]."""
    return _ends_with(metric, _SHARES)


def is_held_out(metric: str) -> bool:
    """Whether a metric shows what a model knew before, not what it was taught."""
    return metric not in (*FACTS_METRICS, *PARTIAL_METRICS) and not is_cost(metric)


def held_out_metric(name: str, kinds: Mapping[str, str]) -> HeldOutMetric:
    """Parse the name of a held-out metric.

    Args:
        name: The metric.
        kinds: The held-out sets and lm-eval tasks by name, each with its kind.

    Raises:
        ConfigError: The metric belongs to none of them, its set has no such measure, or it is a divergence.
    """
    texts = [f"{probe}_{DIVERGENCE}" for probe, kind in kinds.items() if kind == "texts"]
    if name in (FACTS_DIVERGENCE, *texts):
        raise ConfigError(
            f"{name} is 0 for every start model, so a relative rise is undefined; it appears in the tables only"
        )
    if name == LOCALITY:
        return HeldOutMetric(name, LOCALITY.removesuffix("_f1"), NEIGHBOURS)
    for probe in sorted(kinds, key=len, reverse=True):
        measure = name.removeprefix(f"{probe}_")
        if measure != name and (kinds[probe] == TASK or measure in MEASURES[kinds[probe]]):
            return HeldOutMetric(name, probe, kinds[probe])
    known = metrics_of(kinds)
    tasks = "".join(f", {task}_<a metric of lm-eval's task>" for task, kind in kinds.items() if kind == TASK)
    raise ConfigError(
        f"there is no held-out metric {name!r}; {did_you_mean(name, known)}known: {', '.join(known)}{tasks}"
    )


def metrics_of(kinds: Mapping[str, str]) -> list[str]:
    """The metrics of held-out sets, set by set; those of lm-eval's tasks are only known once they have run."""
    return [f"{probe}_{measure}" for probe, kind in kinds.items() if kind != TASK for measure in MEASURES[kind]]


def in_order(found: Iterable[str], kinds: Mapping[str, str]) -> list[str]:
    """Metrics in the order of tables: held-out sets as given, the other held-out ones by name, the facts, costs."""
    found = set(found)
    first = [metric for metric in metrics_of(kinds) if metric in found]
    others = sorted(metric for metric in found - set(first) if is_held_out(metric))
    facts = [metric for metric in (*FACTS_METRICS, *PARTIAL_METRICS) if metric in found]
    return [*first, *others, *facts, *sorted(filter(is_cost, found))]


def _ends_with(metric: str, measures: Iterable[str]) -> bool:
    return any(metric.endswith(f"_{measure}") for measure in measures)
