"""``smf patch``: look at, combine and undo patches. Each command imports what it needs, see :mod:`smf.cli.models`."""

from pathlib import Path
from typing import Annotated

import typer

from smf.cli.options import NewFolder
from smf.cli.output import say

_LOOK = "Look"
_WRITE = "Write"

app = typer.Typer(help="Inspect, combine and undo patches.", no_args_is_help=True)

Patch = Annotated[Path, typer.Argument(help="A patch.")]
Patches = Annotated[list[Path], typer.Argument(help="Patches, the earliest first.")]
NewPatch = Annotated[Path, typer.Option("-o", "--out", help="The new patch.", show_default=False)]
Model = Annotated[Path, typer.Argument(help="The model's folder.")]


@app.command(rich_help_panel=_LOOK)
def info(patch: Patch, facts: Annotated[bool, typer.Option("--facts", help="List the facts.")] = False) -> None:
    """Show what a patch holds."""
    from smf.patches.patch import read_patch
    from smf.patches.text import info_text

    say(info_text(read_patch(patch), patch.stat().st_size, facts=facts))


@app.command(rich_help_panel=_LOOK)
def diff(first: Patch, second: Patch) -> None:
    """Show what one patch has and the other lacks."""
    from smf.patches.patch import read_patch
    from smf.patches.text import diff_text

    say(diff_text(read_patch(first), read_patch(second)))


@app.command(rich_help_panel=_LOOK)
def conflicts(first: Patch, second: Patch) -> None:
    """Show questions that two patches answer differently, and slots that both write."""
    from smf.patches.contradictions import contradictions
    from smf.patches.patch import read_patch
    from smf.patches.stack import conflicts
    from smf.patches.text import conflicts_text

    both = [read_patch(first), read_patch(second)]
    say(conflicts_text(conflicts(*both), contradictions(both)))


@app.command(rich_help_panel=_WRITE)
def apply(model: Model, patches: Patches, out: NewFolder) -> None:
    """Write a model with these patches on top of those that it has."""
    from smf.patches.folder import apply_to_folder
    from smf.patches.text import applied_text

    whole, number = apply_to_folder(model, patches, out)
    say(applied_text(whole, out, number))


@app.command(rich_help_panel=_WRITE)
def revert(
    model: Model,
    out: NewFolder,
    patch: Annotated[
        Path | None, typer.Argument(help="One of its patches, a file or its name in the folder. [default: all of them]")
    ] = None,
) -> None:
    """Write a model without one of its patches, or without any."""
    from smf.patches.folder import revert_folder
    from smf.patches.text import applied_text

    whole, number = revert_folder(model, patch, out)
    say(applied_text(whole, out, number))


@app.command(rich_help_panel=_WRITE)
def stack(
    patches: Patches,
    out: NewPatch,
    later_wins: Annotated[
        bool,
        typer.Option("--later-wins", help="Remove from earlier patches the facts that later ones answer differently."),
    ] = False,
) -> None:
    """Combine several patches into one."""
    from smf.files.atomic import require_new
    from smf.patches.contradictions import later_wins as without_earlier
    from smf.patches.contradictions import warn_of_contradictions
    from smf.patches.patch import read_patch, write_patch
    from smf.patches.stack import stack
    from smf.patches.text import stacked_text

    require_new(out)
    read = [read_patch(path) for path in patches]
    if later_wins:
        read, found = without_earlier(read)
        for each in found:
            say(f"{each.text(patches)}: the earlier one was taken out")
    else:
        warn_of_contradictions(read, patches)
    stacked = stack(read, patches)
    write_patch(out, stacked)
    say(stacked_text(stacked, out, len(read)))


@app.command(rich_help_panel=_WRITE)
def forget(
    patch: Patch,
    facts: Annotated[
        list[str],
        typer.Argument(help="Their fact_ids, see `smf patch info PATCH --facts`; after `--` if one begins with -."),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The new patch. [default: overwrite the old one]")
    ] = None,
) -> None:
    """Remove facts from a patch."""
    from smf.files.atomic import require_new
    from smf.patches.forget import forget
    from smf.patches.held import require_own
    from smf.patches.patch import read_patch, write_patch
    from smf.patches.text import forgotten_text

    if out is not None:
        require_new(out)
    else:
        require_own(patch)
    left, report = forget(read_patch(patch), facts)
    write_patch(out or patch.resolve(), left)
    say(forgotten_text(facts, report))
