"""The overview: what each method learned, lost and left alone, in numbers that a stranger reads off."""

import itertools

import matplotlib
import pandas as pd
import pytest
from PIL import Image

from smf.analysis.overview.figure import overview_figure
from smf.errors import DataError
from smf.figures.style import drawing, method_styles, save_figure
from smf.scores.metrics import LOCALITY, TASK, held_out_metric

KINDS = {"nq": "questions", "trivia": "questions", "choice": "choices", "web": "texts", "mmlu": TASK}
START = {"nq_f1": 0.8, "trivia_f1": 0.5, "choice_acc": 1.0, "web_nll": 2.0, "mmlu_acc": 0.4, "facts_question_f1": 0.04}
LABELS = {
    "held_out": {"nq": "NaturalQuestions, 900 items", "trivia": "TriviaQA", "choice": "endings", "web": "web pages"},
    "facts": "TriviaQA questions",
    "notes": ["A note that a reader needs."],
    "methods": {
        "lora": "LoRA of rank 16 on all linear maps, AdamW",
        "smf_kl": "slots by KL (Goyal et al., 2026), SGD",
    },
}
LARGEST_PICTURE = 150_000


def table(ends, num_seeds=3, neighbours=True):
    """Scores and starts; an end is a number, or one for each seed, by metric. What is not named stays as it was."""
    start = START | ({LOCALITY: 1.0} if neighbours else {})
    rows = []
    for seed in range(num_seeds):
        rows += [(name, seed, 0, metric, value, 0.01) for name in ("base", "healed") for metric, value in start.items()]
        for method, found in ends.items():
            for metric, value in (start | found).items():
                rows.append((method, seed, 30, metric, value[seed] if isinstance(value, tuple) else value, 0.01))
    scores = pd.DataFrame(rows, columns=["method", "seed", "position", "metric", "value", "stderr"])
    return scores, {method: "healed" if "smf" in method else "base" for method in ends}


def draw(ends, headline=("nq_f1", "web_nll"), labels=LABELS, **options):
    metrics = [held_out_metric(name, KINDS) for name in headline]
    return overview_figure(*table(ends, **options), labels, metrics)


def texts(figure):
    """All that is to be seen written, with where it stands in pixels."""
    with drawing():
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        found = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]
        return [(" ".join(text.get_text().split()), text.get_window_extent(renderer)) for text in found]


def words(figure):
    return " ".join(text for text, _ in texts(figure))


def rows(figure, names):
    """The names of methods, from the top down."""
    places = {text: box.y0 for text, box in texts(figure)}
    return sorted(names, key=lambda name: -places[name])


def dots(figure, method, methods):
    """Where a method's dots stand, from the left panel to the right one, without the sample beside its name."""
    style = method_styles(list(methods))[method]
    lines = [(axes.get_position().x0, line) for axes in figure.axes for line in axes.lines]
    found = [(left, line) for left, line in lines if line.get_marker() == style.marker]
    return [line.get_xdata()[0] for _, line in sorted(found, key=lambda pair: pair[0])[1:]]


TWO = {
    "lora": {"facts_question_f1": (0.5, 0.6, 0.7), "nq_f1": 0.6, "web_nll": 2.2, LOCALITY: 0.4},
    "smf_kl": {"facts_question_f1": 0.55, "nq_f1": 0.84, "web_nll": 2.001, LOCALITY: 0.95},
}


def test_dots_and_numbers_are_means_and_relative_losses_in_per_cent():
    figure = draw(TWO)
    assert dots(figure, "lora", TWO) == pytest.approx([60, 25, 10, 40])  # (0.8 − 0.6) / 0.8; (2.2 − 2) / 2
    assert dots(figure, "smf_kl", TWO) == pytest.approx([55, -5, 0.05, 95])
    seen = [text for text, _ in texts(figure)]
    for number in ("60 %", "25.0 %", "10.0 %", "40 %", "55 %", "−5.0 %", "95 %"):
        assert seen.count(number) == 1, number


def test_bars_are_t_intervals_over_seeds():
    """With 0.5, 0.6, 0.7: s = 0.1 and t(0.975, 2) = 4.302653, so ± 4.302653 · 0.1 / √3 = 0.248414."""
    colour = method_styles(list(TWO))["lora"].colour
    lines = [line for axes in draw(TWO).axes for line in axes.lines if line.get_color() == colour]
    bars = [list(line.get_xdata()) for line in lines if len(line.get_xdata()) == 2]
    assert pytest.approx([35.1586, 84.8414], abs=1e-3) in bars


@pytest.mark.parametrize("best", ["lora", "smf_kl"])
def test_the_method_that_learns_most_stands_at_the_top_with_its_group_whichever_it_is(best):
    names = ["lora", "full", "smf_kl", "smf_all"]
    ends = {name: {"facts_question_f1": 0.2 + 0.1 * ("smf" in name) * (best == "smf_kl")} for name in names}
    ends[best] = {"facts_question_f1": 0.9}
    figure = draw(ends, labels=LABELS | {"methods": {}})
    groups = ["Without memory layers", "With memory layers"]
    order = rows(figure, [*names, *groups])
    first, second = groups if best == "lora" else groups[::-1]
    assert order[:2] == [first, best]
    assert order[3] == second


def test_methods_of_one_group_have_no_heading():
    assert "memory layers" not in words(draw({"smf_kl": {}, "smf_all": {}}))


def test_columns_are_new_facts_then_the_headline_then_neighbours():
    titles = ["New facts answered", "Old answers lost", "Text predicted worse", "Neighbours unchanged"]
    lefts = {text: box.x0 for text, box in texts(draw(TWO))}
    assert sorted(titles, key=lefts.get) == titles
    assert "asked by an untrained question (F1); 4 % before" in lefts
    assert "nq: relative drop of F1" in lefts
    assert "web: relative rise of loss" in lefts


