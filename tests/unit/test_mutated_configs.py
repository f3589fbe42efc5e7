"""Configs with random mistakes: each is valid and can be planned, or is refused with one message that names a key."""

import copy
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smf.config.experiment import Experiment
from smf.config.overlays import ConfigFiles
from smf.errors import ConfigError
from smf.stages.plan import describe_plan
from tests.workflow.runs import ROOT

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
FILES = ("config.yaml", "tests/workflow/tiny.yaml", *(f"presets/{path.name}" for path in (ROOT / "presets").glob("*")))
CONFIGS = {name: yaml.safe_load((ROOT / name).read_text(encoding="utf-8")) for name in sorted(FILES)}
MEMORY = 8
"""GB; presets for a GPU cannot ask one here."""
WRONG = (None, True, -1, 0, 1, 7, 0.5, 1e-9, 10**12, "", "x", "../x", "random", [], ["x"], [1, 1], {}, {"x": 1}, "é\n")
WRONG += ("1e-4", "7", "no", "None", "~/x", "$HOME/x", "a:1", float("inf"), 10**400)


def places(value, path=()):
    """The path of every entry."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*path, key))


@st.composite
def mutated(draw):
    """A config with one to three entries taken out, replaced, renamed, doubled or scaled."""
    config = copy.deepcopy(CONFIGS[draw(st.sampled_from(sorted(CONFIGS)))])
    config["device_memory"] = MEMORY
    for _ in range(draw(st.integers(1, 3))):
        paths = [path for path in places(config) if path]
        path = draw(st.sampled_from(paths))
        owner = config
        for key in path[:-1]:
            owner = owner[key]
        key, old = path[-1], owner[path[-1]]
        way = draw(st.sampled_from(("remove", "replace", "rename", "repeat", "scale", "take")))
        if way == "remove":
            del owner[key]
        elif way == "rename" and isinstance(owner, dict):
            owner[f"{key}_"] = owner.pop(key)
        elif way == "repeat" and isinstance(old, list):
            owner[key] = copy.deepcopy(old) + copy.deepcopy(old)
        elif way == "scale" and isinstance(old, int | float) and not isinstance(old, bool):
            factors = (-1, 0, 0.5, 2, 1000) if abs(old) < 10**300 else (-1, 0, 2, 1000)  # no float is that large
            owner[key] = old * draw(st.sampled_from(factors))
        elif way == "take":
            other = draw(st.sampled_from(paths))
            value = config
            try:
                for part in other:
                    value = value[part]
            except (KeyError, IndexError, TypeError):
                continue
            owner[key] = copy.deepcopy(value)
        else:
            owner[key] = copy.deepcopy(draw(st.sampled_from(WRONG)))
    return config


def keys_of(schema):
    """Every key that the schema knows."""
    if isinstance(schema, dict):
        for name, part in schema.items():
            if name == "properties":
                yield from part
            yield from keys_of(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from keys_of(part)


KEYS = sorted(set(keys_of(SCHEMA)))


def names_a_key(message, config):
    """Whether a message names a key of the config or of the schema, by itself or in a path."""
    words = set(re.findall(r"[\w-]+", message))
    written = {str(key) for path in places(config) for key in path if isinstance(key, str)}
    return bool(words & (written | set(KEYS)))


@settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_a_mutated_config_plans_or_is_refused_with_one_message_that_names_a_key(config):
    before = copy.deepcopy(config)
    plan, refused = planned(config)
    assert "parameters" in plan if refused is None else names_a_key(refused, config), refused
    assert config == before  # what the user wrote stays as it is


SPOILT = (
    ":",
    ": ",
    "\t",
    "  ",
    " ",
    "-",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "'",
    '"',
    "#",
    "&a ",
    "*a",
    "<<: ",
    "!",
    "%",
    "?",
    "012",
)
SPOILT += (
    "\n",
    "\n\n",
    "1:30",
    "2026-01-01",
    "no",
    "=",
    "|",
    ">",
    ",",
    "\x00",
    "\ufeff",
    "---\n",
    "!!python/name:os.system ",
)


@st.composite
def spoilt(draw):
    """The text of a config with one to three places of it cut, doubled or written over."""
    text = (ROOT / draw(st.sampled_from(sorted(CONFIGS)))).read_text(encoding="utf-8")
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text) - 1))
        end = draw(st.sampled_from((start, start + 1, text.find("\n", start) + 1 or len(text))))
        put = draw(st.sampled_from((*SPOILT, text[start:end] * 2, "")))
        text = text[:start] + put + text[end:]
    return text


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return tmp_path_factory.mktemp("spoilt") / "mine.yaml"


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(text=spoilt())
def test_a_spoilt_file_is_read_as_snakemake_reads_it_or_is_refused_with_its_name_in_one_line(written, text):
    written.write_text(text, encoding="utf-8", newline="")
    try:
        config, refused = ConfigFiles([written]).config, None
    except ConfigError as error:
        config, refused = None, str(error)
    if refused is None:
        assert repr(config) == repr(yaml.full_load(text))
    else:
        assert refused.startswith(str(written))
        assert "\n" not in refused


def planned(config):
    """The plan of a config, or the message with which it is refused. No other error is right."""
    try:
        experiment = Experiment(config)
        return describe_plan(experiment.config, experiment.probes, experiment.positions), None
    except ConfigError as error:
        return "", str(error)


@pytest.mark.parametrize("name", [name for name, config in CONFIGS.items() if "checkpoint" not in config["base"]])
def test_as_it_is_each_config_plans(name):
    assert "parameters" in planned({**CONFIGS[name], "device_memory": MEMORY})[0]
