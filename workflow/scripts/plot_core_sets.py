"""Draw core sets."""

from smf.jobs.job import Job
from smf.stages.core_sets_figure import draw_core_sets

with Job(snakemake):
    draw_core_sets(
        snakemake.input.table,
        snakemake.input.labels,
        snakemake.params.core_sets,
        snakemake.params.methods,
        snakemake.output.figures,
    )
