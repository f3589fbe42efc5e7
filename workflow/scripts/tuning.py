"""Choose each method's learning rate by the one rule."""

from smf.logs import configure_logging
from smf.stages.report import write_tuning

configure_logging(snakemake.log[0])
write_tuning(
    snakemake.input.scores,
    snakemake.params.runs,
    snakemake.params.starts,
    snakemake.params.rates,
    snakemake.params.headline,
    snakemake.params.learned,
    snakemake.output.table,
)
