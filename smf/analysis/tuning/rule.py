"""One rule chooses the learning rate of every method, baselines and sparse memory alike.

tuning score = mean over tuning seeds of (retained F1 in unseen wordings - max(0, forgetting of the first headline
metric)). The rate with the highest score is the best; the smaller one wins a tie. Forgetting counts, improvement on
held-out data earns nothing. The question that the figure asks is not used, unless no fact has an unseen wording: then
it is the only prompt that was not trained word for word, and it replaces the unseen wordings for all methods. If
``evaluation.learned`` judges facts by their taught wordings, these wordings choose the rates too. ``tuning.learned``
chooses another of these scores for all methods.
"""

import logging
import math
from collections.abc import Hashable, Mapping, Sequence

import pandas as pd

from smf.errors import DataError
from smf.scores.table import DECIMALS, check_scores, forgetting, retained

logger = logging.getLogger(__name__)


RETAINED = {
    "retained_unseen_f1": "facts_unseen_f1",
    "retained_question_f1": "facts_question_f1",
    "retained_seen_f1": "facts_seen_f1",
}
"""The possible columns for the retained score that the rule weighs, with their metrics; a tuning table has one."""


def tuning_columns(headline: Sequence[str], retained_column: str = "retained_unseen_f1") -> tuple[str, ...]:
    """The columns of the tuning table.

    Args:
        headline: Held-out metrics; the forgetting of each has a column, ``<metric>_drop``.
        retained_column: A key of ``RETAINED``.
    """
    drops = [f"{metric}_drop" for metric in headline]
    question = () if retained_column == "retained_question_f1" else ("facts_question_f1",)
    first = ("method", "learning_rate", "num_seeds", retained_column)
    return (*first, *drops, *question, "tuning_score", "best", "in_config")


def retained_column(scores: pd.DataFrame, tuned_by: str | None) -> str:
    """The key of ``RETAINED`` that all methods are compared by.

    Args:
        scores: The tidy table.
        tuned_by: The metric of the new facts that was chosen for it; None for unseen wordings, if there are any, or
            else the question.
    """
    if tuned_by is not None:
        return next(column for column, metric in RETAINED.items() if metric == tuned_by)
    has_unseen = (scores["metric"] == RETAINED["retained_unseen_f1"]).any()
    return "retained_unseen_f1" if has_unseen else "retained_question_f1"


def tuning_score(scores: pd.DataFrame, run: str, method: str, start: str, metric: str, asked: str) -> float:
    """The rule's score of a run: the mean over its seeds of retained − max(0, forgetting), paired by seed.

    Args:
        scores: The tidy table of the tuning runs and their start models.
        run: The run, a method of the table.
        method: The run's method, for error messages.
        start: The model that it starts from: ``"base"`` or ``"healed"``.
        metric: The held-out metric weighed.
        asked: The metric of the new facts weighed, one of the values of ``RETAINED``.

    Raises:
        DataError: The run was not evaluated, or the start model knows nothing, so that no drop is defined.
    """
    kept = retained(scores, run, asked)
    drop = forgetting(scores, run, metric, {run: start})
    if drop.isna().any():
        seed = drop.isna().idxmax()
        raise DataError(
            f"the {start} model has {metric} 0 or below for seed {seed}, so nothing can be forgotten and {method} "
            "cannot be tuned; train the base until it answers held-out questions, or put another metric first in "
            "evaluation.headline"
        )
    return float((kept - drop.clip(lower=0.0)).mean())


def best_of(tuning_scores: pd.Series) -> Hashable:
    """The index label of the highest tuning score; the first of equals."""
    return tuning_scores.round(DECIMALS).idxmax()


def check_same_seeds(scores: pd.DataFrame, runs: Sequence[str]) -> None:
    """Refuse to compare runs on different seeds.

    Raises:
        DataError: Two of the runs have different seeds.
    """
    seeds = {run: sorted(scores.loc[scores["method"] == run, "seed"].unique().tolist()) for run in runs}
    for run in runs[1:]:
        if seeds[run] != seeds[runs[0]]:
            raise DataError(
                f"tuning run {runs[0]} has the seeds {seeds[runs[0]]}, {run} has {seeds[run]}; "
                "rates are compared on the same seeds: run the missing ones"
            )


