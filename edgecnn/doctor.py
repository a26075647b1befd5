"""What may be wrong with a machine: everything that predicting needs is looked at or tried, and nothing is changed."""

from __future__ import annotations

import base64
import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgecnn.board import Board
from edgecnn.devices import WHEELS
from edgecnn.errors import EdgecnnError, how_to_install

# Identity of one float32: the smallest network that shows whether a device starts
_TINY = base64.b64decode("CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBE=")
_ROUNDS = 30
_LEAST_FREE_MB = 50
_OPTIONAL = {
    "av": ("video", "for videos, webcams and network cameras"),
    "mss": ("screen", "to look at a monitor"),
    "pillow_heif": ("heif", "for HEIC photos"),
}
_WHEELS = tuple(WHEELS.split())
_OLDEST = (1, 24)
_X86 = {"avx2": "AVX2", "avx512_vnni": "VNNI", "avx_vnni": "VNNI", "avx512f": "AVX-512"}
_ARM = {"asimd": "NEON", "asimddp": "dot products", "i8mm": "int8 matrices"}

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: What was looked at, in a word or two.
        state: ``"problem"`` where something that is needed will not work, ``"note"`` where something optional does not.
        text: What was found.
        remedy: What to do; empty where nothing is.
    """

    what: str
    state: State
    text: str
    remedy: str = ""


def examine(model: str | None = None) -> Iterator[Finding]:
    """Look at everything, one after the other; what fails to be looked at is a finding itself.

    Args:
        model: A model to try as well, a file or a bundled one's name: it is loaded, tests itself, and is timed.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [_system, _packages, _processor, _devices, _cameras, _board, _disk]
    for check in checks:
        yield from _safe(check)
    if model is not None:
        path = model
        yield from _safe(lambda: _model(path))


