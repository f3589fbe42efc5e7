"""``python -m smf.plan``: the command ``smf plan``, for those who know it by this name."""

import sys
from collections.abc import Sequence

from smf import cli


def main(arguments: Sequence[str]) -> int:
    """Print the plan; 1 if the config is not valid."""
    return cli.main(["plan", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
