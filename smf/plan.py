"""``python -m smf.plan``: another name for ``smf plan``, kept for those who use it."""

import sys
from collections.abc import Sequence

from smf import cli


def main(arguments: Sequence[str]) -> int:
    """Print the plan; return 1 if the config is invalid."""
    return cli.main(["plan", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
