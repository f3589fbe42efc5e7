"""Gather the time and memory of all jobs."""

from smf.jobs.job import Job
from smf.jobs.status import costs
from smf.stages.report import write_compute

with Job(snakemake):
    write_compute(snakemake.params.benchmarks, costs(snakemake.params.logs), snakemake.output.table)
