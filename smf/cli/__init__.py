"""The command ``smf``: give a model a memory, teach it facts, ask it, and look at, combine and undo what it learned."""

from smf.cli.app import main as main
