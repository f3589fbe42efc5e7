"""Draw core sets."""

from smf.logs import configure_logging
from smf.stages.core_sets_figure import draw_core_sets

configure_logging(snakemake.log[0])
draw_core_sets(
    snakemake.input.table,
    snakemake.input.labels,
    snakemake.params.core_sets,
    snakemake.params.methods,
    snakemake.output.figures,
)
