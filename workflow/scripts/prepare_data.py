"""Write the data of the experiment."""

from pathlib import Path

from smf.jobs.job import Job
from smf.stages.prepare import prepare_data

stream = snakemake.config["checked"]["stream"]

with Job(snakemake):
    prepare_data(
        snakemake.config["checked"]["data"],
        Path(snakemake.output.facts).parent,
        num_facts=stream["num_facts"],
        updates=stream["updates"],
        wordings=snakemake.params.contrast_wordings,
    )
