"""Write the table of what each choice of slots reaches, before anything is learned."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.read_overlap import Learning, write_read_overlap

recompute = snakemake.config["checked"]["base"]["gradient_checkpointing"]

with Job(snakemake):
    write_read_overlap(
        snakemake.params.runs,
        Learning(snakemake.params.stream, snakemake.params.max_length, recompute),
        Path(snakemake.input.healed[0]).parent,
        snakemake.input.counts,
        dict(zip(snakemake.params.seeds, snakemake.input.streams, strict=True)),
        contrast_path=next(iter(snakemake.input.contrast), None),
        device=snakemake.params.device,
        path=snakemake.output.table,
    )
