"""Teach one stream with one method."""

from pathlib import Path

from smf.job import Job
from smf.stages.learn import learn

with Job(snakemake) as job:
    learn(
        snakemake.params.method,
        snakemake.params.stream,
        Path(snakemake.input.start[0]).parent,
        next(iter(snakemake.input.counts), None),
        snakemake.input.stream,
        next(iter(snakemake.input.texts), None),
        max_length=snakemake.params.max_length,
        gradient_checkpointing=snakemake.params.gradient_checkpointing,
        contrast_path=next(iter(snakemake.input.contrast), None),
        seed=int(snakemake.wildcards.seed),
        device=snakemake.params.device,
        delta_paths=dict(zip(snakemake.params.positions, snakemake.output.deltas, strict=True)),
        log_path=snakemake.output.facts,
        resume=job.resume,
    )
