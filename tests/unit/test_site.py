"""The pages as a website: all of them, as GitHub shows them, from this repository alone."""

import os
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from markdown_it import MarkdownIt

from tests.pages import PAGES
from tests.unit.test_links import anchors, targets
from tests.workflow.runs import ROOT

OFFLINE = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
MARKDOWN = MarkdownIt("commonmark").enable("table")
SHAPE = ("h1", "h2", "h3", "p", "ul", "ol", "li", "table", "td", "pre", "code", "em", "strong", "a", "img")


class Elements(HTMLParser):
    """The elements of a page: how many of each kind, their ids, and what they load or lead to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.kinds, self.ids, self.addresses = Counter(), set(), []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.kinds[tag] += 1
        for name, value in attributes:
            if name == "id":
                self.ids.add(value)
            elif name in ("src", "href"):
                self.addresses.append((tag, value))


def site_path(page: str) -> Path:
    return Path("index.html" if page == "README.md" else page).with_suffix(".html")


def own_part(html: str) -> str:
    """What a page says, without the theme's frame."""
    return html[html.index('role="main"') : html.index("<footer")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [Path(sys.executable).parent / "mkdocs", "build", "--quiet", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | OFFLINE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def pages_of(nav):
    for entry in nav:
        (value,) = entry.values()
        yield from [value] if isinstance(value, str) else pages_of(value)


def test_the_navigation_lists_every_page_once():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert sorted(pages_of(nav)) == sorted(PAGES)


def test_a_link_that_is_dead_on_the_site_ends_the_build():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert config["strict"] is True
    assert set(config["validation"]["links"].values()) == {"warn"}  # which strict makes an error


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_the_lists_tables_code_and_links_that_github_shows(site, page):
    shown = Elements(own_part((site / site_path(page)).read_text(encoding="utf-8")))
    expected = Elements(MARKDOWN.render(PAGES[page]))
    assert {kind: shown.kinds[kind] for kind in SHAPE} == {kind: expected.kinds[kind] for kind in SHAPE}


def test_headings_that_links_name_have_githubs_names_on_the_site(site):
    named = [(page, target) for page in PAGES for target in targets(ROOT / page) if "#" in target]
    assert len(named) > 5
    for page, target in named:
        parts = urlsplit(target)
        path = (ROOT / page).parent / parts.path if parts.path else ROOT / page
        html = (site / site_path(path.resolve().relative_to(ROOT).as_posix())).read_text(encoding="utf-8")
        assert parts.fragment in Elements(html).ids & set(anchors(path)), f"{page}: {target}"


def test_the_site_loads_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        loaded = [value for tag, value in Elements(path.read_text(encoding="utf-8")).addresses if tag != "a"]
        assert loaded
        assert not [value for value in loaded if urlsplit(value).netloc], path
    assert not [path for path in site.rglob("*.css") if "url(http" in path.read_text(encoding="utf-8").replace('"', "")]
