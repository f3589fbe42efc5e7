"""Draw the learning-rate sweep."""

from smf.jobs.job import Job
from smf.stages.report import Shown, draw_tuning

with Job(snakemake):
    words = {"tuned_by": snakemake.params.tuned_by}
    shown = Shown(snakemake.input.labels, **snakemake.params.shown, words=words)
    draw_tuning(shown, snakemake.params.learned, snakemake.input.tuning, snakemake.output.figures)
