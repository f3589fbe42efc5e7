"""Write the rows of this experiment's methods for the leaderboard."""

from smf.jobs.job import Job
from smf.stages.comparisons import write_leaderboard

with Job(snakemake):
    write_leaderboard(
        snakemake.input.scores,
        snakemake.input.costs,
        snakemake.params.starts,
        snakemake.params.about,
        snakemake.output.table,
    )
