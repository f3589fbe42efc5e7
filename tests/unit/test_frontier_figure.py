"""The figure of fronts: drawn from tables alone, whatever the number of methods, settings and seeds."""

import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest

from smf.analysis.frontier.figure import frontier_figure
from smf.analysis.frontier.summary import summary
from smf.analysis.frontier.table import FRONTIER_COLUMNS, settings_columns
from smf.errors import DataError
from smf.figures.learned_forgotten import forgetting_scale, is_wide
from smf.figures.style import drawing, method_styles, new_figure, save_figure
from smf.files.artifacts import write_json, write_table
from smf.scores.metrics import held_out_metric
from smf.scores.summary import mean_interval
from smf.scores.words import asked_by
from smf.stages.frontier import draw_frontier
from smf.stages.shown import Shown

KINDS = {"nq": "questions", "wikitext": "texts"}
METRIC = held_out_metric("nq_f1", KINDS)
LABELS = {
    "held_out": {
        "nq": "NaturalQuestions-style questions (generated world)",
        "wikitext": "WikiText-style text (generated world)",
    },
    "facts": "invented people",
    "notes": ["A note that a reader needs."],
}
TWO = {"smf": [(0.4, 0.0), (0.9, 0.04)], "full": [(0.3, 0.1), (0.7, 0.5), (0.6, 0.6)]}
STARTS = {"lora": "base", "smf": "healed", "full": "base"}


def tables(ends, num_seeds=3, noise=0.01, reference=0.2, metric="nq_f1"):
    """The three tables, from ``method: [(retained, forgetting) for each setting]``; the last setting is chosen."""
    random = np.random.default_rng(0)
    runs, settings = [], []
    for method, points in ends.items():
        for number, point in enumerate(points):
            values = np.array(point) + noise * random.normal(size=(num_seeds, 2))
            kept, lost = np.clip(values[:, 0], 0, 1), values[:, 1]
            setting = f"learning_rate {number + 1}"
            runs += [(method, setting, seed, kept[seed], lost[seed], 300.0, 0.5) for seed in range(num_seeds)]
            lost = mean_interval(lost)
            chosen = number == len(points) - 1
            settings.append((method, setting, num_seeds, *mean_interval(kept), *lost, lost.mean, 0.5, 0.1, chosen))
    frontier = pd.DataFrame(runs, columns=list(FRONTIER_COLUMNS))
    return frontier, pd.DataFrame(settings, columns=list(settings_columns([metric]))), summary(frontier, reference)


def draw(ends, starts=None, labels=LABELS, metric=METRIC, learned="facts_question_f1", **options):
    given = starts or dict.fromkeys(ends, "base")
    return frontier_figure(*tables(ends, metric=metric.name, **options), given, labels, metric, learned)


def words(figure):
    """Everything that is written in a figure, one space between words."""
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    return " ".join(" ".join(texts).split())


def main_panel(figure):
    return next(axes for axes in figure.axes if "forgotten: " in axes.get_xlabel())


def test_the_figure_says_its_data_seeds_budget_and_rule():
    text = words(draw(TWO, STARTS))
    for label in (LABELS["held_out"]["nq"], LABELS["facts"], *LABELS["notes"]):
        assert label in text
    assert "2 methods, each at 2 to 3 settings, 3 seeds a setting" in text
    assert "of forgetting from 0 to 20 %" in text
    assert "10,000 resamples of the 3 seeds" in text
    assert "highest retained F1, asked by untrained wordings, minus relative drop of held-out question F1" in text
    assert "asked by an untrained question" in text


def test_the_rule_is_told_by_the_wordings_that_it_weighed():
    frontier, settings, fronts = tables(TWO)
    asked = settings.assign(retained_unseen_f1=np.nan)
    text = words(frontier_figure(frontier, asked, fronts, STARTS, LABELS, METRIC, "facts_question_f1"))
    assert "highest retained F1, asked by an untrained question, minus" in text
    for learned in ("facts_question_f1", "facts_seen_f1"):  # what is shown as learned does not matter
        for tuned_by in ("facts_question_f1", "facts_unseen_f1", "facts_seen_f1"):
            text = words(draw(TWO, STARTS, labels=LABELS | {"tuned_by": tuned_by}, learned=learned))
            assert f"highest retained F1, asked by {asked_by(tuned_by)}, minus" in text
        assert "highest retained F1, asked by untrained wordings, minus" in words(draw(TWO, STARTS, learned=learned))


