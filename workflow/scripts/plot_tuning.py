"""Draw the learning-rate sweep."""

from smf.logs import configure_logging
from smf.stages.report import draw_tuning

configure_logging(snakemake.log[0])
draw_tuning(
    snakemake.input.tuning,
    snakemake.input.labels,
    snakemake.params.starts,
    snakemake.params.asked,
    snakemake.params.headline,
    snakemake.params.kinds,
    snakemake.output.figures,
)
