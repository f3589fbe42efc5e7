"""The figures: drawn from tables alone, whatever the number of methods and seeds, and the same bytes every time."""

import errno
import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from smf.analysis.core_sets.figure import core_sets_figure
from smf.analysis.core_sets.table import core_sets_table
from smf.analysis.forgetting.figure import forgetting_figure
from smf.analysis.slot_use.figure import slot_use_figure
from smf.analysis.slot_use.table import slot_use_table
from smf.analysis.slot_writes.figure import slot_writes_figure
from smf.analysis.slot_writes.table import SLOT_WRITE_COLUMNS, slot_write_rows
from smf.analysis.tuning.figure import tuning_figure
from smf.analysis.tuning.rule import tuning_table
from smf.errors import DataError
from smf.figures.style import drawing, method_styles, new_figure, save_figure
from smf.scores.metrics import FACTS_METRICS, LOCALITY, held_out_metric, metrics_of
from smf.scores.summary import summary_table, terminal_summary
from smf.scores.table import scores_table
from smf.scores.words import asked_by
from smf.training.slot_use import slot_use_rows

KINDS = {"nq": "questions", "hellaswag": "choices"}
HEADLINE = [held_out_metric(name, KINDS) for name in ("nq_f1", "hellaswag_acc_norm")]
METRICS = (*metrics_of(KINDS), *FACTS_METRICS)
QUESTION = "facts_question_f1"
LABELS = {
    "held_out": {
        "nq": "NaturalQuestions-style questions (generated world)",
        "hellaswag": "HellaSwag-style (generated world)",
    },
    "chance": {"hellaswag": 0.25},
    "facts": "invented people",
    "notes": ["A note that a reader needs."],
}


def evaluation(method, seed, position, nq, choice, facts):
    values = dict.fromkeys(METRICS, facts) | {"nq_f1": nq, "hellaswag_acc_norm": choice}
    scores = [{"metric": metric, "value": value, "stderr": 0.01} for metric, value in values.items()]
    return {"method": method, "seed": seed, "position": position, "scores": scores}


def experiment(ends, num_seeds=3, positions=(10, 100), start=0.9, noise=0.01):
    """Scores and starts, from ``method: (held-out F1, retained F1)`` at the end."""
    random = np.random.default_rng(0)
    results = []
    for seed in range(num_seeds):
        results += [evaluation(name, seed, 0, start, 1.0, 0.0) for name in ("base", "healed")]
        for method, end in ends.items():
            for position in positions:
                nq, facts = np.clip(np.array(end) + noise * random.normal(size=2), 0, 1)
                results.append(evaluation(method, seed, position, float(nq), 1.0, float(facts)))
    return scores_table(results), {method: "healed" if "smf" in method else "base" for method in ends}


def draw(ends, **options):
    scores, starts = experiment(ends, **options)
    return forgetting_figure(scores, summary_table(scores, starts, KINDS), starts, LABELS, HEADLINE)


def words(figure):
    """Everything that is written in a figure, one space between words."""
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    return " ".join(" ".join(texts).split())


def small_tuning():
    results = [evaluation("base", 5, 0, 0.9, 1.0, 0.0), evaluation("healed", 5, 0, 0.9, 1.0, 0.0)]
    runs = {}
    for method, rates in (("full", (1e-5, 1e-4, 1e-3)), ("smf", (1.0, 10.0))):
        for rate in rates:
            runs[f"{method}-{rate}"] = (method, rate)
            results.append(evaluation(f"{method}-{rate}", 5, 10, 0.8, 1.0, 0.4))
    starts = {"lora": "base", "full": "base", "smf": "healed"}
    rates, headline = {"full": 1e-4, "smf": 1.0}, ["nq_f1", "hellaswag_acc_norm"]
    return tuning_table(scores_table(results), runs, starts, rates, headline, None), starts


TWO = {"full": (0.2, 0.25), "smf_tfidf": (0.88, 0.9)}