def test_methods_have_their_own_colours_and_chosen_settings_a_ring():
    panel = main_panel(draw(TWO, STARTS, noise=0.0))
    styles = method_styles(list(STARTS))
    colours = {line.get_color() for line in panel.lines}
    assert {styles["smf"].colour, styles["full"].colour} <= colours
    assert styles["lora"].colour not in colours
    rings = [line for line in panel.lines if line.get_markersize() == 10.8]
    places = [(float(ring.get_xdata()[0]), float(ring.get_ydata()[0])) for ring in rings]
    assert places == [pytest.approx((4, 0.9)), pytest.approx((60, 0.6))]


def test_lines_join_the_front_only_and_settings_off_it_are_pale():
    panel = main_panel(draw({"full": TWO["full"]}, STARTS, noise=0.0))
    line = next(line for line in panel.lines if line.get_linewidth() == 1.6 and line.get_linestyle() == "-")
    assert (line.get_xdata()[0], line.get_ydata()[0]) == pytest.approx((10, 0.3))
    assert (line.get_xdata()[-1], line.get_ydata()[-1]) == pytest.approx((50, 0.7))
    pale = [line for line in panel.lines if line.get_alpha() == 0.45 and line.get_markersize() == 5.2]
    assert [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in pale] == [pytest.approx((60, 0.6))]


def test_rows_are_sorted_by_hypervolume_and_hold_the_numbers_of_the_summary():
    frontier, settings, fronts = tables({"low": [(0.5, 0.1)], "high": [(0.9, 0.1)]}, noise=0.0)
    fronts.loc[fronts["method"] == "high", ["hypervolume", "forgetting_at_0.8"]] = 0.777, 0.123
    starts = dict.fromkeys(("low", "high"), "base")
    figure = frontier_figure(frontier, settings, fronts, starts, LABELS, METRIC, "facts_question_f1")
    text = words(figure)
    assert "0.777" in text
    assert "12.3 %" in text
    names = next(axes for axes in figure.axes if [text.get_text() for text in axes.texts] == ["high", "low"])
    assert names.get_ylim()[0] > names.get_ylim()[1]
    assert [text.get_text() for axes in figure.axes for text in axes.texts].count("not reached") == 1


def test_an_open_interval_ends_in_an_arrow_at_the_edge():
    frontier, settings, fronts = tables(TWO)
    fronts.loc[fronts["method"] == "smf", "forgetting_at_0.8_ci95_high"] = np.nan
    figure = frontier_figure(frontier, settings, fronts, STARTS, LABELS, METRIC, "facts_question_f1")
    panel = next(axes for axes in figure.axes if axes.get_xlabel().endswith("forgotten (%)"))
    assert [line.get_xdata()[0] for line in panel.lines if line.get_marker() == ">"] == [panel.get_xlim()[1]]


def test_a_perplexity_is_said_to_rise():
    metric = held_out_metric("wikitext_perplexity", KINDS)
    text = words(draw({"full": [(0.5, 0.1), (0.9, 7.5)]}, metric=metric))
    assert "relative rise of held-out text perplexity" in text


@pytest.mark.parametrize(
    ("ends", "options"),
    [
        ({"smf": [(0.9, 0.1)]}, {"num_seeds": 1}),
        ({"smf": [(0.0, 0.0)], "full": [(0.0, 0.0)]}, {"noise": 0.0}),
        ({"smf": [(0.5, -0.1), (0.9, -0.02)]}, {}),
        ({"full": [(0.2, 0.6), (0.3, 8.0)]}, {}),
        ({"smf": [(0.5, 0.001)]}, {"noise": 0.0001}),
        ({f"smf_variant_with_a_long_name_{n}": [(0.4, 0.01 * n), (0.8, 0.05 * n)] for n in range(14)}, {}),
    ],
    ids=["one run", "all zero", "improved", "more than lost", "tiny", "fourteen methods"],
)
def test_every_kind_of_result_can_be_drawn_without_a_warning(ends, options, tmp_path, recwarn):
    figure = draw(ends, **options)
    save_figure(figure, tmp_path / "figure.png")
    assert not [str(warning.message) for warning in recwarn]
    assert outside(figure) == []


