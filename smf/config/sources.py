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
    """Branch, tag or commit of the hub's set; a commit makes a run repeatable. <results>/data/labels.json names the
    commit that was read."""
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
    """Format of the rows: their columns and their use; docs/data.md lists the formats."""
    hub: str | None = None
    """Name of the data set on the hub; null for a file only."""
    hub_config: str | None = None
    """Its configuration, where it has several."""
    revision: str = "main"
    """Branch, tag or commit of the hub's set; a commit makes a run repeatable. <results>/data/labels.json names the
    commit that was read."""
    data_dir: str | None = None
    """Folder inside the data set, where it has several."""
    split: str = "train"
    """Its split."""
    file: str | None = None
    """The rows as a file: JSONL, JSON, CSV, TSV or Parquet, or a .txt file with one text a line, compressed (.gz, .bz2,
    .xz, .zst) or not; below data_root, or read from here if the set has no name on the hub."""
    first_rows: Count | None = None
    """Number of rows read; of a large set on the hub no more is downloaded. null reads all."""
    num_rows: Count | None = None
    """Usable rows taken, a seeded choice; null takes all."""
    passage_words: Annotated[Whole, Field(ge=8)] = 200
    """Longest passage, in words; read if format is documents or simpleqa_documents."""
    allow_updates: bool = False
    """Whether a fact replaces an earlier one of the file that gives another answer to the same question or prompt,
    which is refused otherwise; read if format is facts."""
    endpoint: str = "https://en.wikipedia.org/w/api.php"
    """MediaWiki API that articles are fetched from; read if format is simpleqa_documents."""


class FactsSource(Source):
    """A source of facts."""

    neighbours: Natural = 0
    """Neighbours per fact, on which facts_locality_f1 measures whether answers to similar questions stay unchanged: the
    questions most similar in form but about something else, from the rows that num_rows leaves out; with unknown_only,
    from the rows that the base model answers correctly. Only for triviaqa, nq_open and simpleqa; other sets have
    neighbours of their own, or none."""
    unknown_only: bool = False
    """Whether to keep only facts that the base model does not know: asked as in evaluation, its answer to the question
    has token F1 0. So what is retained later was learned in the stream. All num_rows are asked once;
    results/known/report.json has the numbers. Not for documents."""


class HeldOutSource(Source):
    """A source of held-out rows."""

    known_only: bool = False
    """Whether to keep only questions that the base model answers correctly (exact match), asked as in evaluation: then
    a few hundred reveal a small drop. All num_rows are asked once; results/known/report.json has the numbers. Only for
    nq_open, triviaqa and simpleqa."""
