"""Draw learning against forgetting between the start model and what was learned."""

from smf.jobs.job import Job
from smf.stages.interpolation import Shown, draw_interpolation

with Job(snakemake):
    shown = Shown(snakemake.input.labels, **snakemake.params.shown)
    draw_interpolation(shown, snakemake.params.learned, snakemake.input.table, snakemake.output.figures)
