"""Teach one stream with one setting of a sweep, and score its end."""

from pathlib import Path

from smf.job import Job
from smf.stages.trial import learn_and_score

with Job(snakemake) as job:
    probes = zip(snakemake.params.probes.items(), snakemake.input.held_out, strict=True)
    learn_and_score(
        snakemake.wildcards.method,
        snakemake.params.method,
        snakemake.params.stream,
        {**snakemake.params.evaluation, "include_path": snakemake.config["checked"]["evaluation"]["include_path"]},
        Path(snakemake.input.start[0]).parent,
        next(iter(snakemake.input.counts), None),
        next(iter(snakemake.input.texts), None),
        snakemake.input.stream,
        {name: (kind, path) for (name, kind), path in probes},
        **snakemake.params.options,
        contrast_path=next(iter(snakemake.input.contrast), None),
        seed=int(snakemake.wildcards.seed),
        log_path=snakemake.output.facts,
        score_path=snakemake.output.scores,
        resume=job.resume,
    )
