"""Draw the forgetting figure."""

from smf.jobs.job import Job
from smf.stages.report import draw_forgetting

with Job(snakemake):
    draw_forgetting(
        snakemake.input.scores,
        snakemake.input.summary,
        snakemake.input.labels,
        snakemake.params.starts,
        snakemake.params.methods,
        snakemake.params.untuned,
        snakemake.params.rate_free,
        snakemake.params.tuned_by,
        snakemake.params.asked,
        snakemake.params.headline,
        snakemake.params.learned,
        snakemake.params.kinds,
        snakemake.output.figures,
        snakemake.output.text,
    )
