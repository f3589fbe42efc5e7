"""Draw the learning-rate sweep."""

from smf.jobs.job import Job
from smf.stages.report import draw_tuning

with Job(snakemake):
    draw_tuning(
        snakemake.input.tuning,
        snakemake.input.labels,
        snakemake.params.starts,
        snakemake.params.asked,
        snakemake.params.headline,
        snakemake.params.kinds,
        snakemake.output.figures,
    )
