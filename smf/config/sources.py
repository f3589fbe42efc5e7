"""Where rows of data come from: a data set on the hub, or a file."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from smf.data.formats import FORMATS
from smf.settings.section import Count, Natural, Section, Whole

if TYPE_CHECKING:
    Format = str
else:
    Format = Literal[FORMATS]


class DataSet(Section):
    """Rows of a data set in one known schema."""

    hub: str
    """Name of the data set on the hub."""
    hub_config: str | None = None
    """Its configuration, where it has several."""
    revision: str = "main"
    """Branch, tag or commit of the hub's set; a commit makes a run repeatable. Which commit was read is in
    <results>/data/labels.json."""
    data_dir: str | None = None
    """Folder inside the data set, where it has several."""
    split: str
    """Its split."""
    file: str
    """The same rows as a file below data_root: JSONL, JSON, CSV, TSV or Parquet, compressed or not."""
    num_rows: Count
    """Rows taken, a seeded choice."""


class Source(Section):
    """Rows of a data set in one of many formats."""

    format: Format
    """Which columns the rows have, and what becomes of them; docs/data.md lists them."""
    hub: str | None = None
    """Name of the data set on the hub; null for a file only."""
    hub_config: str | None = None
    """Its configuration, where it has several."""
    revision: str = "main"
    """Branch, tag or commit of the hub's set; a commit makes a run repeatable. Which commit was read is in
    <results>/data/labels.json."""
    data_dir: str | None = None
    """Folder inside the data set, where it has several."""
    split: str = "train"
    """Its split."""
    file: str | None = None
    """The rows as a file: JSONL, JSON, CSV, TSV or Parquet, or a .txt file with one text a line, compressed (.gz, .bz2,
    .xz, .zst) or not; below data_root, or read from here if the set has no name on the hub."""
    first_rows: Count | None = None
    """Rows that are looked at; of a large set on the hub no more is downloaded. null reads all."""
    num_rows: Count | None = None
    """Usable rows taken, a seeded choice; null takes all."""
    passage_words: Annotated[Whole, Field(ge=8)] = 200
    """Words of a passage at most; read if format is documents or simpleqa_documents."""
    allow_updates: bool = False
    """Whether a fact replaces an earlier one of the file that gives another answer to the same question or prompt,
    which is refused otherwise; read if format is facts."""
    endpoint: str = "https://en.wikipedia.org/w/api.php"
    """MediaWiki API that articles are fetched from; read if format is simpleqa_documents."""


class FactsSource(Source):
    """A source of facts."""

    neighbours: Natural = 0
    """Neighbours of each fact, by which facts_locality_f1 measures whether what resembles the facts stays unchanged:
    the questions most alike in form, about something else, of the rows that num_rows leaves out; with unknown_only, of
    the rows that the base model answers right. Only of triviaqa, nq_open and simpleqa; other sets have neighbours of
    their own, or none."""
    unknown_only: bool = False
    """Whether only facts are kept that the base model does not answer: asked as in evaluation, its answer to the
    question has token F1 0, so that what is measured later was learned. Asked once, all num_rows of them;
    results/known/report.json has the numbers. Not of documents."""


class HeldOutSource(Source):
    """A source of what must not be forgotten."""

    known_only: bool = False
    """Whether only questions are kept that the base model answers right (exact match), asked as in evaluation: so a few
    hundred show a small loss. Asked once, all num_rows of them; results/known/report.json has the numbers. Only of
    nq_open, triviaqa and simpleqa."""
