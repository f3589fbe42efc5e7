# Check the config files as written. Snakemake loads them too, but does not notice where YAML misreads what was written,
# and names no files and lines. Jobs need not check again.

import os
from contextlib import contextmanager

from smf.config.overlays import ConfigFiles, typed
from smf.errors import ConfigError

# Snakemake reads nested values in --config as strings.
OVERRIDES = typed(workflow.config_settings.config)
CONFIG_FILES = None


@contextmanager
def refused_config():
    """Report an invalid config in one message, without a traceback."""
    try:
        yield
    except ConfigError as error:
        told = CONFIG_FILES.explain(error) if CONFIG_FILES else error
        raise WorkflowError(f"the config is not valid\n\n    {told}\n") from None


if workflow.is_main_process:
    paths = [min(str(path), os.path.relpath(path), key=len) for path in workflow.overwrite_configfiles]
    with refused_config():
        CONFIG_FILES = ConfigFiles(paths or ["config.yaml"], OVERRIDES)
