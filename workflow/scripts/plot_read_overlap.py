"""Draw how far what each choice of slots writes carries, against how much of it leaks."""

from smf.jobs.job import Job
from smf.stages.read_overlap_figure import draw_read_overlap

with Job(snakemake):
    draw_read_overlap(snakemake.input.table, snakemake.input.labels, snakemake.params.methods, snakemake.output.figures)
