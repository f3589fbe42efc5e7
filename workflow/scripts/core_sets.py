"""Write the table of core sets."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.core_sets import write_core_sets

with Job(snakemake):
    write_core_sets(
        snakemake.params.core_sets,
        snakemake.params.methods,
        snakemake.params.stream,
        Path(snakemake.input.healed[0]).parent,
        snakemake.input.counts,
        snakemake.input.stream,
        max_length=snakemake.params.max_length,
        gradient_checkpointing=snakemake.params.gradient_checkpointing,
        contrast_path=next(iter(snakemake.input.contrast), None),
        device=snakemake.params.device,
        path=snakemake.output.table,
    )
