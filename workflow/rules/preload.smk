# Jobs on this machine are copies of one process that has already imported what they need.

from smf.jobs.fork_server import AVAILABLE, start

# What the rules that train and ask models import, and Snakemake's own preamble of a script.
PRELOADED = [
    "snakemake.io",
    "snakemake.iocontainers",
    "snakemake.logging",
    "smf.jobs.job",
    "smf.stages.learn",
    "smf.stages.evaluate",
    *sorted({f"smf.methods.{run['kind']}" for run in EXPERIMENT.runs.values()}),
]


def preload():
    """Start that process for the jobs to come, if two of them or more would import the same.

    Not for jobs of a cluster or with a software environment of their own, which have another Python.
    """
    saving = [job for job in workflow.dag.needrun_jobs() if "resume_interval" in job.rule.resources]
    is_here = workflow.is_main_process and workflow.local_exec and not workflow.deployment_settings.deployment_method
    if AVAILABLE and EXPERIMENT.config["preload"] and is_here and len(saving) > 1:
        start(PRELOADED)
