"""Paraphrase the new facts with an instruct model."""

from smf.logs import configure_logging
from smf.stages.paraphrase import write_paraphrases

configure_logging(snakemake.log[0])
write_paraphrases(
    snakemake.params.paraphrases,
    snakemake.input.facts,
    device=snakemake.params.device,
    resume_path=snakemake.params.resume,
    path=snakemake.output.paraphrases,
    report_path=snakemake.output.report,
)
