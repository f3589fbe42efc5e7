# Where the workflow lies and what runs it: names that Snakemake cannot cope with by itself.

import os
import shlex
import sys
from pathlib import Path


# Jobs rerun when the code that they use is edited, so its files have to be here.
if not isinstance(workflow.current_basedir, os.PathLike):
    raise WorkflowError("this workflow cannot be a module that Snakemake loads from elsewhere; clone its repository")

# The folder workflow/, whichever Snakefile Snakemake was started with.
WORKFLOW = Path(workflow.current_basedir).parent


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
