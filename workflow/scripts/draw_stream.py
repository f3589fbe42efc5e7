"""Draw the stream of one seed."""

from smf.jobs.job import Job
from smf.stages.prepare import StreamPlan, write_stream

own_facts = snakemake.config["checked"]["data"]["collection"]["facts"] if snakemake.params.own_facts else None

with Job(snakemake):
    plan = StreamPlan(
        num_facts=snakemake.params.num_facts,
        order=snakemake.params.order,
        seed=int(snakemake.wildcards.seed),
        max_new_tokens=snakemake.params.max_new_tokens,
        wordings=snakemake.params.wordings,
        text_share=snakemake.params.text_share,
        examples_share=snakemake.params.examples_share,
        **snakemake.params.updates,
        own_file=own_facts and (own_facts["file"] or own_facts["hub"]),
    )
    write_stream(
        plan,
        snakemake.input.facts,
        snakemake.input.tokenizer,
        snakemake.output.stream,
        paraphrases_path=next(iter(snakemake.input.paraphrases), None),
        texts_path=next(iter(snakemake.input.texts), None),
    )
