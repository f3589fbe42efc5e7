"""Score a start model on the held-out sets."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.evaluate import evaluate_held_out

with Job(snakemake) as job:
    probes = zip(snakemake.params.probes.items(), snakemake.input.held_out, strict=True)
    evaluate_held_out(
        {**snakemake.params.evaluation, "include_path": snakemake.config["checked"]["evaluation"]["include_path"]},
        Path(snakemake.input.model[0]).parent,
        {name: (kind, path) for (name, kind), path in probes},
        device=snakemake.params.device,
        path=snakemake.output.scores,
        compared_with=next((Path(path).parent for path in snakemake.input.compared_with), None),
        resume=job.resume,
    )
