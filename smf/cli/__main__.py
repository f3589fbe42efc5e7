"""``python -m smf.cli``: the command ``smf`` where its script is not on the path."""

import sys

from smf.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
