"""``smf retrofit``, ``teach`` and ``ask``: a model gets a memory, learns facts and answers.

Torch, transformers and lm-eval take seconds to import: each command imports what it needs.
"""

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from smf.cli import options
from smf.cli.options import COMPUTING, given
from smf.cli.output import say
from smf.selection.names import WritingTokens

NOT_KNOWN = 2
"""The exit status of ``smf teach`` if the model does not know every fact at the end; 1 is an error."""

RETROFIT_EXAMPLES = """
Examples:

- `smf retrofit HuggingFaceTB/SmolLM2-135M-Instruct -o mine`
- `smf retrofit owner/name -o mine --layers 1 3 5 --device cuda`
"""
TEACH_EXAMPLES = """
Examples:

- `smf teach mine docs/example_facts.jsonl -o patch.safetensors --dry-run`
- `smf teach mine docs/example_facts.jsonl -o patch.safetensors`
"""
ASK_EXAMPLES = """
Examples:

- `smf ask mine "what is the capital of France?"`
- `smf ask mine patch.safetensors "what is the capital of Veskaria?"`
"""

_MEMORY = "The memory"
_STEPS = "Steps"
_TEXTS = "Texts"
_CHECKS = "Checks"


def retrofit(
    model: Annotated[str, typer.Argument(help="A model's folder, or its name on the hub (owner/name).")],
    out: options.NewFolder,
    layers: Annotated[
        list[int] | None,
        typer.Option(
            metavar="BLOCK...",
            help="Blocks that get a memory layer, counted from 0. [default: a low one]",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    num_keys: Annotated[
        int | None,
        typer.Option(
            help="Sub-keys per half; a layer has the square of this number of slots. [default: 256]",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            help="Ordinary text whose slot reads are counted: JSONL with a column `text`, or .txt. "
            "[default: a small corpus that ships with smf]",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16"] | None,
        typer.Option(
            help="Type of the base's weights; bfloat16 is slow on a CPU. [default: float32]", rich_help_panel=COMPUTING
        ),
    ] = None,
    device: options.Device = "cpu",
) -> None:
    """Give a model memory layers that `smf teach` can write into.

    The new model answers as the old one does, bit for bit, and needs no healing.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from smf.teaching.retrofit_folder import Retrofit, retrofit_folder, retrofitted_text

    chosen = given(text=text, layers=layers or None, num_keys=num_keys, dtype=dtype, device=device)
    done = retrofit_folder(model, out, Retrofit(**chosen))
    say(retrofitted_text(done, out))


def teach(
    model: Annotated[Path, typer.Argument(help="A folder of `smf retrofit`, or a healed one, e.g. results/healed.")],
    facts: Annotated[Path, typer.Argument(help="One JSON object per line, see docs/patches.md.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The patch.", show_default=False)],
    steps: Annotated[
        int | None, typer.Option(help="Most steps per fact. [default: 60]", rich_help_panel=_STEPS)
    ] = None,
    stop_loss: Annotated[
        float | None,
        typer.Option(
            help="A fact whose loss is below this, in nats per token, takes no more steps. [default: 0.1]",
            rich_help_panel=_STEPS,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Upper bound on the learning rate of a step. [default: none]", rich_help_panel=_STEPS),
    ] = None,
    write_at: Annotated[
        WritingTokens | None,
        typer.Option(
            help="Tokens whose slots may be written: all, the subject's, or the answer's too. [default: all]",
            rich_help_panel=_STEPS,
        ),
    ] = None,
    allow_updates: Annotated[
        bool,
        typer.Option(
            "--allow-updates",
            help="Let a fact replace an earlier one that has another answer; otherwise such a file is refused.",
            rich_help_panel=_STEPS,
        ),
    ] = False,
    paraphrase: Annotated[
        int | None,
        typer.Option(
            metavar="[N]",
            help="Also train on N paraphrases of each fact (4 without N) that the model writes itself.",
            rich_help_panel=_TEXTS,
        ),
    ] = None,
    contrast: Annotated[
        float | None,
        typer.Option(
            help="Weight of the facts' wordings about other subjects as background; ordinary text weighs 1. "
            "[default: 1]",
            rich_help_panel=_TEXTS,
        ),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Longest text, in tokens. [default: 128]", rich_help_panel=_TEXTS)
    ] = None,
    counts: Annotated[
        Path | None,
        typer.Option(
            help="Background counts. [default: those in the model's folder, or in ../background beside it]",
            rich_help_panel=_TEXTS,
        ),
    ] = None,
    probe: Annotated[
        list[Path] | None,
        typer.Option(
            help="A held-out set to score before and after; may be repeated. [default: those of the run]",
            rich_help_panel=_CHECKS,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything and ask the model; teach and write nothing.", rich_help_panel=_CHECKS
        ),
    ] = False,
    prompt_format: options.PromptFormat = "auto",
    max_new_tokens: options.MaxNewTokens = None,
    device: options.Device = "cpu",
) -> int:
    """Teach a file of facts to a model with memory layers, and write a patch.

    The exit status is 0 if the model then answers every question, 2 if it does not, 1 after an error. After Ctrl-C the
    patch holds the facts taught so far; after a kill, the same command resumes.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from smf.data.known_rows import held_out_files
    from smf.files.model_folder import COUNTS_FILE
    from smf.teaching.lessons import BEST_ARM, Lessons
    from smf.teaching.taught import preview_text, taught_text
    from smf.teaching.teach import preview
    from smf.teaching.teach import teach as taught_by

    around, own_counts = model.resolve().parent, model / COUNTS_FILE
    counted = counts or (own_counts if own_counts.is_file() else around / "background/counts.safetensors")
    asked = probe or held_out_files(around)
    method = given(learning_rate=learning_rate, stop_loss=stop_loss, write_at=write_at, contrast=contrast)
    chosen = given(
        steps=steps,
        max_length=max_length,
        max_new_tokens=max_new_tokens,
        allow_updates=allow_updates,
        paraphrases=paraphrase,
        device=device,
        prompt_format=prompt_format,
    )
    settings, lessons = BEST_ARM | method, Lessons(**chosen)
    if dry_run:
        read, replies = preview(
            model, facts, out, counts_path=counted, probe_paths=asked, settings=settings, lessons=lessons
        )
        say(preview_text(read, replies, lessons.steps))
        return 0
    taught = taught_by(model, facts, out, counts_path=counted, probe_paths=asked, settings=settings, lessons=lessons)
    say(taught_text(taught, out))
    if not taught.unknown:
        return 0
    say(f"{len(taught.unknown)} of {len(taught.facts)} facts: not known, see above (exit status {NOT_KNOWN})")
    return NOT_KNOWN


def ask(
    model: Annotated[Path, typer.Argument(help="A model's folder.")],
    words: Annotated[
        list[str],
        typer.Argument(help="Patches to put on the model, if any, and the question, in quotes."),
    ],
    prompt_format: options.PromptFormat = "auto",
    max_new_tokens: options.MaxNewTokens = None,
    device: options.Device = "cpu",
) -> None:
    """Ask a model a question, with or without patches.

    Decoding is greedy. The model's folder stays unchanged.
    """
    from smf.teaching.ask import ask

    *patches, question = words
    limit = given(max_new_tokens=max_new_tokens)
    say(ask(model, patches, question, device=device, prompt_format=prompt_format, **limit))