def test_neighbours_have_one_column_where_they_were_asked_and_else_none():
    assert "Neighbours" not in words(draw(TWO | {"lora": {}, "smf_kl": {}}, neighbours=False))
    assert words(draw(TWO, headline=("nq_f1", LOCALITY))).count("Neighbours unchanged") == 1


def test_three_metrics_of_the_headline_are_shown_and_no_more():
    shown = words(draw(TWO, headline=("nq_f1", "trivia_f1", "mmlu_acc", "choice_acc")))
    for line in ("nq: relative drop of F1", "trivia: relative drop of F1", "mmlu: relative drop of acc", "mmlu lost"):
        assert line in shown
    assert "choice" not in shown
    assert "endings" not in shown


def test_a_row_says_what_the_method_is_and_how_tables_call_it():
    shown = [text for text, _ in texts(draw(TWO | {"smf_all": {}}))]
    for text in (
        "LoRA of rank 16 on all linear maps",
        "lora, AdamW",
        "slots by KL (Goyal et al., 2026)",
        "smf_kl, SGD",
        "smf_all",
    ):
        assert text in shown


def test_the_title_names_the_model_where_it_is_known_and_facts_and_seeds_are_counted():
    assert "What a language model keeps and loses when taught 30 new facts Per cent" in words(draw(TWO))
    shown = words(draw(TWO, labels=LABELS | {"model": "SmolLM2-135M-Instruct"}))
    assert "What SmolLM2-135M-Instruct keeps and loses when taught 30 new facts" in shown
    assert "after the last of 30 facts" in shown
    assert "95 % intervals over 3 seeds" in shown
    for label in ("NaturalQuestions, 900 items", "web pages", "TriviaQA questions", "A note that a reader needs."):
        assert label in shown


def test_one_seed_is_said_to_have_no_intervals():
    shown = words(draw(TWO, num_seeds=1))
    assert "one seed, so without intervals" in shown
    assert "Bars" not in shown


def test_a_loss_of_nothing_has_no_sign():
    assert "−0.0 %" not in words(draw({"smf_kl": {"nq_f1": 0.80001}, "lora": {}}))


def test_a_start_model_that_knows_nothing_is_said_not_drawn():
    scores, starts = table({"lora": {}, "smf_kl": {}})
    scores.loc[(scores["metric"] == "nq_f1") & (scores["method"] == "base"), "value"] = 0.0
    figure = overview_figure(scores, starts, LABELS, [held_out_metric("nq_f1", KINDS)])
    assert [text for text, _ in texts(figure)].count("start knew none") == 1
    assert dots(figure, "lora", starts) == pytest.approx([4, 100])


def test_an_interval_that_leaves_the_scale_ends_in_an_arrow():
    """Two seeds that differ have an interval of ± 12.7 standard errors."""
    ends = {"lora": {"nq_f1": (0.7, 0.5)}, "smf_kl": {}}
    marks = [line.get_marker() for axes in draw(ends, num_seeds=2).axes for line in axes.lines]
    assert marks.count(">") == 1
    assert marks.count("<") == 1
    assert not {"<", ">"} & {line.get_marker() for axes in draw(TWO).axes for line in axes.lines}


LONG = {"smf_a": "W" * 60, "smf_b": "many words " * 12, "full": "a head, " + "and the rest " * 12}
MANY = {
    f"{kind}_variant_with_a_long_name_{number}": {"facts_question_f1": 0.1 * number, "nq_f1": 0.08 * number}
    for number in range(1, 6)
    for kind in ("smf", "dense")
}


@pytest.mark.parametrize(
    ("ends", "options"),
    [
        (TWO, {}),
        (MANY, {}),
        (MANY, {"headline": ("nq_f1", "trivia_f1", "web_nll")}),
        (dict.fromkeys(LONG, {}), {"labels": LABELS | {"methods": LONG, "model": "A-model-of-a-long-name-" * 3}}),
        ({"smf_kl": {"facts_question_f1": 1.0, "nq_f1": 0.0, "web_nll": 9.0, LOCALITY: 0.0}, "lora": {}}, {}),
    ],
    ids=["two", "ten", "ten, five columns", "long names", "all lost"],
)
def test_whatever_was_found_nothing_runs_into_anything_or_off_the_figure(ends, options, recwarn):
    figure = draw(ends, **options)
    places = texts(figure)
    frame = figure.bbox.padded(1)
    assert not [
        text for text, box in places if not frame.contains(box.x0, box.y0) or not frame.contains(box.x1, box.y1)
    ]
    overlapping = [
        (one, other) for (one, box), (other, second) in itertools.combinations(places, 2) if box.overlaps(second)
    ]
    assert not overlapping
    assert not [str(warning.message) for warning in recwarn]


def test_the_picture_is_sharp_small_and_the_same_every_time(tmp_path):
    for name in ("first.png", "second.png"):
        save_figure(draw(MANY, labels=LABELS | {"notes": ["word " * 100]}), tmp_path / name, small=True)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    assert (tmp_path / "first.png").stat().st_size <= LARGEST_PICTURE
    with Image.open(tmp_path / "first.png") as picture:
        assert picture.mode == "P"
        assert picture.width == 1800  # two pixels for each of the 900 that a README shows


def test_a_figure_that_could_not_name_its_data_is_not_drawn():
    with pytest.raises(DataError, match="the labels lack held_out, facts"):
        draw(TWO, labels={"notes": []})
    with pytest.raises(DataError, match="the scores hold no trivia_em of lora"):
        draw(TWO, headline=("trivia_em",))
