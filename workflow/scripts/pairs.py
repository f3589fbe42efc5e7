"""Test every pair of methods."""

from smf.jobs.job import Job
from smf.stages.comparisons import write_pairs

with Job(snakemake):
    write_pairs(
        snakemake.input.scores,
        snakemake.params.starts,
        snakemake.params.headline,
        snakemake.params.learned,
        snakemake.output.table,
    )
