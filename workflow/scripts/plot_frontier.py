"""Draw the frontier."""

from smf.jobs.job import Job
from smf.stages.frontier import draw_frontier

with Job(snakemake):
    draw_frontier(
        snakemake.input.table,
        snakemake.input.settings,
        snakemake.input.summary,
        snakemake.input.labels,
        snakemake.params.starts,
        snakemake.params.asked,
        snakemake.params.headline,
        snakemake.params.learned,
        snakemake.params.kinds,
        snakemake.output.figures,
    )
