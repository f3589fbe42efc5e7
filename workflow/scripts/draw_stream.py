"""Draw the stream of one seed."""

from smf.jobs.job import Job
from smf.stages.prepare import write_stream

own_facts = snakemake.config["checked"]["data"]["collection"]["facts"] if snakemake.params.own_facts else None

with Job(snakemake):
    write_stream(
        snakemake.input.facts,
        snakemake.params.num_facts,
        snakemake.params.order,
        snakemake.params.wordings,
        next(iter(snakemake.input.paraphrases), None),
        snakemake.input.tokenizer,
        max_new_tokens=snakemake.params.max_new_tokens,
        own_file=own_facts and (own_facts["file"] or own_facts["hub"]),
        texts_path=next(iter(snakemake.input.texts), None),
        text_share=snakemake.params.text_share,
        examples_share=snakemake.params.examples_share,
        seed=int(snakemake.wildcards.seed),
        path=snakemake.output.stream,
    )
