"""Draw the forgetting figure."""

from smf.jobs.job import Job
from smf.stages.report import Shown, draw_forgetting

with Job(snakemake):
    shown = Shown(
        snakemake.input.labels,
        **snakemake.params.shown,
        words={
            "methods": snakemake.params.methods,
            "untuned": snakemake.params.untuned,
            "rate_free": snakemake.params.rate_free,
            "tuned_by": snakemake.params.tuned_by,
        },
    )
    draw_forgetting(
        shown,
        snakemake.params.learned,
        snakemake.input.scores,
        snakemake.input.summary,
        snakemake.output.figures,
        snakemake.output.text,
    )
