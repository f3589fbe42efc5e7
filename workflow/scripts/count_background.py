"""Count the slots that ordinary text reads."""

from pathlib import Path

from smf.logs import configure_logging
from smf.stages.heal import write_background_counts

configure_logging(snakemake.log[0])
write_background_counts(
    snakemake.params.background,
    Path(snakemake.input.healed[0]).parent,
    snakemake.input.background,
    max_length=snakemake.params.max_length,
    device=snakemake.params.device,
    path=snakemake.output.counts,
)
