"""Every profile is accepted by Snakemake with the plugin that it names, and asks nothing of rules that do not exist."""

import importlib.util
import re

import pytest
import yaml

from tests.workflow.runs import ROOT, copy_sources, snakemake, tiny_config

PROFILES = {path.parent.name: path for path in sorted((ROOT / "profiles").glob("*/config.yaml"))}
CONTENT = {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in PROFILES.items()}
TEXT = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
BODIES = dict(re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", TEXT, re.MULTILINE))
ORIGINS = {name: origin for origin, name in re.findall(r"^use rule (\w+) as (\w+)", TEXT, re.MULTILINE)}
RULES = BODIES.keys() | ORIGINS.keys()
COMPUTING = {name for name in RULES if "gpu=" in BODIES[ORIGINS.get(name, name)]}


def test_there_is_one_for_each_way_to_run():
    assert PROFILES.keys() == {"default", "kubernetes", "slurm"}


@pytest.mark.parametrize("name", PROFILES)
def test_rules_with_resources_of_their_own_exist(name):
    assert set(CONTENT[name].get("set-resources", {})) <= RULES


@pytest.mark.parametrize("name", ["kubernetes", "slurm"])
def test_every_rule_that_computes_with_a_model_has_resources_of_its_own(name):
    """Also one that is made of another by use rule: Snakemake goes by the rule's name."""
    assert {"learn", "ask_base", "tuning_trial"} <= COMPUTING
    assert set(CONTENT[name]["set-resources"]) >= COMPUTING


@pytest.mark.parametrize("name", PROFILES)
def test_code_is_compared_by_content_wherever_jobs_run(name):
    assert CONTENT[name]["rerun-triggers"] == CONTENT["default"]["rerun-triggers"]
    assert CONTENT[name]["rerun-incomplete"]
    assert CONTENT[name]["keep-going"]


@pytest.mark.parametrize("name", PROFILES)
def test_snakemake_plans_with_it(name, tmp_path):
    for kind, setting in (("executor", "executor"), ("storage", "default-storage-provider")):
        plugin = f"snakemake_{kind}_plugin_{CONTENT[name].get(setting)}"
        if setting in CONTENT[name] and importlib.util.find_spec(plugin) is None:
            pytest.skip(f"{plugin} is not installed")
    sources = copy_sources(tmp_path / "sources")
    config = tiny_config(tmp_path / "tiny.yaml")
    outcome = snakemake(sources, tmp_path, "--dry-run", "--workflow-profile", str(PROFILES[name].parent), config=config)
    assert outcome.code == 0, outcome.text
    assert outcome.counts["learn"] == 3
