"""Draw what each run forgot over what it wrote."""

from smf.jobs.job import Job
from smf.stages.predictors import draw_predictors

with Job(snakemake):
    draw_predictors(
        snakemake.input.table,
        snakemake.input.labels,
        snakemake.params.methods,
        snakemake.params.headline,
        snakemake.params.kinds,
        snakemake.output.figures,
    )