def caption(learned="facts_question_f1", **labels):
    """All words of a figure of two methods."""
    scores, starts = experiment(TWO)
    summary = summary_table(scores, starts, KINDS)
    return words(forgetting_figure(scores, summary, starts, LABELS | labels, HEADLINE, learned))


def with_neighbours(ends):
    """Scores of an experiment whose facts have neighbours, of which 0.75 are as they were."""
    scores, starts = experiment(ends)
    asked = scores[scores["metric"] == "nq_f1"].assign(metric=LOCALITY, value=1.0)
    asked.loc[asked["method"].isin(starts), "value"] = 0.75
    return pd.concat([scores, asked], ignore_index=True), starts


def test_neighbours_have_a_column_where_they_were_asked_unless_they_are_in_the_headline():
    scores, starts = with_neighbours(TWO)
    summary = summary_table(scores, starts, KINDS)
    shown = words(forgetting_figure(scores, summary, starts, LABELS, HEADLINE))
    assert shown.count("unchanged (F1)") == 1
    assert shown.count("0.75 ±0.00") == len(TWO)
    assert "Neighbours: prompts near the facts" in shown
    text = " ".join(terminal_summary(summary, starts, LABELS, HEADLINE).split())
    assert "Neighbours of the facts, unchanged (F1): base 1.00 ±0.00, healed 1.00 ±0.00, full 0.75 ±0.00," in text
    in_headline = [HEADLINE[0], held_out_metric(LOCALITY, KINDS)]
    assert "unchanged (F1)" not in words(forgetting_figure(scores, summary, starts, LABELS, in_headline))
    assert "unchanged (F1)" not in caption()


@pytest.mark.parametrize("suffix", ["pdf", "png"])
def test_saved_bytes_are_the_same_every_time_and_hold_no_date(tmp_path, monkeypatch, suffix):
    first, second = tmp_path / f"first.{suffix}", tmp_path / f"second.{suffix}"
    save_figure(draw(TWO), first)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")  # another day
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red"}):  # a user's own settings
        save_figure(draw(TWO), second)
    assert first.read_bytes() == second.read_bytes()
    assert b"CreationDate" not in first.read_bytes()


