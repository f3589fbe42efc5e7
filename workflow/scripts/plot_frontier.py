"""Draw the frontier."""

from smf.logs import configure_logging
from smf.stages.frontier import draw_frontier

configure_logging(snakemake.log[0])
draw_frontier(
    snakemake.input.table,
    snakemake.input.settings,
    snakemake.input.summary,
    snakemake.input.labels,
    snakemake.params.starts,
    snakemake.params.asked,
    snakemake.params.headline,
    snakemake.params.learned,
    snakemake.params.kinds,
    snakemake.output.figures,
)
