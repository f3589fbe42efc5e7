"""Teach one stream with one method."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.learn import Learning, Run, learn

recompute = snakemake.config["checked"]["base"]["gradient_checkpointing"]

with Job(snakemake) as job:
    learn(
        Run(
            method=snakemake.params.method,
            start_folder=Path(snakemake.input.start[0]).parent,
            facts_path=snakemake.input.stream,
            **Run.optional(snakemake.input),
            seed=int(snakemake.wildcards.seed),
            device=snakemake.params.device,
        ),
        Learning(snakemake.params.stream, snakemake.params.max_length, recompute),
        delta_paths=dict(zip(snakemake.params.positions, snakemake.output.deltas, strict=True)),
        log_path=snakemake.output.facts,
        resume=job.resume,
    )
