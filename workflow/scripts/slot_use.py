"""Write the table of slot use."""

from smf.jobs.job import Job
from smf.stages.slot_use import write_slot_use

with Job(snakemake):
    write_slot_use(snakemake.input.report, snakemake.output.table)
