"""The whole story on one page: question, figures, tables and cost, in one HTML file that needs nothing beside it."""

import base64
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import pandas as pd
import yaml
from docutils.core import publish_parts
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from smf.errors import DataError
from smf.figures.palette import with_a_palette
from smf.files.artifacts import read_json, read_table, write_text

logger = logging.getLogger(__name__)

_DECIMALS = 3
_LARGEST = 1_500_000
"""Largest page, in bytes. Snakemake's report shows the page as a data URL; browsers take two million characters."""


class Part(TypedDict):
    """A part of a section: the stem of its caption's file, and the key of the files that it shows."""

    caption: str
    shows: str


class Section(TypedDict):
    """A section of the page."""

    title: str
    parts: Sequence[Part]


def write_page(
    template_path: str | Path,
    captions_folder: str | Path,
    sections: Sequence[Section],
    files: Mapping[str, Sequence[str | Path]],
    labels_path: str | Path,
    facts: Mapping[str, object],
    path: str | Path,
) -> None:
    """Write the page.

    Args:
        template_path: A Jinja template; gets ``sections``, ``labels`` and all of ``facts``.
        captions_folder: Folder of the reStructuredText captions that ``sections`` name.
        sections: Each with a ``title`` and its ``parts``: a ``caption`` (a file's stem) and ``shows``, a key of
            ``files``. Parts that have no files are left out, and sections without parts.
        files: Figures (PNG), tables (CSV) and texts, by key.
        labels_path: The ``labels.json`` of the data.
        facts: Other values for the template; ``config`` is shown as YAML.
        path: Where the page goes.

    Raises:
        DataError: A file is not of one of these kinds.
    """
    told = []
    for section in sections:
        parts = [
            {"caption": _caption(Path(captions_folder) / f"{part['caption']}.rst"), "shown": [_shown(f) for f in found]}
            for part in section["parts"]
            if (found := files.get(part["shows"]))
        ]
        if parts:
            told.append({"title": section["title"], "parts": parts})
    template_path = Path(template_path)
    environment = Environment(
        loader=FileSystemLoader(template_path.parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    config = yaml.safe_dump(facts["config"], sort_keys=False, allow_unicode=True, width=110)
    template = environment.get_template(template_path.name)
    given = {**facts, "config": config, "labels": read_json(labels_path), "sections": told}
    page = template.render(given) + "\n"
    if len(page) > _LARGEST:
        logger.warning("%s has %s bytes: open it by itself, Snakemake's report cannot show it", path, f"{len(page):,}")
    write_text(path, page)


def _shown(path: str | Path) -> Markup:
    """A figure, table or text as HTML."""
    path = Path(path)
    if path.suffix == ".png":
        data = base64.b64encode(with_a_palette(path.read_bytes())).decode()
        return Markup('<img src="data:image/png;base64,{}" alt="{}">').format(data, path.stem)
    if path.suffix == ".csv":
        return _table(read_table(path))
    if path.suffix == ".txt":
        return Markup("<pre>{}</pre>").format(path.read_text(encoding="utf-8").rstrip())
    raise DataError(f"{path} is neither a figure (.png), a table (.csv) nor a text (.txt): it cannot be shown")


def _table(table: pd.DataFrame) -> Markup:
    """Rows in the file's order; numbers right-aligned, with as many digits as a reader needs."""
    head = Markup("").join(Markup("<th>{}</th>").format(name.replace("_", " ")) for name in table.columns)
    rows = Markup("").join(Markup("<tr>{}</tr>").format(_row(row)) for row in table.itertuples(index=False))
    return Markup('<div class="wide"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>').format(
        head, rows
    )


def _row(row: Sequence[object]) -> Markup:
    return Markup("").join(
        Markup('<td class="number">{}</td>' if _is_number(value) else "<td>{}</td>").format(_cell(value))
        for value in row
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if pd.isna(value):
        return ""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if math.isfinite(value) and value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.{_DECIMALS}g}"


def _caption(path: Path) -> Markup:
    """A caption as HTML, with the same words as in Snakemake's report."""
    settings = {"report_level": 2, "halt_level": 2, "raw_enabled": False, "file_insertion_enabled": False}
    parts = publish_parts(path.read_text(encoding="utf-8"), writer="html5", settings_overrides=settings)
    return Markup(parts["body"])  # rendered from a file of ours
