"""Score the end of one run between its start model and what it learned."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.interpolate import Run, interpolate_run

with Job(snakemake) as job:
    probes = zip(snakemake.params.probes.items(), snakemake.input.held_out, strict=True)
    interpolate_run(
        snakemake.wildcards.method,
        Run(
            method=snakemake.params.method,
            start_folder=Path(snakemake.input.start[0]).parent,
            facts_path=snakemake.input.stream,
            seed=int(snakemake.wildcards.seed),
            device=snakemake.params.device,
        ),
        {**snakemake.params.evaluation, "include_path": snakemake.config["checked"]["evaluation"]["include_path"]},
        {name: (kind, path) for (name, kind), path in probes},
        position=snakemake.params.position,
        delta_path=snakemake.input.delta,
        score_paths=dict(zip(snakemake.params.shares, snakemake.output.scores, strict=True)),
        resume=job.resume,
    )
