"""Write the data of the experiment."""

from pathlib import Path

from smf.logs import configure_logging
from smf.stages.prepare import prepare_data

configure_logging(snakemake.log[0])
prepare_data(snakemake.params.data, Path(snakemake.output.facts).parent)
