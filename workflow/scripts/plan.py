"""Write what the experiment will need."""

from smf.logs import configure_logging
from smf.stages.plan import write_plan

configure_logging(snakemake.log[0])
write_plan(snakemake.params.config, snakemake.params.probes, snakemake.params.positions, snakemake.output.plan)
