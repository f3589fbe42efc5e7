"""Count the slots that contrast texts read."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.contrast import write_contrast_counts

with Job(snakemake) as job:
    write_contrast_counts(
        Path(snakemake.input.healed[0]).parent,
        snakemake.input.counts,
        snakemake.input.contrast,
        max_length=snakemake.params.max_length,
        seed=snakemake.params.seed,
        examples_share=snakemake.params.examples_share,
        device=snakemake.params.device,
        path=snakemake.output.counts,
        resume=job.resume,
    )