def _safe(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    name = getattr(check, "__name__", "").strip("_").replace("<lambda>", "model")
    try:
        yield from check()
    except EdgecnnError as error:
        message = str(error)
        text, _, remedy = message.rpartition(": " if "; " not in message else "; ")
        yield Finding(name, "problem", text, remedy)
    except Exception as error:
        yield Finding(name, "problem", f"could not be looked at: {type(error).__name__}: {error}", "please report it")


def _system() -> Iterator[Finding]:
    name = _text("/proc/device-tree/model") or platform.machine()
    system = re.search(r'^PRETTY_NAME="?([^"\n]*)', _text("/etc/os-release"), re.MULTILINE)
    text = f"{name}, {system[1] if system else platform.platform()}, Python {platform.python_version()}"
    if sys.maxsize < 2**32:
        remedy = "install a 64-bit system, on a Raspberry Pi the 64-bit Raspberry Pi OS"
        yield Finding("system", "problem", f"{text}: 32 bits, for which there is no ONNX Runtime", remedy)
    else:
        yield Finding("system", "ok", f"{text}, 64 bits")


def _packages() -> Iterator[Finding]:
    there = {name: version for name in _WHEELS if (version := _version_of(name))}
    both = len(there) > 1
    for name, version in there.items():
        numbers = tuple(int(part) for part in re.findall("[0-9]+", version)[:2])
        if numbers < _OLDEST:
            remedy = f"pip install '{name}>=1.24'"
            yield Finding("packages", "problem", f"{name} {version} is too old: it computes some files wrongly", remedy)
        elif not both:
            yield Finding("packages", "ok", f"{name} {version}, NumPy {np.__version__}, Pillow {_version_of('pillow')}")
    if both:
        yield Finding(
            "packages",
            "problem",
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files",
            f"{how_to_install('cpu', remove=WHEELS)} (or gpu in place of cpu)",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both of them: told
        from edgecnn.session import load_onnxruntime

        load_onnxruntime()
    for name, (extra, purpose) in _OPTIONAL.items():
        version = _version_of(name.replace("_", "-"))
        if version:
            yield Finding(extra, "ok", f"{name} {version}, {purpose}")
        else:
            remedy = f"where it is wanted: {how_to_install(extra)}"
            yield Finding(extra, "note", f"{name} is not installed, {purpose}", remedy)


def _processor() -> Iterator[Finding]:
    flags = set(re.findall(r"^(?:flags|Features)\s*:(.*)$", _text("/proc/cpuinfo"), re.MULTILINE)[:1])
    words = set(" ".join(flags).split())
    table = _X86 if platform.machine() in ("x86_64", "AMD64") else _ARM
    known = list(dict.fromkeys(name for flag, name in table.items() if flag in words))
    cores = f"{os.cpu_count()} cores"
    text = f"{platform.machine()}, {cores}" + (f", {', '.join(known)}" if known else "")
    if table is _X86 and words and "VNNI" not in known:
        more = (
            "no VNNI: int8 saves size here and hardly time; files of --target host with weights of 8 bits are refused"
        )
        yield Finding("processor", "ok", f"{text}; {more}")
    else:
        yield Finding("processor", "ok", text)


def _devices() -> Iterator[Finding]:
    from edgecnn.session import what_starts

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = what_starts(_TINY)
    for name, why in found.items():
        if not why:
            yield Finding("device", "ok", f"{name} starts")
        elif name == "cpu" or _worth_telling(name, why):
            reason, _, remedy = why.partition(": ")
            yield Finding("device", "problem" if name == "cpu" else "note", f"{name} does not start: {reason}", remedy)


def _worth_telling(device: str, why: str) -> bool:
    """Whether a device that does not start is one that this machine might have."""
    if " here offers " not in why:
        return True  # its package is installed
    if device == "openvino":
        return "GenuineIntel" in _text("/proc/cpuinfo")
    return shutil.which("nvidia-smi") is not None or os.path.exists("/proc/driver/nvidia")


def _cameras() -> Iterator[Finding]:
    from edgecnn.opening import find_cameras
    from edgecnn.sources import _v4l

    found = find_cameras()
    for camera in found:
        yield Finding("camera", "ok", f"{camera.source}  {camera.name}")
    closed = _v4l.unreadable()
    if closed:
        remedy = "sudo usermod -aG video $USER, then log in again"
        yield Finding("camera", "problem", f"{', '.join(closed)} may not be opened", remedy)
    if "Raspberry Pi" in _text("/proc/device-tree/model") and not shutil.which("rpicam-vid"):
        yield Finding("camera", "problem", "rpicam-vid is not installed", "sudo apt install rpicam-apps-lite")
    elif not found:
        yield Finding("camera", "note", "none found", "plug one in; without one there is test:")


def _board() -> Iterator[Finding]:
    board = Board.read()
    if board.now():
        remedy = "cool it, or use the power supply made for it"
        yield Finding("board", "problem", board.told(), remedy)
    elif board.before():
        yield Finding("board", "note", board.told(), "it slowed down earlier: look at cooling and power supply")
    elif board.told():
        yield Finding("board", "ok", board.told())


def _disk() -> Iterator[Finding]:
    places = {"here": Path.cwd()}
    try:
        places["temporary files"] = Path(tempfile.gettempdir())
    except FileNotFoundError:  # as in a container that is read-only
        text = "temporary files: no folder can be written; predict needs none"
        yield Finding("disk", "note", text, "to train or export, name a folder in TMPDIR")
    for name, place in places.items():
        free_mb = shutil.disk_usage(place).free / 1e6
        text = f"{name}: {place}, {free_mb:,.0f} MB free"
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            yield Finding("disk", "problem", f"{text}; cannot be written ({error.strerror})", "go to another folder")
        else:
            low = free_mb < _LEAST_FREE_MB
            yield Finding("disk", "problem" if low else "ok", text, "free some space" if low else "")


def _model(path: str) -> Iterator[Finding]:
    from edgecnn.classifier import Classifier

    began = time.perf_counter()
    with Classifier(path) as model:
        loaded_ms = (time.perf_counter() - began) * 1000
        spec = model.card.input
        picture = np.full((1, spec.height, spec.width, spec.channels), 128, np.uint8)
        times = []
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            model.scores(picture)
            times.append((time.perf_counter() - began) * 1000)
        tested = "tests itself, " if model.card.more.get("self_test") else ""
        yield Finding(
            "model",
            "ok",
            f"{model.card.name}, {model.card.precision}, on {model.device}: loads in {loaded_ms:.0f} ms, {tested}"
            f"{statistics.median(times):.2f} ms a picture (median of {_ROUNDS})",
        )


def _version_of(name: str) -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return ""


def _text(path: str) -> str:
    """A file of the system's; empty where it is not there."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""