def test_saving_replaces_the_file_whole_and_leaves_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "figure.png"
    save_figure(new_figure(1, 1), path)
    before = path.read_bytes()
    figure = new_figure(2, 1)

    def fill_the_disk(target, **_):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(figure, "savefig", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        save_figure(figure, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["figure.png"]


def test_a_suffix_that_cannot_be_saved_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"figure.jpg; the suffix must be one of .pdf, .png"):
        save_figure(new_figure(1, 1), tmp_path / "figure.jpg")


def test_ten_and_more_methods_have_different_looks_and_keep_them():
    names = [f"method{number}" for number in range(25)]
    styles = method_styles(names)
    assert len(set(styles.values())) == 25
    assert len({style.colour for style in list(styles.values())[:10]}) == 10
    assert len({style.marker for style in list(styles.values())[:10]}) == 10
    assert method_styles(names[:4]) == {name: styles[name] for name in names[:4]}


def test_figure_says_its_data_seeds_facts_and_rule():
    text = words(draw(TWO))
    for label in (*LABELS["held_out"].values(), LABELS["facts"], *LABELS["notes"]):
        assert label in text
    assert "100 new facts" in text
    assert "2 methods, 3 seeds each" in text
    assert "95 % Student t intervals over 3 seeds" in text
    assert "Learning rates are those of the config. They can be checked by the sweep in tables/tuning.csv" in text


def test_words_on_methods_can_be_given():
    assert "full: full finetuning" in caption(methods={"full": "full finetuning"})


@pytest.mark.parametrize(
    ("untuned", "rate_free", "said", "unsaid"),
    [
        ([], [], "one rule for all methods", "no sweep"),
        (["full"], [], "full: no sweep in the config.", "has no sweep"),
        (list(TWO), [], "the config, which has no sweep to check them by.", "one rule"),
        ([], ["smf_tfidf"], "for all methods", "no sweep"),
        ([], ["smf_tfidf"], "smf_tfidf: no learning rate is needed.", "untuned"),
        (["full"], ["smf_tfidf"], "to check them by. smf_tfidf: no learning rate is needed.", "one rule"),
        ([], list(TWO), "No method needs a learning rate.", "Learning rates"),
    ],
    ids=["all swept", "some", "none", "one free, rule", "one free", "one free, none swept", "all free"],
)
def test_the_figure_does_not_claim_a_sweep_that_was_not_there(untuned, rate_free, said, unsaid):
    text = caption(untuned=untuned, rate_free=rate_free)
    assert said in text
    assert unsaid not in text


def test_the_figure_does_not_claim_that_the_sweep_was_run():
    """A key in the config is no table of results: only asking for the table makes it."""
    assert "checks them" not in caption()
    assert "can be checked by" in caption()


def test_the_figure_says_by_which_wordings_rates_were_chosen():
    assert "highest retained F1, asked by untrained wordings, minus" in caption()
    assert "asked by the wordings that were taught, minus" in caption(tuned_by="facts_seen_f1")


def test_an_interval_that_leaves_the_panel_ends_in_an_arrow_there():
    """Two seeds that lose 0 and 60 % of 0.9, and retain 0.1 and 0.9: intervals of ± 12.7 standard errors."""
    results = []
    for seed, (nq, facts) in enumerate([(0.9, 0.1), (0.36, 0.9)]):
        results += [evaluation("base", seed, 0, 0.9, 1.0, 0.0), evaluation("full", seed, 10, nq, 1.0, facts)]
    scores, starts = scores_table(results), {"full": "base"}
    figure = forgetting_figure(scores, summary_table(scores, starts, KINDS), starts, LABELS, HEADLINE)
    panel = next(axes for axes in figure.axes if "relative drop" in axes.get_xlabel())
    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    marks = {line.get_marker(): line for line in panel.lines if line.get_marker() in ("<", ">", "v", "^")}
    places = {marker: (line.get_xdata()[0], line.get_ydata()[0]) for marker, line in marks.items()}
    assert places == {
        "<": pytest.approx((left, 0.5)), ">": pytest.approx((right, 0.5)),
        "v": pytest.approx((30, bottom)), "^": pytest.approx((30, top)),
    }  # fmt: skip
    assert {line.get_color() for line in marks.values()} == {method_styles(["full"])["full"].colour}
    assert "an arrow where one leaves the panel" in words(figure)


def test_intervals_within_the_panel_have_no_arrow():
    panel = next(axes for axes in draw(TWO).axes if "relative drop" in axes.get_xlabel())
    assert not {"<", ">", "v", "^"} & {line.get_marker() for line in panel.lines}


def test_numbers_in_the_figure_are_those_of_the_summary():
    scores, starts = experiment(TWO, noise=0.0)
    summary = summary_table(scores, starts, KINDS)
    summary.loc[(summary["method"] == "full") & (summary["metric"] == "nq_f1"), ["mean", "relative_drop"]] = 0.77, 0.123
    text = words(forgetting_figure(scores, summary, starts, LABELS, HEADLINE))
    assert "0.77" in text
    assert "12.3 %" in text
    assert "77.8 %" not in text


@pytest.mark.parametrize(
    ("ends", "options"),
    [
        ({"smf": (0.9, 0.8)}, {"num_seeds": 1}),
        ({"full": (0.0, 0.0), "smf": (0.0, 0.0)}, {"noise": 0.0}),
        ({"full": (0.95, 0.5), "smf": (1.0, 0.8)}, {"start": 0.6}),
        ({"full": (0.1, 0.5), "smf": (0.0, 0.8)}, {"start": 0.0}),
        ({f"smf_variant_with_a_long_name_{number}": (0.8, 0.8) for number in range(12)}, {}),
        ({"full": (0.5, 0.5)}, {"num_seeds": 2, "positions": (1,)}),
    ],
    ids=["one method, one seed", "all zero", "improved", "start knows nothing", "twelve methods", "one fact"],
)
def test_every_kind_of_result_can_be_drawn_without_a_warning(ends, options, tmp_path, recwarn):
    save_figure(draw(ends, **options), tmp_path / "figure.png")
    assert not [str(warning.message) for warning in recwarn]


def test_one_seed_is_said_to_have_no_intervals():
    text = words(draw({"smf": (0.9, 0.8)}, num_seeds=1))
    assert "1 method, 1 seed" in text
    assert "no intervals" in text
    assert "±" not in text


def test_a_start_model_that_knows_nothing_is_said_not_drawn():
    assert "not shown, its start model answers nothing: full" in words(draw({"full": (0.1, 0.5)}, start=0.0))


def test_labels_near_one_another_do_not_overlap():
    figure = draw({f"smf_{number}": (0.88 + 0.001 * number, 0.85) for number in range(6)}, noise=0.002)
    renderer = figure.canvas.get_renderer()
    panel = next(axes for axes in figure.axes if "relative drop" in axes.get_xlabel())
    boxes = [text.get_window_extent(renderer) for text in panel.texts if text.get_text().startswith("smf_")]
    assert len(boxes) == 6
    assert not any(one.overlaps(other) for index, one in enumerate(boxes) for other in boxes[:index])


def test_everything_written_is_inside_the_figure():
    figure = draw({f"smf_variant_with_a_long_name_{number}": (0.1 * number, 0.8) for number in range(10)})
    with drawing():
        figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    frame = figure.bbox.padded(1)
    shown = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]
    outside = [
        text.get_text()
        for text in shown
        if (box := text.get_window_extent(renderer)).x0 < frame.x0
        or box.x1 > frame.x1
        or box.y0 < 0
        or box.y1 > frame.y1
    ]
    assert not outside


