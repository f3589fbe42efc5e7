"""Draw the stream of one seed."""

from smf.job import Job
from smf.stages.prepare import write_stream

with Job(snakemake):
    write_stream(
        snakemake.input.facts,
        snakemake.params.num_facts,
        snakemake.params.order,
        snakemake.params.wordings,
        next(iter(snakemake.input.paraphrases), None),
        snakemake.input.tokenizer,
        max_new_tokens=snakemake.params.max_new_tokens,
        own_file=snakemake.params.own_file,
        seed=int(snakemake.wildcards.seed),
        path=snakemake.output.stream,
    )
