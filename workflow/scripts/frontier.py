"""Tabulate what every setting retains, forgets and costs, and how the methods compare."""

from smf.jobs.job import Job
from smf.stages.frontier import write_frontier

with Job(snakemake):
    runs = [(run, seed) for run in snakemake.params.trials for seed in snakemake.params.seeds]
    write_frontier(
        snakemake.input.scores,
        snakemake.input.tuning_scores,
        dict(zip(runs, snakemake.input.facts, strict=True)),
        snakemake.params.trials,
        snakemake.params.starts,
        snakemake.params.headline,
        snakemake.params.learned,
        snakemake.params.tuned_by,
        snakemake.params.max_forgetting,
        snakemake.output.table,
        snakemake.output.settings,
        snakemake.output.summary,
        snakemake.output.tests,
    )
