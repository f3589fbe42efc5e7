"""The command ``smf``: give a model a memory, teach it facts, ask it, and look at, combine and undo what it learned."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from smf import commands
from smf.errors import SmfError
from smf.selection.names import WRITE_AT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0; 1 with a message on standard error; 2 if something taught is not known
        (:data:`smf.commands.NOT_KNOWN`); 130 after Ctrl-C, as shells have it.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (options.run is not commands.ask or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    os.environ.setdefault("TQDM_MININTERVAL", "1")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that knows no arrow shall still show the facts
    try:
        status = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SmfError, OSError) as error:
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        sys.stderr.write(f"{type(error).__name__}: {error}{notes}\n")
        return 1
    except KeyboardInterrupt as error:
        notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
        sys.stderr.write(f"stopped by Ctrl-C{notes}\n")
        return 130
    return status or 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with status 1, as after every mistake: argparse's own is that of facts that are not known."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="smf", description=__doc__)
    parts_of_smf = parser.add_subparsers(required=True, metavar="COMMAND")

    retrofit = parts_of_smf.add_parser("retrofit", help="give a model memory layers that `smf teach` can write into")
    retrofit.add_argument("model", help="a model's folder, or its name on the hub (owner/name)")
    retrofit.add_argument("-o", "--out", type=Path, required=True, help="the new model's folder")
    retrofit.add_argument(
        "--text", type=Path, help="ordinary text, JSONL with a column `text` or .txt; default: a small one of smf's own"
    )
    retrofit.add_argument(
        "--layers", type=int, nargs="+", metavar="BLOCK", help="blocks that get a memory; default: a low one"
    )
    retrofit.add_argument("--num-keys", type=int, help="a layer has the square of this number of slots; default: 256")
    retrofit.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="of the base's weights; default: float32, which a CPU is fast in",
    )
    retrofit.add_argument("--device", default="cpu")
    retrofit.set_defaults(run=commands.retrofit)

    teach = parts_of_smf.add_parser("teach", help="teach a model with memory layers a file of facts; writes a patch")
    teach.add_argument("model", type=Path, help="folder of `smf retrofit`, or a healed model, e.g. results/healed")
    teach.add_argument("facts", type=Path, help="JSONL, see docs/patches.md")
    teach.add_argument("-o", "--out", type=Path, required=True, help="the patch")
    teach.add_argument(
        "--counts", type=Path, help="background counts; default: in the model's folder, or ../background beside it"
    )
    teach.add_argument(
        "--probe",
        type=Path,
        action="append",
        help="a held-out set to ask before and after; may be repeated; default: those of the run",
    )
    teach.add_argument("--steps", type=int, help="steps a fact at most; default: 30")
    teach.add_argument(
        "--stop-loss", type=float, help="loss of a fact, nats a token, that ends its steps; default: 0.1"
    )
    teach.add_argument("--learning-rate", type=float, help="bound on the rate of a step; default: none")
    teach.add_argument(
        "--write-at",
        choices=WRITE_AT,
        help="words whose slots may be written: all, those of the subject, or of the answer too; default: all",
    )
    teach.add_argument(
        "--paraphrase",
        dest="paraphrases",
        type=int,
        nargs="?",
        const=4,
        metavar="N",
        help="let the model word each fact N times itself (N: 4), beside its own wordings and those of templates",
    )
    teach.add_argument(
        "--contrast",
        type=float,
        metavar="W",
        help="what the facts' wordings about other subjects weigh as background, ordinary text weighing 1; default: 1",
    )
    teach.add_argument("--max-length", type=int, help="longest text, in tokens; default: 128")
    teach.add_argument(
        "--max-new-tokens", type=int, help="longest answer, in tokens, when the model is asked; default: 32"
    )
    teach.add_argument(
        "--allow-updates", action="store_true", help="a fact replaces an earlier one that has another answer"
    )
    _add_prompt_format(teach)
    teach.add_argument("--dry-run", action="store_true", help="check all, ask the model, teach and write nothing")
    teach.add_argument("--device", default="cpu")
    teach.set_defaults(run=commands.teach)

    ask = parts_of_smf.add_parser("ask", help="ask a model a question, with patches on it or without")
    ask.usage = (
        "smf ask [-h] [--device DEVICE] [--max-new-tokens NUMBER] [--prompt-format FORMAT] MODEL [PATCH ...] QUESTION"
    )
    ask.add_argument("model", type=Path, metavar="MODEL")
    ask.add_argument("words", nargs="+", metavar="[PATCH ...] QUESTION")
    ask.add_argument("--device", default="cpu")
    ask.add_argument("--max-new-tokens", type=int, help="longest answer, in tokens; default: 32")
    _add_prompt_format(ask)
    ask.set_defaults(run=commands.ask)

    status = parts_of_smf.add_parser("status", help="which jobs of a run are done, running or failed, and why")
    status.add_argument("results", type=Path, nargs="?", default=Path("results"))
    status.set_defaults(run=commands.status)

    patch = parts_of_smf.add_parser("patch", help="look at, combine and undo patches")
    parts = patch.add_subparsers(required=True, metavar="COMMAND")

    info = parts.add_parser("info", help="what a patch holds")
    info.add_argument("patch", type=Path)
    info.add_argument("--facts", action="store_true", help="list the facts")
    info.set_defaults(run=commands.info)

    applied = parts.add_parser("apply", help="write a model with patches on it")
    applied.add_argument("model", type=Path)
    applied.add_argument("patches", type=Path, nargs="+", metavar="PATCH")
    applied.add_argument("-o", "--out", type=Path, required=True, help="the new model's folder")
    applied.set_defaults(run=commands.apply)

    reverted = parts.add_parser("revert", help="write a model without one of its patches, or without any")
    reverted.add_argument("model", type=Path)
    reverted.add_argument("patch", type=Path, nargs="?", help="default: all of them")
    reverted.add_argument("-o", "--out", type=Path, required=True, help="the new model's folder")
    reverted.set_defaults(run=commands.revert)

    for name, run, text in (
        ("diff", commands.diff, "what one patch has and the other has not"),
        ("conflicts", commands.conflicts, "questions that two patches answer differently, slots that both write"),
    ):
        both = parts.add_parser(name, help=text)
        both.add_argument("first", type=Path)
        both.add_argument("second", type=Path)
        both.set_defaults(run=run)

    stacked = parts.add_parser("stack", help="one patch in place of several")
    stacked.add_argument("patches", type=Path, nargs="+", metavar="PATCH")
    stacked.add_argument(
        "--later-wins", action="store_true", help="take out of earlier patches what later ones answer differently"
    )
    stacked.add_argument("-o", "--out", type=Path, required=True, help="the new patch")
    stacked.set_defaults(run=commands.stack)

    forgotten = parts.add_parser("forget", help="take facts out of a patch")
    forgotten.add_argument("patch", type=Path)
    forgotten.add_argument(
        "facts",
        nargs="+",
        metavar="FACT",
        help="fact_id, see `smf patch info PATCH --facts`; behind `--` if it begins with -",
    )
    forgotten.add_argument("-o", "--out", type=Path, help="the new patch; default: in place of the old one")
    forgotten.set_defaults(run=commands.forget)
    return parser


def _add_prompt_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prompt-format",
        choices=("auto", "plain", "few_shot", "chat"),
        default="auto",
        help="how questions are asked: plainly, behind solved examples, or in the model's chat template; default: "
        "auto, what `smf retrofit` found best, or else plainly",
    )


if __name__ == "__main__":
    sys.exit(main())
