# Where the workflow lies and what runs it: names that Snakemake cannot cope with by itself.

import os
import shlex
import sys


def is_plain(path):
    """Whether a shell takes a path as it is."""
    return shlex.quote(path) == path


if "{" in str(workflow.basedir) or "}" in str(workflow.basedir):
    raise WorkflowError(f"Snakemake fills in what is between braces, also in {workflow.basedir}; rename the folder")

# Jobs are started by a shell command in which the path of Snakemake's own Python is not quoted.
if not is_plain(sys.executable):
    # With .venv in the clone, whose folder may well have a space in its name, the way from here is plain.
    if not is_plain(os.path.relpath(sys.executable)):
        raise WorkflowError(
            f"Snakemake cannot start jobs with {sys.executable}, as a space or another character in this path means "
            "something to a shell; call Snakemake in the folder that holds .venv, or make the environment elsewhere"
        )
    sys.executable = os.path.relpath(sys.executable)
