"""Pretrain or fetch the base model."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.base_model import make_base_model

with Job(snakemake) as job:
    make_base_model(
        snakemake.config["checked"]["base"],
        snakemake.input.pretraining,
        snakemake.input.get("known") or None,
        memory_layers=snakemake.params.memory_layers,
        device=snakemake.params.device,
        prompt_format=snakemake.config["checked"]["prompt_format"],
        folder=Path(snakemake.output.report).parent,
        resume=job.resume,
    )
