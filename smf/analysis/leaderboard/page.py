"""The leaderboard as one HTML file that needs nothing beside it: sorts by any column, draws any two measures."""

import json
import math
from importlib.resources import files

import pandas as pd
from jinja2 import Environment, StrictUndefined

from smf.analysis.leaderboard.table import COMMAND, FIRST_COLUMNS, measures_of
from smf.scores.metrics import COST, FACTS_METRICS, LOCALITY, STALE, TWO_HOP, UPDATED, is_cost, is_divergence
from smf.scores.metrics import higher_is_better as is_better_higher

_TEMPLATE = "page.html.jinja"
_UNITS = {
    "tokens_per_fact": "tokens per fact",
    "seconds_per_fact": "seconds per fact",
    "bytes_per_fact": "bytes per fact",
}
_WORDS = {
    "facts_question_f1": "question",
    "facts_unseen_f1": "unseen wording",
    "facts_seen_f1": "as taught",
    LOCALITY: "neighbours unchanged",
    TWO_HOP: "two-hop question",
    UPDATED: "replaced facts: new answer",
    STALE: "replaced facts: outdated answer",
}


def leaderboard_page(table: pd.DataFrame) -> str:
    """Render the page.

    Args:
        table: Rows of one or more experiments (:func:`smf.analysis.leaderboard.table.joined`).
    """
    measures = [
        {"name": name, "words": measure_words(name), "higher": higher_is_better(name), "percent": is_percent(name)}
        for name in measures_of(table)
    ]
    rows = [
        {
            **{name: _plain(row[name]) for name in (*FIRST_COLUMNS, COMMAND)},
            "values": {
                measure["name"]: [
                    _plain(row[name])
                    for name in (measure["name"], f"{measure['name']}_ci95_low", f"{measure['name']}_ci95_high")
                    if name in table.columns
                ]
                for measure in measures
            },
        }
        for row in table.to_dict("records")
    ]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8"))
    # "<" must not end the script that the data stand in
    data = json.dumps({"measures": measures, "rows": rows}, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return template.render(data=data, num_rows=len(rows), num_experiments=table["experiment"].nunique()) + "\n"


def measure_words(name: str) -> str:
    """A column's heading: ``nq_f1_drop`` becomes "nq f1: drop"."""
    if name in _WORDS or name in _UNITS:
        return {**_WORDS, **_UNITS}[name]
    if is_cost(name):
        return f"tokens retrieved: {name.removesuffix(f'_{COST}')}"
    if is_divergence(name):
        return f"KL on {name.rpartition('_')[0]}"
    held_out = name.removesuffix("_drop")
    return f"{held_out.replace('_', ' ')}: {'drop' if is_better_higher(held_out) else 'rise'}"


def higher_is_better(name: str) -> bool:
    """Whether a larger value of a measure is better: not for drops, divergences, outdated answers and costs."""
    return name in (*FACTS_METRICS, LOCALITY, TWO_HOP, UPDATED)


def is_percent(name: str) -> bool:
    """Whether a measure is a relative drop or rise, shown in per cent."""
    return name.endswith("_drop")


def _plain(value: object) -> object:
    """A value that JSON has: NaN and what pandas fills in for missing text become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
