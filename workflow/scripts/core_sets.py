"""Write the table of core sets."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.core_sets import Learning, write_core_sets

recompute = snakemake.config["checked"]["base"]["gradient_checkpointing"]

with Job(snakemake):
    write_core_sets(
        snakemake.params.core_sets,
        snakemake.params.methods,
        Learning(snakemake.params.stream, snakemake.params.max_length, recompute),
        Path(snakemake.input.healed[0]).parent,
        snakemake.input.counts,
        snakemake.input.stream,
        contrast_path=next(iter(snakemake.input.contrast), None),
        device=snakemake.params.device,
        path=snakemake.output.table,
    )