def test_a_figure_that_could_not_name_its_data_is_not_drawn():
    scores, starts = experiment(TWO)
    with pytest.raises(DataError, match="the labels lack held_out, facts"):
        forgetting_figure(scores, summary_table(scores, starts, KINDS), starts, {"notes": []}, HEADLINE)


def test_tuning_figure_shows_tuned_methods_in_their_own_colours(tmp_path):
    table, starts = small_tuning()
    figure = tuning_figure(table, starts, LABELS, HEADLINE, QUESTION)
    text = words(figure)
    assert "chosen learning rate 1e-05" in text
    assert "chosen learning rate 1" in text
    assert "lora" not in text
    colours = {line.get_color() for axes in figure.axes for line in axes.lines}
    assert {method_styles(list(starts))[method].colour for method in ("full", "smf")} <= colours
    for name in ("first.pdf", "second.pdf"):
        save_figure(tuning_figure(table, starts, LABELS, HEADLINE, QUESTION), tmp_path / name)
    assert (tmp_path / "first.pdf").read_bytes() == (tmp_path / "second.pdf").read_bytes()


def test_tuning_figure_says_by_which_way_of_asking_rates_were_chosen():
    table, starts = small_tuning()
    usual = words(tuning_figure(table, starts, LABELS, HEADLINE, QUESTION))
    assert "at the end of the stream, asked by untrained wordings." in usual
    assert "compare methods on new facts asked by an untrained question; the rule does not use that score." in usual
    taught = table.rename(columns={"retained_unseen_f1": "retained_seen_f1"})
    text = words(tuning_figure(taught, starts, LABELS | {"tuned_by": "facts_seen_f1"}, HEADLINE, "facts_seen_f1"))
    assert "at the end of the stream, asked by the wordings that were taught." in text
    assert "The results compare methods by this retained F1 too." in text


def test_tuning_figure_says_that_facts_lack_untrained_wordings_only_if_the_config_did_not_choose_the_question():
    table, starts = small_tuning()
    asked = table.drop(columns="facts_question_f1").rename(columns={"retained_unseen_f1": "retained_question_f1"})
    chosen = words(tuning_figure(asked, starts, LABELS | {"tuned_by": QUESTION}, HEADLINE, QUESTION))
    assert "at the end of the stream, asked by an untrained question." in chosen
    assert "The results compare methods by this retained F1 too." in chosen
    assert "No fact has a wording that is never trained" not in chosen
    forced = words(tuning_figure(asked, starts, LABELS | {"tuned_by": None}, HEADLINE, QUESTION))
    assert "No fact has a wording that is never trained, so the rule weighs the question. The results" in forced


