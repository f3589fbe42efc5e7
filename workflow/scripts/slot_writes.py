"""Write the table of the slots that streams wrote."""

from smf.jobs.job import Job
from smf.stages.slot_writes import write_slot_writes

with Job(snakemake):
    write_slot_writes(snakemake.input.counts, snakemake.params.runs, snakemake.input.patches, snakemake.output.table)
