"""The config's JSON schema as a file, for editors and as a manual: ``make schema`` regenerates it."""

import sys

import yaml

from smf.config.config import Config
from smf.settings.json_schema import json_schema

_HEADER = "# Every key of a config: its type, limits, default and meaning. Made by `make schema` from smf/config.\n"


def schema_text() -> str:
    """The file's contents."""
    schema = json_schema(Config, title="The config of an smf experiment")
    return _HEADER + yaml.safe_dump(schema, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


if __name__ == "__main__":
    sys.stdout.write(schema_text())
