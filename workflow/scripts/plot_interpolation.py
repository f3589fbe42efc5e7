"""Draw learning against forgetting between the start model and what was learned."""

from smf.jobs.job import Job
from smf.stages.interpolation import draw_interpolation

with Job(snakemake):
    draw_interpolation(
        snakemake.input.table,
        snakemake.input.labels,
        snakemake.params.methods,
        snakemake.params.asked,
        snakemake.params.headline,
        snakemake.params.learned,
        snakemake.params.kinds,
        snakemake.output.figures,
    )
