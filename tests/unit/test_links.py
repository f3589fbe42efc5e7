"""Links between pages lead somewhere, and so do the names of pages in code and messages."""

import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt

from tests.pages import PATHS
from tests.workflow.runs import ROOT

MARKDOWN = MarkdownIt("commonmark").enable("table")


def targets(path: Path):
    """Where the links and pictures of a page lead, but for other sites."""
    for block in MARKDOWN.parse(path.read_text(encoding="utf-8")):
        for token in block.children or []:
            target = token.attrGet({"link_open": "href", "image": "src"}.get(token.type, ""))
            if target and not urlsplit(target).scheme:
                yield target


def anchors(path: Path):
    """The headings of a page as GitHub names them: in lower case, without punctuation, spaces as hyphens."""
    blocks = MARKDOWN.parse(path.read_text(encoding="utf-8"))
    used = Counter()
    for heading, inline in zip(blocks, blocks[1:], strict=False):
        if heading.type == "heading_open":
            text = "".join(token.content for token in inline.children)
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            yield f"{name}-{used[name]}" if used[name] else name
            used[name] += 1


def dead_links(path: Path):
    for target in targets(path):
        parts = urlsplit(target)
        page = path.parent / unquote(parts.path) if parts.path else path
        if not page.exists() or (parts.fragment and unquote(parts.fragment) not in anchors(page)):
            yield target


@pytest.mark.parametrize(
    "path", [*PATHS, ROOT / "config/README.md"], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(path):
    assert not list(dead_links(path))


def test_a_link_to_no_file_or_no_heading_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# A `file`, its parts\n\n## Twice\n\n## Twice\n\n```\n# no heading\n```\n")
    (tmp_path / "page.md").write_text(
        "# Here\n\n[a](other.md) [b](other.md#a-file-its-parts) [c](#here) [d](other.md#twice-1) [e](https://example.org)\n"
        "`[f](code.md)` [g](none.md) [h](other.md#no-heading) [i](#there) ![j](none.png) [k](other.md#twice-2)\n\n"
        "| [l](lost.md) |\n|---|\n"
    )
    dead = ["none.md", "other.md#no-heading", "#there", "none.png", "other.md#twice-2", "lost.md"]
    assert list(dead_links(tmp_path / "page.md")) == dead


def test_every_page_that_code_configs_and_pages_name_is_there():
    folders = ("smf", "workflow", "presets", "profiles", "benchmarks", "tests", "docs")
    kinds = {".py", ".smk", ".yaml", ".rst", ".md", ".jinja"}
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    paths += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CITATION.cff", "config.yaml", "Snakefile")]
    named = {name for path in paths for name in re.findall(r"\bdocs/\w+\.md\b", path.read_text(encoding="utf-8"))}
    assert len(named) > 5
    assert not [name for name in sorted(named) if not (ROOT / name).is_file()]
