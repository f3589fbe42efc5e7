"""Write the plan: what the experiment will need."""

from smf.jobs.job import Job
from smf.stages.plan import write_plan

with Job(snakemake):
    write_plan(snakemake.params.config, snakemake.params.probes, snakemake.params.positions, snakemake.output.plan)
