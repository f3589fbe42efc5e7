"""Tables for a terminal, with the same content as the text that goes into files and pipes."""

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from smf.jobs.status import branch_table, details, duration, job_name, rule_table, summary

if TYPE_CHECKING:
    from smf.sizing.text import Plan  # a slow import, which `smf status` does not need

_STYLES = {
    "failed": "bold red",
    "killed": "red",
    "interrupted": "yellow",
    "unknown": "yellow",
    "running": "cyan",
    "done": "green",
}


def show_status(states: list[dict], console: Console | None = None) -> None:
    """Show the states of jobs.

    Args:
        states: As :func:`smf.jobs.status.job_states` gives them.
        console: Where to print; None for standard output.
    """
    console = console or _console()
    console.print(Text(summary(states), style="bold"))
    unfinished = [state for state in states if state["state"] != "done"]
    if unfinished:
        jobs = _table("state", "job", "time")
        jobs.add_column("details", overflow="fold")  # users copy paths from here: never truncate them
        for state in unfinished:
            told = "\n".join(details(state))
            jobs.add_row(_colored(state["state"]), *map(Text, (job_name(state), duration(state["seconds"]), told)))
        console.print(jobs)
    header, *rows = rule_table(states)
    rules = _table(header[0])
    for name in header[1:]:
        rules.add_column(name, justify="right", style=_STYLES[name])
    for row in rows:
        rules.add_row(*map(Text, row))
    console.print(rules)
    if branches := branch_table(states):
        last = _table(*branches[0])
        for method, *cells in branches[1:]:
            last.add_row(Text(method), *map(_colored, cells))
        console.print(last)


def show_plan(plan: "Plan", console: Console | None = None) -> None:
    """Show what an experiment will need.

    Args:
        plan: The plan, from :func:`smf.stages.plan.make_plan`.
        console: Where to print; None for standard output.
    """
    console = console or _console()
    for block in plan.blocks:
        table = Table("name", "text", box=box.SIMPLE, show_header=False, pad_edge=False)
        for name, text in block.rows:
            table.add_row(Text(name), Text(text))
        console.print(Text(block.title, style="bold"), table, sep="\n")
    console.print(Text(plan.verdict, style="bold red" if plan.verdict.startswith("WARNING") else "green"))


def _console() -> Console:
    return Console(highlight=False)


def _table(*columns: str) -> Table:
    return Table(*map(escape, columns), box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)


def _colored(text: str) -> Text:
    """Color a text by the state that it ends with."""
    return Text(text, style=_STYLES.get(text.split()[-1], ""))
