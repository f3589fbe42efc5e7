"""Draw what each run forgot over what it wrote."""

from smf.jobs.job import Job
from smf.stages.predictors import Shown, draw_predictors

with Job(snakemake):
    shown = Shown(snakemake.input.labels, **snakemake.params.shown)
    draw_predictors(shown, snakemake.input.table, snakemake.output.figures)
