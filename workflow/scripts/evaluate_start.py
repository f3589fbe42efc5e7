"""Score the start models on one seed's facts."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.evaluate import evaluate_start

with Job(snakemake) as job:
    evaluate_start(
        snakemake.params.evaluation,
        {name: Path(snakemake.input[name][0]).parent for name in ("base", "healed")},
        dict(zip(("base", "healed"), snakemake.input.held_out, strict=True)),
        snakemake.input.stream,
        seed=int(snakemake.wildcards.seed),
        device=snakemake.params.device,
        score_paths=snakemake.output,
        resume=job.resume,
    )
