"""Draw which slots streams wrote."""

from smf.jobs.job import Job
from smf.stages.slot_writes import draw_slot_writes

with Job(snakemake):
    draw_slot_writes(snakemake.input.table, snakemake.input.labels, snakemake.params.methods, snakemake.output.figures)
