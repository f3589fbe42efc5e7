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
        experiment = Experiment(config)
        files.require_underneath(experiment.removed)
        sys.stdout.write(describe_plan(experiment.config, experiment.probes, experiment.positions))
    except ConfigError as error:
        sys.stderr.write(f"{files.explain(error) if files else error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
