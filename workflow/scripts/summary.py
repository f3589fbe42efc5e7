"""Summarise the stream's end over seeds."""

from smf.jobs.job import Job
from smf.stages.report import write_summary

with Job(snakemake):
    write_summary(snakemake.input.scores, snakemake.params.starts, snakemake.params.kinds, snakemake.output.table)
