"""Pretrain or fetch the base model."""

from pathlib import Path

from smf.logs import configure_logging
from smf.stages.base_model import make_base_model

configure_logging(snakemake.log[0])
make_base_model(
    snakemake.params.base,
    snakemake.input.pretraining,
    snakemake.input.get("known") or None,
    memory_layers=snakemake.params.memory_layers,
    device=snakemake.params.device,
    folder=Path(snakemake.output.report).parent,
)
