"""What every setting retains and forgets, what it costs, and how the methods compare."""

from smf.logs import configure_logging
from smf.stages.frontier import write_frontier

configure_logging(snakemake.log[0])
runs = [(run, seed) for run in snakemake.params.trials for seed in snakemake.params.seeds]
write_frontier(
    snakemake.input.scores,
    snakemake.input.tuning_scores,
    dict(zip(runs, snakemake.input.facts, strict=True)),
    snakemake.params.trials,
    snakemake.params.starts,
    snakemake.params.headline,
    snakemake.params.learned,
    snakemake.params.max_forgetting,
    snakemake.output.table,
    snakemake.output.settings,
    snakemake.output.summary,
    snakemake.output.tests,
)
