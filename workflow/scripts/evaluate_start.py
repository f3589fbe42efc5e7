"""Score the start models of one seed."""

from pathlib import Path

from smf.logs import configure_logging
from smf.stages.evaluate import evaluate_start

configure_logging(snakemake.log[0])
for name in ("base", "healed"):
    evaluate_start(
        name,
        snakemake.params.evaluation,
        Path(snakemake.input[name][0]).parent,
        {part: snakemake.input[part] for part in ("nq", "hellaswag", "stream")},
        seed=int(snakemake.wildcards.seed),
        device=snakemake.params.device,
        score_path=snakemake.output[name],
    )
