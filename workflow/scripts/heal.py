"""Retrofit memory layers and heal the model."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.heal import make_healed_model

with Job(snakemake) as job:
    make_healed_model(
        snakemake.params.memory,
        snakemake.params.healing,
        Path(snakemake.input.base[0]).parent,
        snakemake.input.healing,
        max_length=snakemake.params.max_length,
        gradient_checkpointing=snakemake.config["checked"]["base"]["gradient_checkpointing"],
        device=snakemake.params.device,
        folder=Path(snakemake.output.report).parent,
        report_path=snakemake.log.report,
        max_loss_rise=snakemake.config["checked"]["healing"]["max_loss_rise"],
        resume=job.resume,
    )
