"""Tabulate scores between the start model and what was learned."""

from smf.jobs.job import Job
from smf.stages.interpolation import write_interpolation

with Job(snakemake):
    write_interpolation(
        snakemake.input.start,
        snakemake.input.between,
        snakemake.input.learned,
        snakemake.params.starts,
        snakemake.output.table,
    )
