"""Gather scores into one table."""

from smf.logs import configure_logging
from smf.stages.report import write_scores

configure_logging(snakemake.log[0])
write_scores(snakemake.input.scores, snakemake.output.table)