@pytest.mark.parametrize("learned", ["facts_seen_f1", "facts_unseen_f1"])
def test_tuning_figure_says_so_if_results_and_rule_ask_differently(learned):
    table, starts = small_tuning()
    column = "retained_unseen_f1" if learned == "facts_seen_f1" else "retained_seen_f1"
    weighed = table.rename(columns={"retained_unseen_f1": column})
    tuned_by = {"tuned_by": column.replace("retained", "facts")}
    text = words(tuning_figure(weighed, starts, LABELS | tuned_by, HEADLINE, learned))
    assert f"asked by {asked_by(learned)}; the rule does not use that score." in text


def test_tuning_figure_of_one_rate_and_bad_tables():
    table, starts = small_tuning()
    assert "chosen learning rate 1e-05" in words(tuning_figure(table.iloc[:1], starts, LABELS, HEADLINE, QUESTION))
    with pytest.raises(DataError, match="unknown method smf"):
        tuning_figure(table, {"full": "base"}, LABELS, HEADLINE, QUESTION)
    with pytest.raises(DataError, match="empty"):
        tuning_figure(table.iloc[:0], starts, LABELS, HEADLINE, QUESTION)
    with pytest.raises(DataError, match="no column best"):
        tuning_figure(table.drop(columns="best"), starts, LABELS, HEADLINE, QUESTION)


def slot_uses(layers=(1, 3), num_heads=2, stages=("installed", "calibrated", "healed"), num_slots=100):
    random = np.random.default_rng(0)
    rows = []
    for layer in layers:
        for stage in stages:
            first = random.integers(0, 3, (num_heads, num_slots))
            rows += slot_use_rows(layer, stage, first + random.integers(0, 9, first.shape), first, first / 2)
    return slot_use_table({"slot_use": rows})


@pytest.mark.parametrize(
    "options",
    [{}, {"layers": (0,), "num_heads": 1}, {"stages": ("installed", "healed")}, {"layers": (2, 9, 10), "num_heads": 8}],
    ids=["two layers", "one head", "not calibrated", "three layers of eight heads"],
)
def test_slot_use_is_drawn_for_every_layer_head_and_stage(options, tmp_path, recwarn):
    table = slot_uses(**options)
    figure = slot_use_figure(table, {"notes": ["A note that a reader needs."]})
    for name in ("first.pdf", "second.pdf"):
        save_figure(figure, tmp_path / name)
    assert (tmp_path / "first.pdf").read_bytes() == (tmp_path / "second.pdf").read_bytes()
    text = words(figure)
    for layer in table["layer"].unique():
        assert f"block {layer}" in text
    for head in table["head"].unique():
        assert f"{head} heads" in text or f"head {head}" in text
    assert ("queries calibrated" in text) == ("calibrated" in set(table["stage"]))
    assert "A note that a reader needs." in text
    reads = table.loc[(table["head"] == "all") & (table["measure"] == "reads"), "value"].iloc[0]
    assert f"{reads:,.0f} reads" in text
    assert not [str(warning.message) for warning in recwarn]


def test_slot_use_marks_stand_where_the_table_says():
    table = slot_uses(layers=(1,), num_heads=1)
    dead = table["measure"].isin(["slots_read", "slots"]) & (table["stage"] == "healed")
    table.loc[dead, "value"] = table.loc[dead, "measure"].map({"slots_read": 35, "slots": 140})
    figure = slot_use_figure(table, {})
    (panel,) = [axes for axes in figure.axes if any(text.get_text() == "Slots ever read" for text in axes.texts)]
    points = [line.get_xdata()[0] for line in panel.lines if line.get_marker() == "s"]
    assert points == [0.25, 0.25]  # the head, and all heads


def test_a_slot_use_table_that_is_empty_or_incomplete_is_refused():
    with pytest.raises(DataError, match="no column stage"):
        slot_use_figure(slot_uses().drop(columns="stage"), {})
    with pytest.raises(DataError, match="empty"):
        slot_use_figure(slot_uses().iloc[:0], {})


