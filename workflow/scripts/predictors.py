"""Put what each run wrote beside what it forgot."""

from smf.jobs.job import Job
from smf.stages.predictors import write_predictors

with Job(snakemake):
    runs = [tuple(run) for run in snakemake.params.runs]
    write_predictors(
        snakemake.input.counts,
        next(iter(snakemake.input.contrast), None),
        snakemake.input.scores,
        dict(zip(runs, snakemake.input.patches, strict=True)),
        snakemake.params.starts,
        snakemake.params.headline,
        [tuple(run) for run in snakemake.params.others],
        snakemake.output.table,
        snakemake.output.correlations,
    )
