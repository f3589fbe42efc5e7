"""lm-eval's own command line, for models with memory and with our tasks beside its own.

    python -m smf.lm_eval --model hf --model_args pretrained=results/healed --tasks smf_nq --device cpu

Everything after the module's name is lm-eval's. Without this module transformers does not know what a memory model is,
and lm-eval encodes texts by a rule of its own, so that scores differ from the pipeline's (smf/streams/tokens.py); our
tasks are found below ``smf/evaluation/tasks`` unless ``--include_path`` names another folder.
"""

import sys
from collections.abc import Sequence

from lm_eval.__main__ import cli_evaluate

import smf.models  # noqa: F401 (registers the memory model with AutoModelForCausalLM)
from smf.evaluation.held_out import TASK_FOLDER
from smf.evaluation.named_model import open_models_as_ours


def with_our_tasks(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the folder of our tasks if they name none."""
    named = any(argument.split("=")[0] == "--include_path" for argument in arguments)
    # Without arguments lm-eval prints its help; it knows the folder only behind them.
    return list(arguments) if named or not arguments else [*arguments, "--include_path", str(TASK_FOLDER)]


def main() -> None:
    """Run lm-eval's command with the arguments of this process."""
    open_models_as_ours()
    sys.argv[1:] = with_our_tasks(sys.argv[1:])
    cli_evaluate()


if __name__ == "__main__":
    main()
