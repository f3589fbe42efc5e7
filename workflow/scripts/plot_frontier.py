"""Draw the frontier."""

from smf.jobs.job import Job
from smf.stages.frontier import Shown, draw_frontier

with Job(snakemake):
    words = {"tuned_by": snakemake.params.tuned_by}
    shown = Shown(snakemake.input.labels, **snakemake.params.shown, words=words)
    draw_frontier(
        shown,
        snakemake.params.learned,
        snakemake.input.table,
        snakemake.input.settings,
        snakemake.input.summary,
        snakemake.output.figures,
    )
