"""Write the experiment's results on one page."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.page import write_page

with Job(snakemake):
    texts = Path(snakemake.scriptdir).parent / "report"
    write_page(
        texts / "page.html.jinja",
        texts,
        snakemake.params.sections,
        {name: snakemake.input[name] for name in snakemake.params.shown},
        snakemake.input.labels,
        snakemake.params.facts,
        snakemake.output.page,
    )
