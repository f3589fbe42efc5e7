"""The wording of held-out metrics in tables and figures: the set, the unit, and a score that became worse."""

from collections.abc import Mapping, Sequence

from smf.scores.metrics import NEIGHBOURS, TASK, HeldOutMetric

_SETS = {
    # kind: the set as a heading, the set before a unit, the panel's title
    "questions": ("held-out questions", "held-out question", "Old knowledge: questions"),
    "choices": ("multiple choice", "multiple-choice", "Old skill: multiple choice"),
    "texts": ("running text", "held-out text", "Old skill: running text"),
    "completions": ("completions", "completion", "Old skill: completions"),
    NEIGHBOURS: ("neighbours of facts", "neighbours'", "Neighbours of the facts, unchanged"),
}
_LOST = {
    "questions": "Old answers",
    "choices": "Multiple choice",
    "texts": "Text",
    "completions": "Completions",
    NEIGHBOURS: "Neighbours",
}
_UNITS = {
    # measure: in a sentence, as the head of a column, on an axis
    "f1": ("F1", "F1", "F1"),
    "em": ("exact match", "em", "exact match"),
    "acc": ("accuracy", "acc", "accuracy"),
    "acc_norm": ("accuracy", "acc_norm", "normalised accuracy"),
    "nll": ("loss", "nll", "loss, nats per token"),
    "perplexity": ("perplexity", "ppl", "perplexity"),
}

_LEARNED = {
    # metric: how facts are asked, on an axis and in a sentence
    "facts_question_f1": ("unseen question", "an untrained question"),
    "facts_unseen_f1": ("unseen wording", "untrained wordings"),
    "facts_seen_f1": ("taught wording", "the wordings that were taught"),
}


def asked_by(metric: str) -> str:
    """How a metric of the new facts asks for them, in a sentence."""
    return _LEARNED[metric][1]


def retained_words(metric: str) -> str:
    """Retained facts in words: ``retained new facts, unseen question (F1)``."""
    return f"retained new facts, {_LEARNED[metric][0]} (F1)"


def retained_axis(metric: str) -> str:
    """The label of an axis of retained facts, with its better end."""
    return f"{retained_words(metric)}      better →"


def set_words(metric: HeldOutMetric, headline: Sequence[HeldOutMetric]) -> str:
    """The set as a heading, with its name if another set of the same kind is shown."""
    if metric.kind == TASK:
        return metric.probe
    heading = _SETS[metric.kind][0]
    return f"{heading}: {metric.probe}" if _ambiguous(metric, headline) else heading


def panel_words(metric: HeldOutMetric, headline: Sequence[HeldOutMetric]) -> str:
    """A panel's title."""
    if metric.kind == TASK:
        return f"Old skill: {metric.probe}"
    title = _SETS[metric.kind][2]
    return f"{title}, {metric.probe}" if _ambiguous(metric, headline) else title


def unit(metric: HeldOutMetric) -> str:
    """The label of an axis, with a note where lower is better."""
    words = _UNITS[metric.measure][2] if metric.measure in _UNITS else metric.measure
    return words if metric.higher_is_better else f"{words} (lower is better)"


def short_unit(metric: HeldOutMetric) -> str:
    """The head of a column in a narrow table."""
    return _UNITS[metric.measure][1] if metric.measure in _UNITS else metric.measure[:10]


def column_unit(metric: HeldOutMetric) -> str:
    """The head of a column in a figure."""
    return _UNITS[metric.measure][0] if metric.measure in _UNITS else metric.measure


def loss_word(metric: HeldOutMetric) -> str:
    """The word for a worse score: ``drop``, or ``rise`` where lower is better."""
    return "drop" if metric.higher_is_better else "rise"


def lost_words(metric: HeldOutMetric) -> str:
    """What was forgotten, as a title that needs no knowledge of metrics: ``Old answers lost``."""
    what = metric.probe if metric.kind == TASK else _LOST[metric.kind]
    return f"{what} {'lost' if metric.higher_is_better else 'predicted worse'}"


def forgotten(metric: HeldOutMetric) -> str:
    """Forgetting in words: ``relative drop of held-out question F1``."""
    before = metric.probe if metric.kind == TASK else _SETS[metric.kind][1]
    return f"relative {loss_word(metric)} of {before} {column_unit(metric)}"


NEIGHBOURS_DATA = "prompts near the facts taught so far; agreement with what the start model says"


def described(metric: HeldOutMetric, labels: Mapping) -> str:
    """Which data a metric was measured on."""
    if metric.kind == NEIGHBOURS:
        return NEIGHBOURS_DATA
    return labels["held_out"].get(metric.probe) or f"lm-eval's task {metric.probe}"


def data_words(labels: Mapping, headline: Sequence[HeldOutMetric]) -> str:
    """One sentence per set shown, naming its data."""
    sentences = {}
    for metric in headline:
        words = set_words(metric, headline)
        sentences[metric.probe] = f"{words[0].upper()}{words[1:]}: {described(metric, labels)}."
    return " ".join(sentences.values())


def _ambiguous(metric: HeldOutMetric, headline: Sequence[HeldOutMetric]) -> bool:
    return any(other.kind == metric.kind and other.probe != metric.probe for other in headline)
