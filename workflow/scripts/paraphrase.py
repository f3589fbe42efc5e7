"""Paraphrase the new facts with an instruct model."""

from smf.jobs.job import Job
from smf.stages.paraphrase import write_paraphrases

with Job(snakemake) as job:
    write_paraphrases(
        snakemake.config["checked"]["stream"]["paraphrases"],
        snakemake.input.facts,
        device=snakemake.params.device,
        path=snakemake.output.paraphrases,
        report_path=snakemake.output.report,
        resume=job.resume,
    )
