"""Tabulate what every setting retains, forgets and costs, and how the methods compare."""

from smf.jobs.job import Job
from smf.stages.frontier import Compared, write_frontier

with Job(snakemake):
    runs = [(run, seed) for run in snakemake.params.trials for seed in snakemake.params.seeds]
    compared = Compared(
        points=snakemake.params.trials,
        starts=snakemake.params.starts,
        headline=snakemake.params.headline,
        learned=snakemake.params.learned,
        tuned_by=snakemake.params.tuned_by,
        reference=snakemake.params.max_forgetting,
    )
    write_frontier(
        compared,
        snakemake.input.scores,
        snakemake.input.tuning_scores,
        dict(zip(runs, snakemake.input.facts, strict=True)),
        table_path=snakemake.output.table,
        settings_path=snakemake.output.settings,
        summary_path=snakemake.output.summary,
        tests_path=snakemake.output.tests,
    )
