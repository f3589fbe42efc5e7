"""``smf plan``, ``status`` and ``leaderboard``: what an experiment will need, how far it is, and how methods compare.

On a terminal they show tables, elsewhere aligned text, as in ``results/plan.txt``.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from smf.cli.output import say

PLAN_EXAMPLES = """
Examples:

- `smf plan config.yaml`
- `smf plan presets/nq_cpu.yaml mine.yaml --memory 8`
"""
STATUS_EXAMPLES = """
Examples:

- `smf status`
- `smf status results/smollm2_cpu`
- `watch smf status`
"""
LEADERBOARD_EXAMPLES = """
Examples:

- `smf leaderboard`
- `smf leaderboard results results/smollm2_cpu -o leaderboard.html`
"""


def plan(
    configs: Annotated[list[Path], typer.Argument(help="A config, e.g. presets/nq_cpu.yaml, and any overlays.")],
    memory: Annotated[
        float | None,
        typer.Option(
            metavar="GB",
            help="Memory of the device. [default: device_memory of the config, or what the device reports]",
        ),
    ] = None,
) -> None:
    """Show what an experiment will need, before anything runs: parameters, compute, disk and memory.

    Nothing is downloaded and no weights are loaded. Errors in a config file are reported with their line, even where
    Snakemake cannot read the file.
    """
    from smf.config.load import load_config
    from smf.stages.plan import make_plan

    experiment = load_config(*configs, device_memory=memory)
    made = make_plan(experiment.config, experiment.probes, experiment.positions)
    if sys.stdout.isatty():
        from smf.cli.tables import show_plan

        show_plan(made)
    else:
        say(made.text, nl=False)


def status(
    results: Annotated[Path, typer.Argument(help="The experiment's folder.")] = Path("results"),
) -> None:
    """Show which jobs of a run are done, running or failed, and why.

    Only Snakemake knows the jobs that have not begun: `snakemake --dry-run`.
    """
    from smf.jobs.status import job_states, status_text

    if sys.stdout.isatty():
        from smf.cli.tables import show_status

        show_status(job_states(results))
    else:
        say(status_text(results))


def leaderboard(
    results: Annotated[
        list[Path] | None, typer.Argument(help="The experiments' folders. [default: results]", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("leaderboard.html"),
) -> None:
    """Write all methods of one or more experiments to a page that sorts them and draws any two measures.

    Each experiment first needs its rows: `snakemake --cores 1 results/tables/leaderboard.csv` with its config.
    """
    from smf.stages.comparisons import write_leaderboard_page

    number = write_leaderboard_page(results or [Path("results")], output)
    say(f"{output}: {number} rows")