def outside(figure):
    """What is written beyond the figure's edges."""
    renderer = figure.canvas.get_renderer()
    frame = figure.bbox.padded(1)
    with drawing():
        figure.canvas.draw()
    # ticks beyond a panel's limits have labels that are not drawn
    shown = [text for axes in figure.axes for text in (*axes.texts, axes.xaxis.label, axes.yaxis.label)] + figure.texts
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in shown if text.get_text()}
    return [
        text
        for text, box in boxes.items()
        if box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
    ]


def test_names_of_many_methods_do_not_overlap():
    figure = draw({f"smf_{number}": [(0.5, 0.01), (0.85, 0.05 + 0.01 * number)] for number in range(14)})
    renderer = figure.canvas.get_renderer()
    boxes = [
        text.get_window_extent(renderer) for text in main_panel(figure).texts if text.get_text().startswith("smf_")
    ]
    assert len(boxes) == 14
    assert not any(one.overlaps(other) for index, one in enumerate(boxes) for other in boxes[:index])


@pytest.mark.parametrize(
    ("values", "wide"), [([-3, 0.5, 15], False), ([0, 0.5, 70], True), ([-40, 1], True), ([], False)]
)
def test_the_scale_is_compressed_only_where_it_must_be_and_holds_every_value(values, wide):
    assert is_wide(values) == wide
    with drawing():
        axes = new_figure(6, 4).add_axes((0.1, 0.1, 0.8, 0.8))
        forgetting_scale(axes, values, wide)
        low, high = axes.get_xlim()
        assert low < min([0, *values])
        assert high > max([0, *values])
        axes.figure.canvas.draw()
        if wide:  # every tick stands where its number says
            labels = [label.get_text().replace("−", "-") for label in axes.get_xticklabels()]
            assert [float(label) for label in labels] == list(axes.get_xticks())
            assert {0, 1, 2, 5, 10} - set(axes.get_xticks()) <= {2, 5, 10}


def test_the_same_tables_give_the_same_bytes(tmp_path):
    for name in ("first.pdf", "second.pdf"):
        save_figure(draw(TWO, STARTS), tmp_path / name)
    assert (tmp_path / "first.pdf").read_bytes() == (tmp_path / "second.pdf").read_bytes()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f, s, m: (f.iloc[:0], s, m), "the frontier table is empty"),
        (lambda f, s, m: (f, s.drop(columns="chosen"), m), "the table of settings has no column chosen"),
        (lambda f, s, m: (f, s, m.drop(columns="reference")), "the summary of fronts has no column reference"),
        (lambda f, s, m: (f, s.iloc[1:], m), "smf at learning_rate 1 is in only one of"),
        (lambda f, s, m: (f, s, m.iloc[1:]), "smf is in only one of the frontier table and the summary"),
        (lambda f, s, m: (f.replace("full", "ewc"), s, m), "the unknown method ewc"),
        (lambda f, s, m: (f, s.assign(chosen=False), m), "no setting of smf is chosen"),
    ],
)
def test_tables_that_do_not_belong_together_are_refused(spoil, message):
    with pytest.raises(DataError, match=message):
        frontier_figure(*spoil(*tables(TWO)), STARTS, LABELS, METRIC, "facts_question_f1")


def test_a_figure_that_could_not_name_its_data_is_not_drawn():
    with pytest.raises(DataError, match="the labels lack held_out, facts"):
        draw(TWO, labels={"notes": []})


def test_the_stage_draws_from_files_and_says_how_many_items_were_asked(tmp_path):
    paths = [tmp_path / f"{name}.csv" for name in ("frontier", "settings", "fronts")]
    for path, table in zip(paths, tables(TWO), strict=True):
        write_table(path, table)
    write_json(tmp_path / "labels.json", LABELS)
    figures = [tmp_path / "figures" / f"frontier.{ending}" for ending in ("pdf", "png")]
    shown = Shown(tmp_path / "labels.json", STARTS, {"nq": 500}, ["nq_f1"], KINDS)
    draw_frontier(shown, "facts_question_f1", *paths, figures)
    assert all(path.stat().st_size > 10_000 for path in figures)


def test_the_figure_imports_no_torch_and_no_pyplot():
    code = (
        "import sys, smf.analysis.frontier.figure\n"
        "unwanted = ('torch', 'lm_eval', 'matplotlib.pyplot', 'smf.files.artifacts')\n"
        "print([name for name in unwanted if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