WRITING = ["full", "smf_tfidf", "smf_trust"]


def slot_write_table(layers=(1, 3), seeds=(0, 1), largest=5_000):
    random = np.random.default_rng(0)
    reads = {layer: random.integers(0, largest, 200) * random.integers(0, 2, 200) for layer in layers}
    rows = []
    for method in WRITING[1:]:
        for seed in seeds:
            patch = {}
            for layer in layers:
                slots, before = np.sort(random.choice(200, 50, replace=False)), random.normal(size=(50, 4))
                patch[layer] = (slots, before, before + random.normal(size=(50, 4)))
            rows += slot_write_rows(method, seed, reads, patch)
    return pd.DataFrame(rows, columns=list(SLOT_WRITE_COLUMNS))


@pytest.mark.parametrize("options", [{}, {"layers": (0,), "seeds": (7,)}, {"largest": 2}], ids=["two", "one", "unread"])
def test_slot_writes_are_drawn_for_every_layer_and_method_that_knows_slots(options, tmp_path, recwarn):
    table = slot_write_table(**options)
    figure = slot_writes_figure(table, {"notes": ["A note that a reader needs."]}, WRITING)
    for name in ("first.pdf", "second.pdf"):
        save_figure(figure, tmp_path / name)
    assert (tmp_path / "first.pdf").read_bytes() == (tmp_path / "second.pdf").read_bytes()
    text = words(figure)
    for layer in table["layer"].unique():
        assert f"smf_tfidf, block {layer}" in text
        assert f"smf_trust, block {layer}" in text
        assert f"full, block {layer}" not in text
    assert "A note that a reader needs." in text
    assert not [str(warning.message) for warning in recwarn]


def test_bars_of_slot_writes_are_as_high_as_the_table_says():
    table = slot_write_table(layers=(1,), seeds=(0,))
    figure = slot_writes_figure(table, {}, WRITING)
    (panel,) = [axes for axes in figure.axes if any(text.get_text() == "smf_trust, block 1" for text in axes.texts)]
    rows = table[table["method"] == "smf_trust"]
    assert [bar.get_height() for bar in panel.patches] == [*rows["slots"], *rows["slots_written"]]
    colour = method_styles(WRITING)["smf_trust"].colour
    assert to_hex(panel.patches[-1].get_facecolor()) == colour.lower()
    taken = rows["reads_of_written"].sum() / rows["reads"].sum()
    assert f"which take {100 * taken:.1f} % of ordinary reads" in words(figure)


def test_a_slot_write_table_that_is_empty_or_incomplete_is_refused():
    with pytest.raises(DataError, match="no column change; make it again"):
        slot_writes_figure(slot_write_table().drop(columns="change"), {}, WRITING)
    with pytest.raises(DataError, match="a method of kind smf must have learned"):
        slot_writes_figure(slot_write_table().iloc[:0], {}, WRITING)


CORE_SETS = {"method": "smf_1", "top_t": [1, 5, 25], "rate_factors": [1, 2.5]}


