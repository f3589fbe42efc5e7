"""Summarise the stream's end over seeds."""

from smf.logs import configure_logging
from smf.stages.report import write_summary

configure_logging(snakemake.log[0])
write_summary(snakemake.input.scores, snakemake.params.starts, snakemake.params.kinds, snakemake.output.table)
