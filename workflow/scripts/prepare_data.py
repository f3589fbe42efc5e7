"""Write the data of the experiment."""

from pathlib import Path

from smf.job import Job
from smf.stages.prepare import prepare_data

with Job(snakemake):
    prepare_data(snakemake.config["checked"]["data"], Path(snakemake.output.facts).parent)
