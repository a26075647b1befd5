"""What a user gets: the wheel, the source archive and what they say of themselves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path

import pytest
from command import Edgecnn
from packaging.requirements import Requirement
from packaging.version import Version

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = {"edgecnn": ".", "edgecnn_training": "training", "edgecnn_deploy": "deploy"}
MADE_HERE = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist", "runs"
)
"""What setuptools would take from an earlier build, and what only costs time to copy."""


@dataclass(frozen=True)
class Wheel:
    """The names in a wheel, and its metadata."""

    names: frozenset[str]
    metadata: Message
    entry_points: str

    @classmethod
    def read(cls, folder: Path) -> Wheel:
        (path,) = folder.glob("*.whl")
        with zipfile.ZipFile(path) as archive:
            info = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = Parser().parsestr(archive.read(info).decode())
            entry_points = archive.read(info.replace("METADATA", "entry_points.txt")).decode()
            return cls(frozenset(archive.namelist()), metadata, entry_points)

    def files(self) -> set[str]:
        """All but the metadata."""
        return {name for name in self.names if ".dist-info/" not in name}

    def needs(self, extra: str = "") -> set[str]:
        """Names of what the wheel requires, with an extra or without."""
        stated = map(Requirement, self.metadata.get_all("Requires-Dist", []))
        return {need.name for need in stated if need.marker is None or need.marker.evaluate({"extra": extra})}


def build(source: Path, out: Path, *kinds: str) -> Path:
    """Build with the setuptools that is installed, so that no test needs the network."""
    command = [sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", str(out), str(source)]
    end = subprocess.run(command, capture_output=True, text=True, check=False)
    assert end.returncode == 0, end.stdout + end.stderr
    return out


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive of the checkout."""
    source = tmp_path_factory.mktemp("source") / "edgecnn"
    shutil.copytree(CHECKOUT, source, ignore=MADE_HERE)
    return build(source, tmp_path_factory.mktemp("dist"), "--sdist", "--wheel")


@pytest.fixture(scope="session")
def wheel(built: Path) -> Wheel:
    return Wheel.read(built)


@pytest.fixture(scope="session")
def sdist(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, unpacked."""
    (path,) = built.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("sdist")
    # tarfile's filter came with Python 3.11.4, and leaving it out is a warning since 3.12
    subprocess.run(["tar", "-xzf", path, "-C", folder], check=True)
    (inside,) = folder.iterdir()
    return inside


def test_the_wheel_holds_the_three_packages_whole_and_nothing_else(wheel: Wheel) -> None:
    expected = {
        path.relative_to(CHECKOUT / where).as_posix()
        for name, where in PACKAGES.items()
        for path in (CHECKOUT / where / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wheel.files() == expected


@pytest.mark.parametrize(
    "name",
    [
        *(f"{package}/py.typed" for package in PACKAGES),
        "edgecnn/record.schema.json",
        "edgecnn_training/recipes/default.toml",
    ],
)
def test_the_wheel_holds_what_is_not_python(wheel: Wheel, name: str) -> None:
    assert name in wheel.files()


def test_the_wheel_carries_the_license(wheel: Wheel) -> None:
    assert wheel.metadata["License-Expression"] == "Apache-2.0 AND CC-BY-SA-3.0"
    assert wheel.metadata.get_all("License-File") == ["LICENSE"]
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.names)
    assert "Apache License" in (CHECKOUT / "LICENSE").read_text(encoding="utf-8")


def test_the_wheel_installs_one_command(wheel: Wheel) -> None:
    points = ConfigParser()
    points.read_string(wheel.entry_points)
    assert {section: dict(points[section]) for section in points.sections()} == {
        "console_scripts": {"edgecnn": "edgecnn.cli:start"}
    }


def test_the_runtime_needs_three_packages_and_onnx_runtime_by_an_extra(wheel: Wheel) -> None:
    assert wheel.needs() == {"numpy", "pillow", "typer"}
    assert wheel.needs("cpu") - wheel.needs() == {"onnxruntime"}
    assert wheel.needs("gpu") - wheel.needs() == {"onnxruntime-gpu"}


def test_no_other_extra_brings_an_onnx_runtime_as_two_would_overwrite_each_other(wheel: Wheel) -> None:
    extras = set(wheel.metadata.get_all("Provides-Extra", []))
    assert {"cpu", "gpu", "train", "heif", "dev"} <= extras
    for extra in extras - {"cpu", "gpu"}:
        assert not wheel.needs(extra) & {"onnxruntime", "onnxruntime-gpu"}, extra


def test_the_source_archive_holds_what_a_packager_wants(sdist: Path) -> None:
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "scripts/test", "tests/command.py"):
        assert (sdist / name).is_file(), name
    tests = {path.relative_to(CHECKOUT) for path in (CHECKOUT / "tests").rglob("*.py")}
    assert {path.relative_to(sdist) for path in (sdist / "tests").rglob("*.py")} == tests
    assert list(sdist.rglob("__pycache__")) == []


def test_the_source_archive_builds_the_same_wheel(sdist: Path, wheel: Wheel, tmp_path: Path) -> None:
    again = Wheel.read(build(sdist, tmp_path, "--wheel"))
    assert again.names == wheel.names
    assert again.metadata.items() == wheel.metadata.items()


def test_there_is_one_version(wheel: Wheel, edgecnn: Edgecnn) -> None:
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        stated = tomllib.load(file)["project"]["version"]
    assert wheel.metadata["Version"] == stated
    assert version("edgecnn") == stated, "edgecnn was installed from another checkout; run scripts/test"
    assert edgecnn("--version").out == f"edgecnn {stated}\n"


def test_the_changelog_knows_the_version_or_it_is_not_released_yet(wheel: Wheel) -> None:
    text = (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([^\]]+)\]", text, flags=re.MULTILINE)
    released = [Version(heading) for heading in headings if heading != "Unreleased"]
    now = Version(wheel.metadata["Version"])
    assert headings
    assert released == sorted(released, reverse=True)
    assert now in released or (headings[0] == "Unreleased" and all(now > other for other in released))


def test_an_editable_installation_is_live(tmp_path: Path) -> None:
    program = (
        "import importlib.metadata as m, json, edgecnn, edgecnn_training, edgecnn_deploy\n"
        "direct = m.distribution('edgecnn').read_text('direct_url.json')\n"
        "places = [package.__file__ for package in (edgecnn, edgecnn_training, edgecnn_deploy)]\n"
        "print(json.dumps([json.loads(direct or '{}'), places]))\n"
    )
    command = [sys.executable, "-c", program]
    end = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    direct, places = json.loads(end.stdout)
    if not direct.get("dir_info", {}).get("editable"):
        pytest.skip("edgecnn is not installed as editable here")
    assert places == [str(CHECKOUT / where / name / "__init__.py") for name, where in PACKAGES.items()]
