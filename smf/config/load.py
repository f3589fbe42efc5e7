"""Read and check config files as the workflow does."""

from pathlib import Path

from smf.config.experiment import Experiment
from smf.config.overlays import ConfigFiles
from smf.errors import ConfigError


def load_config(*paths: str | Path, device_memory: float | None = None) -> Experiment:
    """Read config files, each laid over those before it, and check them as a whole.

    Args:
        paths: YAML files, the lowest first, such as ``config.yaml``.
        device_memory: Memory of the device in GB; overrides the files.

    Returns:
        The checked experiment: ``config`` with all defaults, ``runs`` with each method's settings, as
        :func:`smf.training.stream.learn_stream` takes them.

    Raises:
        ConfigError: Something is wrong; the message names the key, the value, the remedy, and file and line.

    Example:
        >>> experiment = load_config("config.yaml")
        >>> experiment.runs["smf_tfidf"]["selector"]
        'tfidf'
    """
    files = ConfigFiles(paths)
    config = files.config
    if device_memory is not None:
        config["device_memory"] = device_memory
    try:
        experiment = Experiment(config)
        files.require_underneath(experiment.removed)
    except ConfigError as error:
        raise ConfigError(files.explain(error), error.key) from error
    return experiment
