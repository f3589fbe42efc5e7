"""The repository's pages, README.md, CONTRIBUTING.md and docs/*.md, and the examples that they hold."""

import re

from tests.workflow.runs import ROOT

PATHS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PATHS}
README = PAGES["README.md"]


def example(name: str) -> str:
    """The code block below the mark ``<!-- example: name -->``, on whichever page it stands."""
    mark = rf"<!-- example: {re.escape(name)} -->\n+```\w*\n(.*?)```"
    blocks = [block for text in PAGES.values() for block in re.findall(mark, text, re.DOTALL)]
    assert len(blocks) == 1, f"the pages have {len(blocks)} examples {name!r}"
    return blocks[0]


def only_match(pattern: str) -> str:
    """The one match of a pattern on all pages; its group, if it has one."""
    found = [match for text in PAGES.values() for match in re.findall(pattern, text, re.MULTILINE)]
    assert len(found) == 1, f"the pages have {len(found)} places like {pattern}"
    return found[0]
