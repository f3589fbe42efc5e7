"""One environment in three files: ranges in pyproject.toml, pins in constraints.txt, the conda file environment.yml."""

import importlib.metadata
import itertools
import platform
import sys
import tomllib
from pathlib import Path

import pytest
import rattler
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = [Requirement(line) for line in PYPROJECT["dependencies"]]
DEV_DEPENDENCIES = [Requirement(line) for extra in PYPROJECT["optional-dependencies"].values() for line in extra]
CONSTRAINTS_TEXT = (ROOT / "constraints.txt").read_text()
CONSTRAINTS = [Requirement(line) for line in CONSTRAINTS_TEXT.splitlines() if "://" not in line]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
CONDA_SPECS = [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str)]
PIP_PINS = [Requirement(line) for line in ENVIRONMENT["dependencies"][-1]["pip"]]
CONDA_PYTHON = next(spec.removeprefix("python=") for spec in CONDA_SPECS if spec.startswith("python="))
SYSTEMS = ("linux", "darwin", "win32")


def constrained_version(name: str, python: str, system: str = sys.platform) -> str:
    """The version of a package that constraints.txt allows on one Python and operating system."""
    machine = environment_of(python, system)
    versions = [
        pinned_version(line)
        for line in CONSTRAINTS
        if canonicalize_name(line.name) == canonicalize_name(name)
        and (line.marker is None or line.marker.evaluate(machine))
    ]
    assert len(versions) == 1, f"constraints.txt pins {name} {len(versions)} times on Python {python}, {system}"
    return versions[0]


def environment_of(python: str, system: str) -> dict[str, str]:
    """What markers are evaluated on."""
    return {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": system}


def applies(dependency: Requirement, python: str, system: str = sys.platform) -> bool:
    """Whether a dependency is wanted on one Python and operating system."""
    return dependency.marker is None or dependency.marker.evaluate(environment_of(python, system))


def pinned_version(requirement: Requirement) -> str:
    """The version of ``name==version``."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", f"{requirement} is not pinned to one version"
    assert "*" not in specifier.version, f"{requirement} is not pinned to one version"
    return specifier.version


def by_name(requirements: list[Requirement]) -> dict[str, Requirement]:
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


@pytest.mark.parametrize("dependency", DEPENDENCIES + DEV_DEPENDENCIES, ids=lambda dependency: dependency.name)
def test_constraints_satisfy_every_range_in_pyproject(dependency):
    machines = [
        machine
        for machine in itertools.product(("3.11", "3.12", "3.13", "3.14"), SYSTEMS)
        if applies(dependency, *machine)
    ]
    assert machines
    for python, system in machines:
        assert constrained_version(dependency.name, python, system) in dependency.specifier


def test_constraints_hold_no_addresses_and_no_extras():
    assert "://" not in CONSTRAINTS_TEXT
    assert [line.name for line in CONSTRAINTS if line.extras] == []  # pip refuses constraints with extras


def test_torch_is_pinned_to_the_same_version_everywhere():
    expected = SpecifierSet("==2.13.0")
    assert by_name(DEPENDENCIES)["torch"].specifier == expected
    assert by_name(PIP_PINS)["torch"].specifier == expected
    assert f"torch{expected} -e '.[dev,docs]'" in (ROOT / "Makefile").read_text()


def test_environment_has_conda_packages_and_one_pip_list():
    assert list(ENVIRONMENT) == ["name", "channels", "dependencies"]
    assert ENVIRONMENT["name"] == "smf"
    assert ENVIRONMENT["channels"] == ["conda-forge", "nodefaults"]
    assert [type(entry) for entry in ENVIRONMENT["dependencies"]] == [str] * len(CONDA_SPECS) + [dict]
    assert list(ENVIRONMENT["dependencies"][-1]) == ["pip"]
    assert "pip" in CONDA_SPECS  # conda warns if pip installs packages and is not asked for


@pytest.mark.parametrize("spec", CONDA_SPECS)
def test_conda_specs_are_valid(spec):
    assert rattler.MatchSpec(spec, strict=True).name is not None


def test_conda_python_is_one_that_pyproject_supports():
    assert CONDA_PYTHON in SpecifierSet(PYPROJECT["requires-python"])


def test_environment_lists_the_dependencies_of_pyproject():
    pins = {name: pin.extras for name, pin in by_name(PIP_PINS).items()}
    assert pins == {name: dependency.extras for name, dependency in by_name(DEPENDENCIES).items()}
    assert len(pins) == len(PIP_PINS), "environment.yml lists a package twice"


@pytest.mark.parametrize("pin", PIP_PINS, ids=lambda pin: pin.name)
def test_environment_pins_agree_with_constraints(pin):
    for system in SYSTEMS:
        assert pinned_version(pin) == constrained_version(pin.name, CONDA_PYTHON, system)


@pytest.mark.parametrize("dependency", DEPENDENCIES + DEV_DEPENDENCIES, ids=lambda dependency: dependency.name)
def test_installed_version_is_the_constrained_one(dependency):
    python = "{}.{}".format(*platform.python_version_tuple())
    if not applies(dependency, python):
        pytest.skip(f"{dependency.name} is not wanted on {sys.platform}")
    installed = Version(importlib.metadata.version(dependency.name)).public  # without torch's +cpu or +cu130
    assert installed == constrained_version(dependency.name, python)
