"""Score a start model on the held-out sets."""

from pathlib import Path

from smf.logs import configure_logging
from smf.stages.evaluate import evaluate_held_out

configure_logging(snakemake.log[0])
probes = zip(snakemake.params.probes.items(), snakemake.input.held_out, strict=True)
evaluate_held_out(
    snakemake.params.evaluation,
    Path(snakemake.input.model[0]).parent,
    {name: (kind, path) for (name, kind), path in probes},
    device=snakemake.params.device,
    path=snakemake.output.scores,
)
