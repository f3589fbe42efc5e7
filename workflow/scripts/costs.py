"""Tabulate what a fact costs each method."""

from smf.jobs.job import Job
from smf.stages.comparisons import write_costs

with Job(snakemake):
    runs = [tuple(run) for run in snakemake.params.runs]
    write_costs(
        dict(zip(runs, snakemake.input.facts, strict=True)),
        dict(zip(runs, snakemake.input.deltas, strict=True)),
        snakemake.output.table,
    )
