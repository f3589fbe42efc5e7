"""The table and the figure of interpolation with the start model: made of scores alone."""

import math

import matplotlib
import pandas as pd
import pytest

from smf.analysis.interpolation.figure import interpolation_figure
from smf.analysis.interpolation.table import INTERPOLATION_COLUMNS, interpolation_table, values_by_share
from smf.errors import DataError
from smf.figures.style import save_figure
from smf.files.artifacts import read_table, write_json
from smf.scores.metrics import LOCALITY, held_out_metric
from smf.stages.interpolation import Shown, draw_interpolation, write_interpolation

KINDS = {"nq": "questions"}
METRIC = held_out_metric("nq_f1", KINDS)
LABELS = {"held_out": {"nq": "NaturalQuestions-style"}, "facts": "invented people", "notes": ["A note."]}
STARTS = {"smf": "healed", "full": "base"}


def evaluation(method, seed, position, nq, facts, near=0.5):
    values = {"nq_f1": nq, "facts_question_f1": facts, LOCALITY: near}
    scores = [{"metric": metric, "value": value, "stderr": 0.01} for metric, value in values.items()]
    return {"method": method, "seed": seed, "position": position, "scores": scores}


def evaluations(num_seeds=2, shares=(0.5, 1.0), forgotten=0.4):
    """Start models, and runs by share: ``smf`` forgets nothing, ``full`` the more the larger the share."""
    seeds = range(num_seeds)
    at_start = [evaluation(name, seed, 0, 0.8, 0.1 * seed) for name in ("base", "healed") for seed in seeds]
    by_share = {
        share: [evaluation("smf", seed, 9, 0.8, 0.9 * share) for seed in seeds]
        + [evaluation("full", seed, 9, 0.8 * (1 - forgotten * share), 0.3 * share) for seed in seeds]
        for share in shares
    }
    return at_start, by_share


def table(**options):
    return interpolation_table(*evaluations(**options), STARTS)


def words(figure):
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    return " ".join(" ".join(texts).split())


def test_the_table_has_both_ends_and_forgetting_from_each_methods_own_start():
    rows = table()
    assert tuple(rows.columns) == INTERPOLATION_COLUMNS
    assert list(rows["method"].unique()) == ["smf", "full"]
    assert len(rows) == len(rows.drop_duplicates(["method", "seed", "share", "metric"])) == 2 * 2 * 3 * 3
    lost = values_by_share(rows, "full", "nq_f1", "forgetting")
    assert lost[0].to_dict() == pytest.approx({0.0: 0.0, 0.5: 0.2, 1.0: 0.4})
    kept = values_by_share(rows, "smf", "facts_question_f1", "value")
    assert kept[1].to_dict() == pytest.approx({0.0: 0.1, 0.5: 0.45, 1.0: 0.9})
    assert rows.loc[rows["metric"] == "facts_question_f1", "forgetting"].isna().all()
    # The start model agrees with itself, whatever its own row was compared with.
    assert set(rows.loc[(rows["metric"] == LOCALITY) & (rows["share"] == 0), "value"]) == {1.0}


def test_a_share_that_was_not_evaluated_is_refused():
    at_start, by_share = evaluations()
    by_share[0.5] = by_share[0.5][:-1]
    with pytest.raises(DataError, match="lacks value of nq_f1 of full"):
        values_by_share(interpolation_table(at_start, by_share, STARTS), "full", "nq_f1", "value")
    with pytest.raises(DataError, match="has no column forgetting; make it again"):
        values_by_share(table().drop(columns="forgetting"), "full", "nq_f1", "value")


@pytest.mark.parametrize(
    "options",
    [{}, {"num_seeds": 1}, {"forgotten": 0.01}, {"forgotten": -0.2}, {"shares": (0.1, 0.2, 0.3, 0.5, 0.9, 1.0)}],
    ids=["usual", "one seed", "little", "improved", "many shares"],
)
def test_the_figure_is_drawn_whatever_was_found(options, tmp_path, recwarn):
    figure = interpolation_figure(table(**options), ["lora", *STARTS], LABELS, METRIC, "facts_question_f1")
    for name in ("first.pdf", "second.pdf"):
        save_figure(figure, tmp_path / name)
    assert (tmp_path / "first.pdf").read_bytes() == (tmp_path / "second.pdf").read_bytes()
    assert not [str(warning.message) for warning in recwarn]
    for label in ("NaturalQuestions-style", "invented people", "A note.", "an untrained question"):
        assert label in words(figure)
    assert ("single run" in words(figure)) == (options.get("num_seeds") != 1)


def test_lines_go_from_the_start_model_to_what_was_learned():
    figure = interpolation_figure(table(), ["lora", *STARTS], LABELS, METRIC, "facts_question_f1")
    panel = next(axes for axes in figure.axes if "forgotten: " in axes.get_xlabel())
    lines = [line for line in panel.lines if line.get_linewidth() == 1.6]
    ways = [list(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in lines]
    assert ways == [
        [pytest.approx(point) for point in ((0, 0.05), (0, 0.45), (0, 0.9))],
        [pytest.approx(point) for point in ((0, 0.05), (20, 0.15), (40, 0.3))],
    ]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows.iloc[:0], "holds none of smf, full; make it again"),
        (lambda rows: rows.assign(forgetting=math.nan), "lacks forgetting of nq_f1 of smf"),
        (lambda rows: rows[rows["metric"] != "nq_f1"], "lacks forgetting of nq_f1 of smf"),
    ],
    ids=["empty", "nothing to forget", "not asked"],
)
def test_a_table_that_does_not_say_what_is_drawn_is_refused(spoil, message):
    with pytest.raises(DataError, match=message):
        interpolation_figure(spoil(table()), list(STARTS), LABELS, METRIC, "facts_question_f1")


def test_the_stages_make_table_and_figure_from_files(tmp_path):
    at_start, by_share = evaluations()
    files = {"start": at_start, "between": [{**one, "share": 0.5} for one in by_share[0.5]], "learned": by_share[1.0]}
    paths = {}
    for kind, found in files.items():
        paths[kind] = [tmp_path / f"{kind}-{number}.json" for number in range(len(found))]
        for path, one in zip(paths[kind], found, strict=True):
            write_json(path, one)
    write_interpolation(*paths.values(), STARTS, tmp_path / "table.csv")
    pd.testing.assert_frame_equal(read_table(tmp_path / "table.csv"), table())
    write_json(tmp_path / "labels.json", LABELS)
    figures = [tmp_path / "figures" / f"interpolation.{ending}" for ending in ("pdf", "png")]
    shown = Shown(tmp_path / "labels.json", STARTS, {"nq": 500}, ["nq_f1"], KINDS)
    draw_interpolation(shown, "facts_question_f1", tmp_path / "table.csv", figures)
    assert all(path.stat().st_size > 10_000 for path in figures)
