"""What Snakemake's workflow catalog asks of a workflow with standardized usage."""

import subprocess

import yaml

from tests.workflow.runs import ENVIRONMENT, ROOT, Job, Outcome, command, copy_sources, tiny_config


def test_the_catalog_finds_the_workflow_its_settings_and_what_to_configure():
    settings = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))["usage"]
    assert set(settings) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(settings["software-stack-deployment"]) == {"conda", "apptainer", "apptainer+conda"}
    assert (ROOT / "config/README.md").is_file()
    assert (ROOT / "workflow/Snakefile").is_file()
    assert list((ROOT / "workflow/rules").glob("*.smk"))


def test_the_snakefile_that_the_catalog_starts_plans_what_ours_plans(tmp_path):
    sources = copy_sources(tmp_path / "sources")
    ours = command(sources, "--dry-run", config=tiny_config(tmp_path / "tiny.yaml"))
    theirs = [part.replace("/sources/Snakefile", "/sources/workflow/Snakefile") for part in ours]
    assert theirs != ours
    outcomes = []
    for call in (ours, theirs):
        done = subprocess.run(call, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
        outcomes.append(Outcome(done.returncode, done.stdout + done.stderr))
    assert outcomes[0].code == 0, outcomes[0].text
    assert len(outcomes[0].jobs) > 5
    assert outcomes[1].code == 0, outcomes[1].text
    assert set(outcomes[1].jobs) == {*outcomes[0].jobs, Job("default", "")}
