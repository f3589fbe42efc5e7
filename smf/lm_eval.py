"""lm-eval's own command line, for models with memory and with our tasks beside its own.

    python -m smf.lm_eval --model hf --model_args pretrained=results/healed --tasks smf_nq --device cpu

Everything after the module's name is lm-eval's. Without this module transformers does not know what a memory model is,
and lm-eval encodes texts by a rule of its own, so that scores differ from the pipeline's (smf/streams/tokens.py).
Unless ``--include_path`` names another folder, ``smf_<set>`` asks the held-out set of the run that wrote the model; for
other models our tasks are those below ``smf/evaluation/tasks``, which ask the hub's data.
"""

import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lm_eval.__main__ import cli_evaluate

import smf.models  # noqa: F401 (registers the memory model with AutoModelForCausalLM)
from smf.errors import SmfError
from smf.evaluation.held_out import TASK_FOLDER
from smf.evaluation.named_model import open_models_as_ours
from smf.evaluation.own_tasks import write_own_tasks


def with_our_tasks(arguments: Sequence[str], folder: str | Path) -> list[str]:
    """The arguments, with a folder of our tasks if they name none.

    Args:
        arguments: As they were typed.
        folder: Where tasks that ask a run's own held-out sets are written, if the model is of a run.

    Raises:
        DataError: A held-out file is damaged.
    """
    named = any(argument.split("=")[0] == "--include_path" for argument in arguments)
    if named or not arguments:  # without arguments lm-eval prints its help; it knows the folder only behind them
        return list(arguments)
    models = [found[1] for word in arguments if (found := re.search(r"\bpretrained=([^,]+)", word))]
    ours = folder if models and write_own_tasks(models[-1], folder) else TASK_FOLDER
    return [*arguments, "--include_path", str(ours)]


def main() -> None:
    """Run lm-eval's command with the arguments of this process."""
    open_models_as_ours()
    with tempfile.TemporaryDirectory() as folder:
        try:
            sys.argv[1:] = with_our_tasks(sys.argv[1:], folder)
            cli_evaluate()
        except SmfError as error:
            sys.exit(f"smf.lm_eval: {error}")
        except ConnectionError as error:
            sys.exit(
                f"smf.lm_eval: {error}. The task's data are on the Hugging Face hub, or the model is: try again with "
                "network. A run's own held-out sets need none: the folder of its model, and --tasks smf_<set>"
            )


if __name__ == "__main__":
    main()
