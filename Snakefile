"""From data to figures. Table of contents: the rules are in workflow/rules, the work is done by the package smf."""

from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/config_files.smk"
include: "workflow/rules/place.smk"


# A preset given with --configfile is a whole experiment of its own: config.yaml must not be merged into it.
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


pathvars:
    results=EXPERIMENT.config["results"],
    logs=f"{EXPERIMENT.config['results']}/logs",
    benchmarks=f"{EXPERIMENT.config['results']}/benchmarks",


include: "workflow/rules/plan.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/heal.smk"
include: "workflow/rules/learn.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/comparisons.smk"
include: "workflow/rules/frontier.smk"
include: "workflow/rules/interpolation.smk"
include: "workflow/rules/core_sets.smk"
include: "workflow/rules/read_overlap.smk"
include: "workflow/rules/page.smk"
include: "workflow/rules/start.smk"
include: "workflow/rules/preload.smk"


rule all:
    default_target: True
    input:
        "<results>/figures/forgetting.pdf",
        "<results>/figures/forgetting.png",
        "<results>/tables/summary.csv",


onstart:
    if not workflow.touch:
        refuse_damaged()
        preload()