def core_sets(num_facts=12, num_methods=2, top_t=(0, 1, 5, 25, None), **columns):
    random = np.random.default_rng(0)
    methods = [f"smf_{number}" for number in range(num_methods)]
    rows = []
    for number in range(num_facts):
        core = int(random.integers(50, 70))
        row = {"seed": 5, "fact_id": f"fact-{number}", "texts": 9, "core": core, "training_core": core + 20}
        row |= {"training_reads": 1500, "question_reads": 600, "question_shared": 0.4}
        for asked in ("wordings", "question"):
            fewest = top_t[int(random.integers(len(top_t)))]
            row |= {f"{asked}_asked": True, f"{asked}_top_t": fewest, f"{asked}_rate": 1.0, f"{asked}_slots": fewest}
        for method in methods:
            row |= {f"trained_{method}": 20, f"trained_core_{method}": int(random.integers(0, 20))}
        rows.append(row | columns)
    return core_sets_table(rows, [1], methods), ["full", *methods]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_facts": 1, "num_methods": 1},
        {"num_methods": 9},
        {"core": 0, "training_core": 0},
        {"top_t": (None,)},
        {"question_asked": False, "question_top_t": None, "question_shared": None},
        {"question_asked": False, "wordings_asked": False, "question_shared": None},
    ],
    ids=["usual", "one fact", "nine methods", "nothing shared", "never answered", "no question", "nothing asked"],
)
def test_core_sets_are_drawn_whatever_was_found(options, tmp_path, recwarn):
    table, methods = core_sets(**options)
    figure = core_sets_figure(table, CORE_SETS, methods, LABELS)
    for name in ("first.pdf", "second.pdf"):
        save_figure(figure, tmp_path / name)
    assert (tmp_path / "first.pdf").read_bytes() == (tmp_path / "second.pdf").read_bytes()
    text = words(figure)
    assert text.count("smf_") >= len(methods) - 1
    for words_of_data in (LABELS["facts"], *LABELS["notes"], "smf_1 learns each fact", "rates of 1, 2.5 times"):
        assert words_of_data in text
    assert ("none of the facts is asked" in text) == ("wordings_asked" in options)
    assert ("the question, never trained on" in text) == ("question_asked" not in options)
    assert not [str(warning.message) for warning in recwarn]


def test_the_figure_of_core_sets_names_no_rates_where_there_are_none():
    table, methods = core_sets()
    text = words(core_sets_figure(table, CORE_SETS | {"rate_factors": []}, methods, LABELS))
    assert "smf_1 learns each fact from the same start, in as many steps as in the stream." in text
    assert "times its own are tried" not in text


def test_core_set_marks_stand_where_the_table_says():
    table, methods = core_sets(num_methods=2)
    table["core"], table["trained_smf_1"], table["trained_core_smf_1"] = 60, 20, 15
    table["wordings_top_t"] = [0, 1, 5, 5, 25, 25, *[None] * 6]
    figure = core_sets_figure(table, CORE_SETS, methods, LABELS)
    (trained,) = [axes for axes in figure.axes if axes.get_xlabel() == "share of slots"]
    marker = method_styles(methods)["smf_1"].marker
    assert [line.get_xdata()[0] for line in trained.lines if line.get_marker() == marker and len(line.get_xdata())] == [
        0.25,
        0.75,
    ]
    (enough,) = [axes for axes in figure.axes if axes.get_xscale() == "log"]
    (line,) = [line for line in enough.lines if line.get_label() == "all wordings that were taught"]
    assert list(line.get_xdata()) == [1, 5, 25]
    assert list(line.get_ydata()) == pytest.approx([2 / 12, 4 / 12, 6 / 12])
    assert "the model answers all wordings of 1 fact" in words(figure)


def test_a_table_of_core_sets_that_is_empty_or_incomplete_is_refused():
    table, methods = core_sets()
    with pytest.raises(DataError, match="no column core; make it again"):
        core_sets_figure(table.drop(columns="core"), CORE_SETS, methods, LABELS)
    with pytest.raises(DataError, match="empty"):
        core_sets_figure(table.iloc[:0], CORE_SETS, methods, LABELS)
    with pytest.raises(DataError, match="the labels lack facts"):
        core_sets_figure(table, CORE_SETS, methods, {})
    with pytest.raises(DataError, match="shows no method"):
        core_sets_figure(table, CORE_SETS, ["full"], LABELS)


def test_figures_import_no_torch_and_no_pyplot():
    code = (
        "import sys, smf.analysis.core_sets.figure, smf.analysis.forgetting.figure, smf.analysis.overview.figure, "
        "smf.analysis.interpolation.figure, smf.analysis.slot_use.figure, smf.analysis.slot_writes.figure, "
        "smf.analysis.tuning.figure, smf.analysis.read_overlap.figure\n"
        "unwanted = ('torch', 'lm_eval', 'matplotlib.pyplot', 'smf.files.artifacts')\n"
        "print([name for name in unwanted if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
