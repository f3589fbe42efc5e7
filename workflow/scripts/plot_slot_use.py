"""Draw which slots ordinary text reads."""

from smf.jobs.job import Job
from smf.stages.slot_use import draw_slot_use

with Job(snakemake):
    draw_slot_use(snakemake.input.table, snakemake.input.labels, snakemake.output.figures)
