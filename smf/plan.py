"""The plan of an experiment on the terminal: parameters, work, disk and memory, before anything runs.

    python -m smf.plan config.yaml mine.yaml --memory 8

The same text as ``results/plan.txt`` (rule ``plan``). Nothing is downloaded and no weights are loaded. What is wrong
with a file is told with its line, also where Snakemake cannot read it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from smf.config.experiment import Experiment
from smf.config.overlays import ConfigFiles
from smf.errors import ConfigError
from smf.stages.plan import describe_plan


def load_config(*paths: str | Path) -> Experiment:
    """Read config files, each laid over those before it, and check them as a whole.

    Args:
        paths: YAML files, the lowest first, such as ``config.yaml``.

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
    try:
        return _checked(files, files.config)
    except ConfigError as error:
        raise ConfigError(files.explain(error), error.key) from error


def _checked(files: ConfigFiles, config: dict) -> Experiment:
    experiment = Experiment(config)
    files.require_underneath(experiment.removed)
    return experiment


def main(arguments: Sequence[str]) -> int:
    """Print the plan; 1 if the config is not valid."""
    parser = argparse.ArgumentParser(prog="python -m smf.plan", description=__doc__.splitlines()[0])
    parser.add_argument(
        "configs",
        nargs="+",
        type=Path,
        metavar="config",
        help="a config, e.g. presets/nq_cpu.yaml, and what is laid over it",
    )
    parser.add_argument("--memory", type=float, metavar="GB", help="what the device has, in place of device_memory")
    options = parser.parse_args(arguments)
    files = None
    try:
        files = ConfigFiles(options.configs)
        config = files.config
        if options.memory is not None:
            config["device_memory"] = options.memory
        experiment = _checked(files, config)
        sys.stdout.write(describe_plan(experiment.config, experiment.probes, experiment.positions))
    except ConfigError as error:
        sys.stderr.write(f"{files.explain(error) if files else error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
