"""Draw which slots ordinary text reads."""

from smf.logs import configure_logging
from smf.stages.slot_use import draw_slot_use

configure_logging(snakemake.log[0])
draw_slot_use(snakemake.input.table, snakemake.input.labels, snakemake.output.figures)
