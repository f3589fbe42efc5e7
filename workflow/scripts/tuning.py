"""Choose each method's learning rate, by one rule for all."""

from smf.jobs.job import Job
from smf.stages.report import write_tuning

with Job(snakemake):
    write_tuning(
        snakemake.input.scores,
        snakemake.params.runs,
        snakemake.params.starts,
        snakemake.params.rates,
        snakemake.params.headline,
        snakemake.params.tuned_by,
        snakemake.output.table,
    )
