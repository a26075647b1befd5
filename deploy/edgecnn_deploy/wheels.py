"""Which edgecnn comes onto the devices: a wheel that is named, made from this checkout, or what an index offers."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import edgecnn
from edgecnn.errors import SourceError, UsageError

_NAME = re.compile(r"edgecnn-[A-Za-z0-9.+_]+-py3-none-any\.whl", re.ASCII)
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "edgecnn", "training", "deploy")
_MADE_HERE = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".*")
_SETUPTOOLS = 77
_MOST_S = 600
_MAKE_ONE = "in a checkout of edgecnn type pip wheel --no-deps -w dist . and add --wheel dist/edgecnn-….whl"


def choose_wheel(wheel: Path | None, wheelhouse: Path | None, scratch: Path) -> tuple[Path, str]:
    """The wheel to send, and where it is from, in words.

    Args:
        wheel: One that was named.
        wheelhouse: A folder of wheels that may hold one.
        scratch: A folder to make it in.

    Raises:
        UsageError: It is no wheel of edgecnn, or there are several.
        SourceError: There is none, and none can be made or fetched.
    """
    if wheel is not None:
        return _checked(wheel), f"{wheel.name}, as named"
    inside = sorted(wheelhouse.glob("edgecnn-*.whl")) if wheelhouse else []
    if len(inside) > 1:
        raise UsageError(f"one wheel of edgecnn must be in {wheelhouse}; there are {len(inside)}: name one by --wheel")
    if inside:
        return _checked(inside[0]), f"{inside[0].name}, of the wheelhouse"
    checkout = Path(edgecnn.__file__).resolve().parents[1]
    if all((checkout / name).exists() for name in _SOURCES):
        made = build_wheel(checkout, scratch)
        return made, f"{made.name}, made from {checkout}"
    fetched = _run_pip(["download", "--only-binary", ":all:", "-d", str(scratch), "edgecnn"], scratch, _MAKE_ONE)
    return fetched, f"{fetched.name}, of the package index"


def build_wheel(checkout: Path, out: Path) -> Path:
    """Make the wheel of a checkout; the same files make the same bytes, so that a device knows what it has.

    Raises:
        SourceError: It cannot be made.
    """
    source = out / "source"  # setuptools would leave its own files in the checkout, and take those of an earlier time
    for name in _SOURCES:
        there = checkout / name
        if there.is_dir():
            shutil.copytree(there, source / name, ignore=_MADE_HERE)
        else:
            source.mkdir(exist_ok=True)
            shutil.copy2(there, source / name)
    isolation = ["--no-build-isolation"] if _has_setuptools() else []
    return _run_pip(["wheel", *isolation, "-w", str(out), str(source)], out)


def _has_setuptools() -> bool:
    try:
        return int(importlib.metadata.version("setuptools").partition(".")[0]) >= _SETUPTOOLS
    except importlib.metadata.PackageNotFoundError:
        return False


def _run_pip(words: Sequence[str], out: Path, remedy: str = "name one by --wheel FILE") -> Path:
    command = [sys.executable, "-m", "pip", words[0], "--quiet", "--disable-pip-version-check", "--no-deps", *words[1:]]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "315532800"}  # 1980, the first year of a zip archive
    rule = "a wheel of edgecnn must be made or fetched by pip"
    try:
        end = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=_MOST_S, cwd=out
        )
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{rule}; it took more than {_MOST_S} s: {remedy}") from error
    if end.returncode != 0:
        last = (end.stderr.strip() or end.stdout.strip() or "it said nothing").splitlines()[-1]
        raise SourceError(f"{rule}; it failed: {last}: {remedy}")
    return _checked(next(out.glob("edgecnn-*.whl")))


def _checked(wheel: Path) -> Path:
    if not wheel.is_file():
        raise SourceError(f"--wheel must name a file; received {str(wheel)!r}: check it")
    if not _NAME.fullmatch(wheel.name):
        rule = "must be edgecnn-VERSION-py3-none-any.whl"
        raise UsageError(f"--wheel {rule}; received {wheel.name!r}: name the file as it was built")
    return wheel
