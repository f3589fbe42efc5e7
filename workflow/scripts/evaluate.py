"""Score the snapshots of one run."""

from pathlib import Path

from smf.job import Job
from smf.stages.evaluate import evaluate_run

with Job(snakemake) as job:
    probes = zip(snakemake.params.probes.items(), snakemake.input.held_out, strict=True)
    evaluate_run(
        snakemake.wildcards.method,
        snakemake.params.method,
        {**snakemake.params.evaluation, "include_path": snakemake.config["checked"]["evaluation"]["include_path"]},
        Path(snakemake.input.start[0]).parent,
        next(iter(snakemake.input.counts), None),
        {name: (kind, path) for (name, kind), path in probes},
        snakemake.input.stream,
        contrast_path=next(iter(snakemake.input.contrast), None),
        seed=int(snakemake.wildcards.seed),
        device=snakemake.params.device,
        delta_paths=dict(zip(snakemake.params.positions, snakemake.input.deltas, strict=True)),
        score_paths=dict(zip(snakemake.params.positions, snakemake.output.scores, strict=True)),
        resume=job.resume,
    )
