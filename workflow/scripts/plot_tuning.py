"""Draw the learning-rate sweep."""

from smf.jobs.job import Job
from smf.stages.report import Shown, draw_tuning

with Job(snakemake):
    shown = Shown(snakemake.input.labels, **snakemake.params.shown)
    draw_tuning(shown, snakemake.input.tuning, snakemake.output.figures)
