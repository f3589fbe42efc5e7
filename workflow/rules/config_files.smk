# The config files as people wrote them. Snakemake loads them too, but without a word where YAML reads something else than
# is written, and without files and lines. Jobs need not look again.

import os
from contextlib import contextmanager

from smf.config.overlays import ConfigFiles, typed
from smf.errors import ConfigError

# Snakemake takes what is nested in --config for texts.
OVERRIDES = typed(workflow.config_settings.config)
CONFIG_FILES = None


@contextmanager
def refused_config():
    """Tell what is wrong with the config in one message, without a traceback."""
    try:
        yield
    except ConfigError as error:
        told = CONFIG_FILES.explain(error) if CONFIG_FILES else error
        raise WorkflowError(f"the config is not valid\n\n    {told}\n") from None


if workflow.is_main_process:
    paths = [min(str(path), os.path.relpath(path), key=len) for path in workflow.overwrite_configfiles]
    with refused_config():
        CONFIG_FILES = ConfigFiles(paths or ["config.yaml"], OVERRIDES)
