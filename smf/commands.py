"""What the commands of ``smf`` do with their options; :mod:`smf.cli` says what these are.

Each returns the exit status, None for 0. Torch, transformers and lm-eval take seconds to import: each command imports
what it needs.
"""

import argparse
import sys

NOT_KNOWN = 2
"""The exit status of ``smf teach`` if a fact that is asked is not known at the end; 1 is an error."""


def retrofit(options: argparse.Namespace) -> None:
    """``smf retrofit``."""
    import logging

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from smf.teaching.retrofit_folder import Retrofit, retrofit_folder, retrofitted_text

    names = ("text", "layers", "num_keys", "dtype", "device")
    chosen = {name: value for name in names if (value := getattr(options, name)) is not None}
    done = retrofit_folder(options.model, options.out, Retrofit(**chosen))
    _say(retrofitted_text(done, options.out))


def teach(options: argparse.Namespace) -> int | None:
    """``smf teach``."""
    import logging

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from smf.data.known_rows import held_out_files
    from smf.files.model_folder import COUNTS_FILE
    from smf.teaching.lessons import BEST_ARM, Lessons
    from smf.teaching.taught import preview_text, taught_text
    from smf.teaching.teach import preview
    from smf.teaching.teach import teach as taught_by

    around, own_counts = options.model.resolve().parent, options.model / COUNTS_FILE
    counts = own_counts if own_counts.is_file() else around / "background" / "counts.safetensors"
    found = held_out_files(around)
    settings = dict(BEST_ARM)
    chosen = ("learning_rate", "stop_loss", "write_at", "contrast")
    settings |= {name: value for name in chosen if (value := getattr(options, name)) is not None}
    names = ("steps", "max_length", "max_new_tokens", "allow_updates", "paraphrases", "device", "prompt_format")
    arguments = {
        "counts_path": options.counts or counts,
        "probe_paths": options.probe if options.probe is not None else found,
        "settings": settings,
        "lessons": Lessons(**{name: value for name in names if (value := getattr(options, name)) is not None}),
    }
    if options.dry_run:
        facts, replies = preview(options.model, options.facts, options.out, **arguments)
        _say(preview_text(facts, replies, arguments["lessons"].steps))
        return None
    taught = taught_by(options.model, options.facts, options.out, **arguments)
    _say(taught_text(taught, options.out))
    if not taught.unknown:
        return None
    _say(f"{len(taught.unknown)} of {len(taught.facts)} facts: not known, see above (exit status {NOT_KNOWN})")
    return NOT_KNOWN


def ask(options: argparse.Namespace) -> None:
    """``smf ask``."""
    from smf.teaching.ask import ask

    *patches, question = [*options.words, *options.rest]  # argparse leaves over what follows an option
    limit = {} if options.max_new_tokens is None else {"max_new_tokens": options.max_new_tokens}
    how = {"device": options.device, "prompt_format": options.prompt_format}
    _say(ask(options.model, patches, question, **how, **limit))


def status(options: argparse.Namespace) -> None:
    """``smf status``."""
    from smf.jobs.status import status_text

    _say(status_text(options.results))


def info(options: argparse.Namespace) -> None:
    """``smf patch info``."""
    from smf.patches.patch import read_patch
    from smf.patches.text import info_text

    _say(info_text(read_patch(options.patch), options.patch.stat().st_size, facts=options.facts))


def apply(options: argparse.Namespace) -> None:
    """``smf patch apply``."""
    from smf.patches.folder import apply_to_folder
    from smf.patches.text import applied_text

    whole, number = apply_to_folder(options.model, options.patches, options.out)
    _say(applied_text(whole, options.out, number))


def revert(options: argparse.Namespace) -> None:
    """``smf patch revert``."""
    from smf.patches.folder import revert_folder
    from smf.patches.text import applied_text

    whole, number = revert_folder(options.model, options.patch, options.out)
    _say(applied_text(whole, options.out, number))


def diff(options: argparse.Namespace) -> None:
    """``smf patch diff``."""
    from smf.patches.patch import read_patch
    from smf.patches.text import diff_text

    _say(diff_text(read_patch(options.first), read_patch(options.second)))


def conflicts(options: argparse.Namespace) -> None:
    """``smf patch conflicts``."""
    from smf.patches.contradictions import contradictions
    from smf.patches.patch import read_patch
    from smf.patches.stack import conflicts
    from smf.patches.text import conflicts_text

    both = [read_patch(options.first), read_patch(options.second)]
    _say(conflicts_text(conflicts(*both), contradictions(both)))


def stack(options: argparse.Namespace) -> None:
    """``smf patch stack``."""
    from smf.files.atomic import require_new
    from smf.patches.contradictions import later_wins, warn_of_contradictions
    from smf.patches.patch import read_patch, write_patch
    from smf.patches.stack import stack
    from smf.patches.text import stacked_text

    require_new(options.out)
    patches = [read_patch(path) for path in options.patches]
    if options.later_wins:
        patches, found = later_wins(patches)
        for each in found:
            _say(f"{each.text(options.patches)}: the earlier one was taken out")
    else:
        warn_of_contradictions(patches, options.patches)
    stacked = stack(patches, options.patches)
    write_patch(options.out, stacked)
    _say(stacked_text(stacked, options.out, len(patches)))


def forget(options: argparse.Namespace) -> None:
    """``smf patch forget``."""
    from smf.files.atomic import require_new
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


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
