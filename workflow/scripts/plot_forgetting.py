"""Draw the forgetting figure."""

from smf.logs import configure_logging
from smf.stages.report import draw_forgetting

configure_logging(snakemake.log[0])
draw_forgetting(
    snakemake.input.scores,
    snakemake.input.summary,
    snakemake.input.labels,
    snakemake.params.starts,
    snakemake.params.methods,
    snakemake.params.untuned,
    snakemake.params.asked,
    snakemake.params.headline,
    snakemake.params.learned,
    snakemake.params.kinds,
    snakemake.output.figures,
    snakemake.output.text,
)
