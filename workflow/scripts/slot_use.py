"""Write the table of slot use."""

from smf.logs import configure_logging
from smf.stages.slot_use import write_slot_use

configure_logging(snakemake.log[0])
write_slot_use(snakemake.input.report, snakemake.output.table)
