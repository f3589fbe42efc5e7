"""Score a start model."""

from pathlib import Path

from smf.logs import configure_logging
from smf.stages.evaluate import evaluate_start

configure_logging(snakemake.log[0])
evaluate_start(
    snakemake.wildcards.start,
    snakemake.params.evaluation,
    Path(snakemake.input.model[0]).parent,
    {name: snakemake.input[name] for name in ("nq", "hellaswag", "stream")},
    seed=int(snakemake.wildcards.seed),
    device=snakemake.params.device,
    score_path=snakemake.output.scores,
)
