"""The report: the story on one page, and Snakemake's report with it, as a reader sees them in a browser."""

import csv
import re

import pytest

from tests.workflow.browser import opened, why_not
from tests.workflow.runs import copy_sources, snakemake, tiny_config

HEADINGS = [
    "1. What was learned, what was forgotten",
    "2. How the learning rates were chosen",
    "3. Where facts are written",
    "4. What it cost",
    "The config",
]
CATEGORIES = {
    "1. What was learned, what was forgotten": 3,  # two figures, and the table as a file
    "2. How settings were chosen": 2,
    "4. Where facts are written": 2,
    "5. What it cost": 1,
}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not() or "a browser")]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A folder with the page of a finished experiment, and Snakemake's report."""
    sources, folder = copy_sources(tmp_path_factory.mktemp("sources")), tmp_path_factory.mktemp("told")
    config = tiny_config(folder / "tiny.yaml", methods={"full": None, "lora": None})
    for arguments in (["results/page.html"], ["--report", "report.html", "results/page.html"]):
        outcome = snakemake(sources, folder, *arguments, config=config)
        assert outcome.code == 0, outcome.text
    return folder


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def cells(table, selector):
    return [found.text for found in table.find_elements("css selector", selector)]


def test_the_page_shows_every_figure_and_table_and_nothing_is_missing(told):
    with opened(told / "results/page.html") as page:
        assert [heading.text for heading in page.all("h2")] == HEADINGS
        sizes = page.picture_sizes()
        assert len(sizes) == 5  # overview, forgetting, tuning, slot writes, slot use
        assert min(sizes) > 500
        assert all(caption.text.strip() for caption in page.all("figcaption"))
        for name in ("tuning", "compute"):
            head, *rows = rows_of(told / f"results/tables/{name}.csv")
            names = [column.replace("_", " ") for column in head]
            found = [table for table in page.all("table") if cells(table, "th") == names]
            assert len(found) == 1, name
            assert len(cells(found[0], "tbody tr")) == len(rows)
        assert (told / "results/tables/summary.txt").read_text(encoding="utf-8").split() == page.all("pre")[
            0
        ].text.split()
        assert page.complaints() == []


def test_the_page_asks_for_nothing_beside_itself(told):
    text = (told / "results/page.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*""", text)
    assert "<script" not in text
    with opened(told / "results/page.html") as page:
        asked = page.driver.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
        assert [name for name in asked if not name.startswith("data:")] == []


def test_links_of_the_page_lead_to_its_sections(told):
    with opened(told / "results/page.html") as page:
        for link in page.all("nav a"):
            place = link.get_attribute("href").partition("#")[2]
            assert len(page.all(f"[id='{place}']")) == 1, place


def test_the_report_shows_every_figure_of_every_category_and_the_console_is_silent(told):
    with opened(told / "report.html") as page:
        page.until(lambda: "Does a model learn new facts" in page.text())
        for category, number in CATEGORIES.items():
            page.click(category)
            page.until(lambda: "SHOWS" in page.text())
            buttons = page.all("a[iconname='eye']")
            assert len(buttons) == number, category
            for button in buttons:
                if button.get_attribute("download"):
                    assert len(button.get_attribute("href")) > 100
                    continue
                button.click()
                page.until(lambda: page.all("img[src^='data:image/png']"))
                assert min(page.picture_sizes()) > 500
            page.click("Results")
        assert page.complaints() == []


def test_the_report_has_the_page_within(told):
    with opened(told / "report.html") as page:
        page.click("0. All on one page")
        page.until(lambda: page.all("a[iconname='eye']"))[0].click()
        page.driver.switch_to.frame(page.until(lambda: page.all("iframe"))[0])
        page.until(lambda: len(page.all("h2")) == len(HEADINGS))
        assert min(page.picture_sizes()) > 500
        assert page.complaints() == []
