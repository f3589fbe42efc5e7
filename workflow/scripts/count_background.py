"""Count the slots that ordinary text reads."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.heal import write_background_counts

with Job(snakemake) as job:
    write_background_counts(
        snakemake.params.background,
        Path(snakemake.input.healed[0]).parent,
        snakemake.input.background,
        max_length=snakemake.params.max_length,
        device=snakemake.params.device,
        path=snakemake.output.counts,
        resume=job.resume,
    )
