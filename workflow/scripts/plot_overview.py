"""Draw the result at a glance."""

from smf.jobs.job import Job
from smf.stages.report import Shown, draw_overview

with Job(snakemake):
    model = snakemake.params.model
    shown = Shown(
        snakemake.input.labels,
        **snakemake.params.shown,
        words={"methods": snakemake.params.methods, **({"model": model} if model else {})},
    )
    draw_overview(shown, snakemake.params.learned, snakemake.input.scores, snakemake.output.figures)