def tuning_table(
    scores: pd.DataFrame,
    runs: Mapping[str, tuple[str, float]],
    starts: Mapping[str, str],
    rates: Mapping[str, float],
    headline: Sequence[str],
    tuned_by: str | None,
) -> pd.DataFrame:
    """Build the table of the whole sweep, with the rate that the rule chooses for each method.

    Args:
        scores: The tidy table of the tuning runs and their start models; its methods are the runs' names.
        runs: For each run the method and the learning rate that it tried.
        starts: For each method, in the order wanted, the model that it starts from: ``"base"`` or ``"healed"``.
        rates: The configured learning rate of each method that has one.
        headline: The held-out metrics of the table; the rule weighs the first.
        tuned_by: The metric of the new facts that the rule weighs; None as for :func:`retained_column`.

    Returns:
        The columns of :func:`tuning_columns`, by method in the order of ``starts`` and then by rate. The name of the
        retained column says which way of asking was weighed.

    Raises:
        DataError: A run was not evaluated, names an unknown method, repeats a rate or has a rate that is not above 0;
            the runs of a method have different seeds; or the start model knows nothing, so that no drop is defined.
    """
    check_scores(scores)
    _check_runs(runs, starts)
    column = retained_column(scores, tuned_by)
    if tuned_by is None and column == "retained_question_f1":
        logger.warning("no fact has an unseen wording; rates are chosen by the questions instead (facts_question_f1)")
    parts = []
    for method in starts:
        tried = {rate: run for run, (owner, rate) in sorted(runs.items()) if owner == method}
        if not tried:
            continue
        check_same_seeds(scores, list(tried.values()))
        part = pd.DataFrame(
            [_row(scores, run, method, rate, starts, headline, column) for rate, run in sorted(tried.items())]
        )
        configured = rates.get(method, math.nan)
        # the rows ascend by rate, so the first of equals is the smallest
        part["best"] = part.index == best_of(part["tuning_score"])
        part["in_config"] = [math.isclose(rate, configured, rel_tol=1e-9) for rate in part["learning_rate"]]
        _tell(method, part, configured)
        parts.append(part)
    if not parts:
        raise DataError("no tuning runs; sweep at least one method")
    return pd.concat(parts, ignore_index=True)[list(tuning_columns(headline, column))]


def _row(
    scores: pd.DataFrame,
    run: str,
    method: str,
    rate: float,
    starts: Mapping[str, str],
    headline: Sequence[str],
    column: str,
) -> dict:
    run_starts = {run: starts[method]}
    score = tuning_score(scores, run, method, starts[method], headline[0], RETAINED[column])
    kept = retained(scores, run, RETAINED[column])
    return {
        "method": method,
        "learning_rate": float(rate),
        "num_seeds": len(kept),
        column: kept.mean(),
        **{f"{metric}_drop": forgetting(scores, run, metric, run_starts).mean(skipna=False) for metric in headline},
        "facts_question_f1": retained(scores, run, "facts_question_f1").mean(),
        "tuning_score": score,
    }


def _check_runs(runs: Mapping[str, tuple[str, float]], starts: Mapping[str, str]) -> None:
    seen: dict[tuple[str, float], str] = {}
    for run, (method, rate) in sorted(runs.items()):
        if method not in starts:
            raise DataError(f"tuning run {run} is of the unknown method {method}; known are {', '.join(starts)}")
        if not rate > 0:
            raise DataError(f"tuning run {run} has learning rate {rate}; a rate must be above 0")
        if (method, rate) in seen:
            raise DataError(
                f"tuning runs {seen[method, rate]} and {run} both try {method} at learning rate {rate}; drop one"
            )
        seen[method, rate] = run


def _tell(method: str, part: pd.DataFrame, configured: float) -> None:
    best = part.loc[part["best"], "learning_rate"].item()
    if best in (part["learning_rate"].min(), part["learning_rate"].max()) and len(part) > 1:
        logger.warning("%s: the best rate %g is at an end of the sweep; extend the sweep", method, best)
    if math.isnan(configured):
        logger.info("%s: the rule chooses %g as the longest step; the config sets no bound", method, best)
    elif not part.loc[part["best"], "in_config"].item():
        logger.warning("%s: the rule chooses learning rate %g, the config has %g", method, best, configured)
