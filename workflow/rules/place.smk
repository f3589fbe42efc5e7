# Where the workflow lies and which Python runs it: paths that Snakemake does not handle by itself.

import os
import shlex
import sys
from pathlib import Path

# Jobs rerun when the code that they use is edited, so its files must be local.
if not isinstance(workflow.current_basedir, os.PathLike):
    raise WorkflowError("this workflow cannot be a module that Snakemake loads from elsewhere; clone its repository")

# The folder workflow/, whichever Snakefile Snakemake was started with.
WORKFLOW = Path(workflow.current_basedir).parent


def is_plain(path):
    """Whether a shell takes a path as it is."""
    return shlex.quote(path) == path


if "{" in str(workflow.basedir) or "}" in str(workflow.basedir):
    raise WorkflowError(f"Snakemake substitutes text in braces, also in {workflow.basedir}; rename the folder")

# Snakemake starts jobs by a shell command that does not quote the path of its own Python.
if not is_plain(sys.executable):
    # With .venv inside the clone, the relative path is plain even if the clone's folder has a space in its name.
    if not is_plain(os.path.relpath(sys.executable)):
        raise WorkflowError(
            f"Snakemake cannot start jobs with {sys.executable}, as this path has a space or another character that "
            "a shell interprets; call Snakemake in the folder that holds .venv, or make the environment elsewhere"
        )
    sys.executable = os.path.relpath(sys.executable)
