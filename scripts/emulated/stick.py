"""What a user brings to a Pi without a network: our wheel, those that it needs, install.sh, a model; and the checks."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import tomllib
from pathlib import Path

from emulated import cache, disk, userland
from emulated.userland import CHECKOUT, PYTHONS

OF_THE_WHEEL = ("edgecnn", "training", "deploy", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
INSTALLER = CHECKOUT / "deploy/edgecnn_deploy/install.sh"
CHECKS = Path(__file__).with_name("checks.sh")
SIZE = "400M"


def fetch_wheels(release: str, *, offline: bool) -> Path:
    """The folder of the wheels that edgecnn[cpu,video] needs; to be called in one's `cache.turn`.

    Raises:
        Problem: They cannot be had.
    """
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"]]
    for extra in userland.EXTRAS:
        needed += project["optional-dependencies"][extra]
    key = hashlib.sha256("\n".join(needed).encode()).hexdigest()[:8]
    return cache.kept(
        f"{release}-wheels-{key}",
        lambda folder: userland.fetch_wheels(["download", f"--dest={folder}"], PYTHONS[release], needed),
        f"the wheels that edgecnn needs, for aarch64 and Python {PYTHONS[release]} (90 MB)",
        offline=offline,
    )


def write(image: Path, wheels: Path, model: Path) -> None:
    """Write the stick.

    Args:
        image: The file.
        wheels: From `fetch_wheels`.
        model: An .onnx file.

    Raises:
        Problem: The wheel cannot be built.
    """
    with tempfile.TemporaryDirectory(prefix="edgecnn-stick-") as folder:
        contents = Path(folder, "contents")
        shutil.copytree(wheels, contents / "wheels")
        shutil.copy(model, contents / "model.onnx")
        for file in (INSTALLER, CHECKS):
            shutil.copy(file, contents)
        _build_wheel(Path(folder, "source"), contents)
        disk.write(contents, image, SIZE)


def _build_wheel(source: Path, folder: Path) -> None:
    source.mkdir()  # of its own: setuptools would put the remains of earlier builds into the wheel
    for name in OF_THE_WHEEL:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(CHECKOUT / name, source)
    cache.say("building edgecnn's wheel")
    userland.run_pip(["wheel", "--quiet", "--no-deps", f"--wheel-dir={folder}", str(source)], "build edgecnn's wheel")
