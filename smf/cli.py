"""The command ``smf``: teach a model facts, ask it, and look at, combine and undo what it learned."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from smf.errors import SmfError

# Torch, transformers and lm-eval take seconds to import: each command below imports what it needs.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0, or 1 with a message on standard error.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (options.run is not _ask or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    os.environ.setdefault("TQDM_MININTERVAL", "1")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that knows no arrow shall still show the facts
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SmfError, OSError) as error:
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        sys.stderr.write(f"{type(error).__name__}: {error}{notes}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="smf", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    teach = commands.add_parser("teach", help="teach a healed model a file of facts; writes a patch")
    teach.add_argument("model", type=Path, help="folder of a healed model, e.g. results/healed")
    teach.add_argument("facts", type=Path, help="JSONL, see docs/patches.md")
    teach.add_argument("-o", "--out", type=Path, required=True, help="the patch")
    teach.add_argument("--counts", type=Path, help="background counts; default: ../background beside the model")
    teach.add_argument(
        "--probe",
        type=Path,
        action="append",
        help="a held-out set to ask before and after; may be repeated; default: ../data/held_out/*.jsonl",
    )
    teach.add_argument("--learning-rate", type=float, help="the longest step")
    teach.add_argument("--max-length", type=int, default=128, help="longest text, in tokens")
    teach.add_argument("--device", default="cpu")
    teach.set_defaults(run=_teach)

    ask = commands.add_parser("ask", help="ask a model a question, with patches on it or without")
    ask.usage = "smf ask [-h] [--device DEVICE] MODEL [PATCH ...] QUESTION"
    ask.add_argument("model", type=Path, metavar="MODEL")
    ask.add_argument("words", nargs="+", metavar="[PATCH ...] QUESTION")
    ask.add_argument("--device", default="cpu")
    ask.set_defaults(run=_ask)

    status = commands.add_parser("status", help="which jobs of a run are done, running or failed, and why")
    status.add_argument("results", type=Path, nargs="?", default=Path("results"))
    status.set_defaults(run=_status)

    patch = commands.add_parser("patch", help="look at, combine and undo patches")
    parts = patch.add_subparsers(required=True, metavar="COMMAND")

    info = parts.add_parser("info", help="what a patch holds")
    info.add_argument("patch", type=Path)
    info.add_argument("--facts", action="store_true", help="list the facts")
    info.set_defaults(run=_info)

    applied = parts.add_parser("apply", help="write a model with patches on it")
    applied.add_argument("model", type=Path)
    applied.add_argument("patches", type=Path, nargs="+", metavar="PATCH")
    applied.add_argument("-o", "--out", type=Path, required=True, help="the new model's folder")
    applied.set_defaults(run=_apply)

    reverted = parts.add_parser("revert", help="write a model without one of its patches, or without any")
    reverted.add_argument("model", type=Path)
    reverted.add_argument("patch", type=Path, nargs="?", help="default: all of them")
    reverted.add_argument("-o", "--out", type=Path, required=True, help="the new model's folder")
    reverted.set_defaults(run=_revert)

    for name, run, text in (
        ("diff", _diff, "what one patch has and the other has not"),
        ("conflicts", _conflicts, "slots that two patches both write"),
    ):
        both = parts.add_parser(name, help=text)
        both.add_argument("first", type=Path)
        both.add_argument("second", type=Path)
        both.set_defaults(run=run)

    stacked = parts.add_parser("stack", help="one patch in place of several")
    stacked.add_argument("patches", type=Path, nargs="+", metavar="PATCH")
    stacked.add_argument("-o", "--out", type=Path, required=True, help="the new patch")
    stacked.set_defaults(run=_stack)

    forgotten = parts.add_parser("forget", help="take facts out of a patch")
    forgotten.add_argument("patch", type=Path)
    forgotten.add_argument("facts", nargs="+", metavar="FACT", help="fact_id, see `smf patch info PATCH --facts`")
    forgotten.add_argument("-o", "--out", type=Path, help="the new patch; default: in place of the old one")
    forgotten.set_defaults(run=_forget)
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _teach(options: argparse.Namespace) -> None:
    import logging

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from smf.stages.teach import BEST_ARM, teach

    around = options.model.resolve().parent
    counts = options.counts or around / "background" / "counts.safetensors"
    found = sorted((around / "data" / "held_out").glob("[!.]*.jsonl"))  # not what a killed job began to write
    probes = options.probe if options.probe is not None else found
    settings = dict(BEST_ARM)
    if options.learning_rate is not None:
        settings["learning_rate"] = options.learning_rate
    taught = teach(
        options.model,
        options.facts,
        options.out,
        counts_path=counts,
        probe_paths=probes,
        settings=settings,
        max_length=options.max_length,
        device=options.device,
    )
    words = {True: "known", False: "not known", None: "not asked"}
    for row in taught.rows:
        _say(f"{words[row['known']]:<10} {row['steps']:>3} steps  {row['fact_id']}")
    asked = [row["known"] for row in taught.rows if row["known"] is not None]
    _say(f"{sum(asked)} of {len(asked)} questions are answered as taught")
    for metric, (before, after) in taught.probes.items():
        _say(f"{metric}: {before:.3f} before, {after:.3f} after")


def _ask(options: argparse.Namespace) -> None:
    from smf.stages.teach import ask

    *patches, question = [*options.words, *options.rest]  # argparse leaves over what follows an option
    _say(ask(options.model, patches, question, device=options.device))


def _status(options: argparse.Namespace) -> None:
    from smf.status import status_text

    _say(status_text(options.results))


def _info(options: argparse.Namespace) -> None:
    from smf.patches.patch import read_patch
    from smf.patches.text import info_text

    _say(info_text(read_patch(options.patch), options.patch.stat().st_size, facts=options.facts))


def _apply(options: argparse.Namespace) -> None:
    from smf.patches.folder import apply_to_folder

    apply_to_folder(options.model, options.patches, options.out)


def _revert(options: argparse.Namespace) -> None:
    from smf.patches.folder import revert_folder

    revert_folder(options.model, options.patch, options.out)


def _diff(options: argparse.Namespace) -> None:
    from smf.patches.patch import read_patch
    from smf.patches.text import diff_text

    _say(diff_text(read_patch(options.first), read_patch(options.second)))


def _conflicts(options: argparse.Namespace) -> None:
    from smf.patches.patch import read_patch
    from smf.patches.stack import conflicts
    from smf.patches.text import conflicts_text

    _say(conflicts_text(conflicts(read_patch(options.first), read_patch(options.second))))


def _stack(options: argparse.Namespace) -> None:
    from smf.atomic import require_new
    from smf.patches.patch import read_patch, write_patch
    from smf.patches.stack import stack

    require_new(options.out)
    write_patch(options.out, stack([read_patch(path) for path in options.patches], options.patches))


def _forget(options: argparse.Namespace) -> None:
    from smf.atomic import require_new
    from smf.patches.forget import forget
    from smf.patches.held import require_own
    from smf.patches.patch import read_patch, write_patch
    from smf.patches.text import forgotten_text

    if options.out is not None:
        require_new(options.out)
    else:
        require_own(options.patch)
    patch, report = forget(read_patch(options.patch), options.facts)
    write_patch(options.out or options.patch.resolve(), patch)
    _say(forgotten_text(options.facts, report))


if __name__ == "__main__":
    sys.exit(main())
