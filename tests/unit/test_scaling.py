"""The scaling study: what its table takes from scores, and what its figure says."""

import itertools

import pandas as pd
import pytest

from smf.analysis.scaling.figure import scaling_figure
from smf.analysis.scaling.table import SCALING_COLUMNS, scaling_table
from smf.errors import DataError
from smf.scores.metrics import held_out_metric
from smf.scores.table import COLUMNS

LEARNED, METRIC = "facts_question_f1", held_out_metric("nq_f1", {"nq": "questions"})
LABELS = {"held_out": {"hellaswag": "endings", "nq": "questions about old people"}, "facts": "facts about new people"}


def scores(retained, held_out):
    """Scores of one method on two seeds at two snapshots; the healed model answers 0.8 of the old questions."""
    rows = [("healed", seed, 0, "nq_f1", 0.8, 0.0) for seed in (0, 1)]
    for seed, position in itertools.product((0, 1), (10, 20)):
        rows.append(("smf", seed, position, "facts_question_f1", retained[position] + 0.01 * seed, 0.0))
        rows.append(("smf", seed, position, "nq_f1", held_out[position], 0.0))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def table():
    cells = {
        (keys, layers): scores({10: 0.9, 20: 0.5 + 0.001 * keys}, {10: 0.8, 20: 0.6})
        for keys in (64, 128)
        for layers in (1, 2, 3)
    }
    return scaling_table(cells, {"smf": "healed"}, "facts_question_f1", "nq_f1")


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda part: hasattr(part, "get_text")) if text.get_text()]


def test_the_table_has_a_row_a_size_seed_and_snapshot():
    found = table()
    assert tuple(found.columns) == SCALING_COLUMNS
    assert len(found) == 2 * 3 * 2 * 2
    row = found[(found["num_keys"] == 128) & (found["num_layers"] == 2) & (found["seed"] == 1)].iloc[-1]
    assert row["position"] == 20
    assert row["retained"] == pytest.approx(0.638)
    assert row["forgetting"] == pytest.approx(0.25)  # 0.2 of 0.8


def test_sizes_that_were_not_run_are_refused():
    with pytest.raises(DataError, match="run at least one"):
        scaling_table({}, {"smf": "healed"}, "facts_question_f1", "nq_f1")


def test_the_figure_has_two_panels_a_number_of_layers_and_names_sizes_and_methods():
    figure = scaling_figure(table(), LABELS, LEARNED, METRIC)
    assert len(figure.axes) == 1 + 2 * 3
    words = texts(figure)
    legend = {"4,096 slots per layer", "16,384 slots per layer", "smf"}
    assert {"How many facts does a memory hold?", *legend} <= set(words)
    assert {"1 memory layer", "2 memory layers", "3 memory layers"} <= set(words)
    assert any("questions about old people" in word for word in words)
    assert not any("endings" in word for word in words)


def test_the_key_lies_within_the_figure_whatever_the_number_and_length_of_names():
    one = table()
    sizes = pd.concat([one, one[one["num_keys"] == 128].assign(num_keys=256)])
    names = ("smf_trust", "tfidf_polyak", "a_method_of_a_long_name")
    figure = scaling_figure(pd.concat([sizes.assign(method=name) for name in names]), LABELS, LEARNED, METRIC)
    figure.draw_without_rendering()
    key = figure.axes[0].texts
    assert [text.get_text() for text in key][-2:] == ["tfidf_polyak", "a_method_of_a_long_na…"]
    boxes = [text.get_window_extent() for text in key]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    top = max(axes.get_window_extent().y1 for axes in figure.axes[1:])
    assert all(box.y0 > top for box in boxes)


def test_the_lines_are_means_over_seeds():
    figure = scaling_figure(table(), LABELS, LEARNED, METRIC)
    lines = [line for line in figure.axes[1].lines if line.get_marker() == "o"]
    assert [list(line.get_ydata()) for line in lines] == [
        pytest.approx([0.905, 0.569]),
        pytest.approx([0.905, 0.633]),
    ]


@pytest.mark.parametrize("number", [1, 4, 6])
def test_every_size_and_every_method_has_lines_of_its_own(number):
    one = table()
    one = one[(one["num_keys"] == 64) & (one["num_layers"] == 1)]
    rows = [
        one.assign(num_keys=8 * (1 + size), method=f"method{place}")
        for size, place in itertools.product(range(number), repeat=2)
    ]
    figure = scaling_figure(pd.concat(rows), LABELS, LEARNED, METRIC)
    lines = [line for line in figure.axes[1].lines if line.get_marker() != "."]
    # matplotlib keeps a pattern of dashes to itself
    looks = {(line.get_color(), line.get_marker(), str(line._unscaled_dash_pattern)) for line in lines}
    assert len(looks) == len(lines) == number**2
    assert {f"{(8 * (1 + size)) ** 2:,} slots per layer" for size in range(number)} <= set(texts(figure))
    assert {f"method{place}" for place in range(number)} <= set(texts(figure))


def test_the_figure_says_how_facts_were_asked_and_which_loss_is_shown():
    text = " ".join(texts(scaling_figure(table(), LABELS, LEARNED, METRIC)))
    assert "retained new facts, unseen question (F1)" in text
    assert "relative drop of held-out question F1" in text
    perplexity = held_out_metric("web_perplexity", {"web": "texts"})
    labels = {"held_out": {"web": "web pages"}, "facts": "facts about new people"}
    other = " ".join(texts(scaling_figure(table(), labels, "facts_seen_f1", perplexity)))
    assert "retained new facts, taught wording (F1)" in other
    assert "asked by the wordings that were taught" in other.replace("\n", " ")
    assert "relative rise of held-out text perplexity" in other
    assert "question" not in other


@pytest.mark.parametrize(
    ("broken", "message"),
    [(lambda found: found.drop(columns="seed"), "no column seed"), (lambda found: found.iloc[:0], "is empty")],
)
def test_a_table_that_cannot_be_drawn_is_refused(broken, message):
    with pytest.raises(DataError, match=message):
        scaling_figure(broken(table()), LABELS, LEARNED, METRIC)
