"""The page that tells an experiment's story."""

import base64
import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from smf.errors import DataError
from smf.figures.style import add_panel, drawing, method_styles, new_figure, save_figure
from smf.files.artifacts import write_json
from smf.stages.page import write_page
from tests.workflow.runs import ROOT

REPORT = ROOT / "workflow/report"
FACTS = {"methods": {"full": "all <weights>"}, "seeds": [0, 1], "num_facts": 4, "config": {"device": "cpu"}}
SECTIONS = [
    {
        "title": "Result",
        "parts": [{"caption": "forgetting", "shows": "figure"}, {"caption": "summary", "shows": "text"}],
    },
    {"title": "Sweep", "parts": [{"caption": "tuning_table", "shows": "table"}]},
]


def png(path):
    """A white pixel."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0\xff")),
        (b"IEND", b""),
    ]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.fixture
def written(tmp_path):
    """Write a page of some files and return its text."""
    labels = {"facts": "invented people", "held_out": {"nq": "questions"}, "notes": ["A note that a reader needs."]}
    write_json(tmp_path / "labels.json", labels)

    def write(sections=SECTIONS, **files):
        path = tmp_path / "page.html"
        write_page(REPORT / "page.html.jinja", REPORT, sections, files, tmp_path / "labels.json", FACTS, path)
        return path.read_text(encoding="utf-8")

    return write


def test_what_an_experiment_does_not_have_is_left_out_with_its_section(written, tmp_path):
    text = written(figure=[png(tmp_path / "f.png")], text=[], table=[])
    assert "1. Result" in text
    assert "Sweep" not in text
    assert text.count("<figure>") == 1


def test_text_of_users_is_no_markup(written, tmp_path):
    (tmp_path / "summary.txt").write_text("a <b> & c\n")
    text = written(figure=[], text=[tmp_path / "summary.txt"], table=[])
    assert "<pre>a &lt;b&gt; &amp; c</pre>" in text
    assert "all &lt;weights&gt;" in text
    assert "A note that a reader needs." in text


def test_numbers_of_tables_can_be_read(written, tmp_path):
    (tmp_path / "t.csv").write_text("learning_rate,score,best\n24000.0,0.123456,True\n1e-05,,False\ninf,1,True\n")
    text = written(figure=[], text=[], table=[tmp_path / "t.csv"])
    assert "<th>learning rate</th><th>score</th><th>best</th>" in text
    assert '<td class="number">24,000</td><td class="number">0.123</td><td>yes</td>' in text
    assert '<td class="number">1e-05</td><td class="number"></td><td></td>' in text
    assert '<td class="number">inf</td>' in text


def test_the_same_files_give_the_same_bytes(written, tmp_path):
    figure = png(tmp_path / "f.png")
    assert written(figure=[figure], text=[], table=[]) == written(figure=[figure], text=[], table=[])


def test_a_page_that_snakemakes_report_cannot_show_is_said_to_be_too_large(written, tmp_path, caplog):
    (tmp_path / "summary.txt").write_text("a line of text\n" * 10_000)
    written(figure=[], text=[tmp_path / "summary.txt"], table=[])
    assert not caplog.records
    (tmp_path / "summary.txt").write_text("a line of text\n" * 110_000)
    written(figure=[], text=[tmp_path / "summary.txt"], table=[])
    assert "open it by itself" in caplog.text


def test_figures_keep_their_pixels_and_colours_and_take_less_room(written, tmp_path):
    with drawing():
        figure = new_figure(4, 3)
        axes = add_panel(figure, 0.5, 0.5, 3, 2)
        for number, style in enumerate(method_styles("abcdef").values()):
            axes.plot([0, 1], [0, number], color=style.colour)
    save_figure(figure, tmp_path / "f.png")
    text = written(figure=[tmp_path / "f.png"], text=[], table=[])
    shown = base64.b64decode(re.search(r"base64,([^\"]+)", text)[1])
    assert len(shown) < 0.7 * (tmp_path / "f.png").stat().st_size
    old, new = (np.asarray(Image.open(file).convert("RGB"), int) for file in (tmp_path / "f.png", io.BytesIO(shown)))
    assert old.shape == new.shape
    assert abs(old - new).max() < 48
    assert abs(old - new).mean() < 0.5


def test_a_file_that_cannot_be_shown_is_named(written, tmp_path):
    with pytest.raises(DataError, match=r"x\.pdf is neither a figure"):
        written(figure=[tmp_path / "x.pdf"], text=[], table=[])
