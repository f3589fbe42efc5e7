"""Ask the base model what it knows."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.known import Needed, ask_base

checked, asked, kept = snakemake.config["checked"], snakemake.input, snakemake.output
needed = {key: checked["stream"][key] for key in ("num_facts", "updates")} | snakemake.params.neighbours

with Job(snakemake) as job:
    ask_base(
        snakemake.params.asking,
        Path(asked.model[0]).parent,
        dict(zip(snakemake.params.sets, zip(asked.held_out, kept.held_out, strict=True), strict=True)),
        next(zip(asked.facts, kept.facts, strict=True), None),
        (asked.labels, kept.labels),
        Needed(checked["evaluation"]["num_items"], **needed),
        device=snakemake.params.device,
        report_path=kept.report,
        resume=job.resume,
    )
