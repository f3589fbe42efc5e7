"""lm-eval's own command line, extended to memory models and to our tasks.

    python -m smf.lm_eval --model hf --model_args pretrained=results/healed --tasks smf_nq --device cpu

All arguments go to lm-eval. Without this module, transformers cannot load a memory model, and lm-eval tokenizes texts
by its own rule, so scores differ from the pipeline's (smf/streams/tokens.py). Unless ``--include_path`` names another
folder, the task ``smf_<set>`` uses the held-out set of the run that wrote the model. For other models our tasks are
those below ``smf/evaluation/tasks``, which use the hub's data.
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
    """Add a folder of our tasks to the arguments, unless they already name one.

    Args:
        arguments: The command line, as typed.
        folder: Where to write tasks on a run's own held-out sets, if a run wrote the model.

    Raises:
        DataError: A held-out file is damaged.
    """
    named = any(argument.split("=")[0] == "--include_path" for argument in arguments)
    if named or not arguments:  # without arguments lm-eval prints its help; it takes the folder only after others
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
