"""Gather scores into one table."""

from smf.jobs.job import Job
from smf.stages.report import write_scores

with Job(snakemake):
    write_scores(snakemake.input.scores, snakemake.output.table)
