"""Draw the result at a glance."""

from smf.jobs.job import Job
from smf.stages.report import draw_overview

with Job(snakemake):
    draw_overview(
        snakemake.input.scores,
        snakemake.input.labels,
        snakemake.params.starts,
        snakemake.params.methods,
        snakemake.params.model,
        snakemake.params.asked,
        snakemake.params.headline,
        snakemake.params.learned,
        snakemake.params.kinds,
        snakemake.output.figures,
    )
