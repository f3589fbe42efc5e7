"""Teach one stream with one setting of a sweep, and score its end."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.trial import Learning, Run, learn_and_score

recompute = snakemake.config["checked"]["base"]["gradient_checkpointing"]

with Job(snakemake, keep_state=False) as job:
    probes = zip(snakemake.params.probes.items(), snakemake.input.held_out, strict=True)
    learn_and_score(
        snakemake.wildcards.method,
        Run(
            method=snakemake.params.method,
            start_folder=Path(snakemake.input.start[0]).parent,
            facts_path=snakemake.input.stream,
            **Run.optional(snakemake.input),
            seed=int(snakemake.wildcards.seed),
            device=snakemake.params.device,
        ),
        Learning(snakemake.params.stream, snakemake.params.max_length, recompute),
        {**snakemake.params.evaluation, "include_path": snakemake.config["checked"]["evaluation"]["include_path"]},
        {name: (kind, path) for (name, kind), path in probes},
        position=snakemake.params.position,
        log_path=snakemake.output.facts,
        score_path=snakemake.output.scores,
        resume=job.resume,
    )
