"""Options shared by several commands. Where the library sets the default, only the help text repeats it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

COMPUTING = "Computing"
ASKING = "Asking"

NewFolder = Annotated[Path, typer.Option("-o", "--out", help="The new model's folder.", show_default=False)]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps.", rich_help_panel=COMPUTING)]
MaxNewTokens = Annotated[
    int | None, typer.Option(help="Longest answer, in tokens. [default: 32]", rich_help_panel=ASKING)
]
PromptFormat = Annotated[
    Literal["auto", "plain", "few_shot", "chat"],
    typer.Option(
        help="How questions are asked: plainly, after solved examples, or in the model's chat template; auto: as "
        "`smf retrofit` found best, else plainly.",
        rich_help_panel=ASKING,
    ),
]


def given(**options: object) -> dict:
    """Only the options that were given; the library has a default for each of the others."""
    return {name: value for name, value in options.items() if value is not None}
