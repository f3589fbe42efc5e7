"""Score the snapshots of one run."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.evaluate import Run, evaluate_run

with Job(snakemake) as job:
    probes = zip(snakemake.params.probes.items(), snakemake.input.held_out, strict=True)
    evaluate_run(
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
        delta_paths=dict(zip(snakemake.params.positions, snakemake.input.deltas, strict=True)),
        score_paths=dict(zip(snakemake.params.positions, snakemake.output.scores, strict=True)),
        resume=job.resume,
    )
