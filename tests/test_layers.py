"""Who may import whom, and what an import may not do; the rules are DESIGN.md's, the contracts pyproject.toml's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
CODE = ["edgecnn", "training", "deploy", "benchmarks", "tests", "scripts"]
LONGEST_LINES = 400

LOADED = """
import importlib, json, pkgutil, sys
{body}
print(json.dumps(sorted(sys.modules)))
"""
EVERY_MODULE = """
import edgecnn
found = [module.name for module in pkgutil.walk_packages(edgecnn.__path__, "edgecnn.")]
for name in found:
    if not name.endswith("__main__"):  # that one runs the command line
        importlib.import_module(name)
assert len(found) > 15, found
"""
WATCHED = """
import importlib, json, os, pkgutil, sys

seen = []

class Watched(dict):
    '''The environment; notes who of edgecnn reads it.'''

    def note(self, name):
        frame = sys._getframe(2)
        while frame is not None and frame.f_globals.get("__name__") in ("os", "_collections_abc"):
            frame = frame.f_back
        if frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "edgecnn":
            seen.append(f"{{frame.f_globals['__name__']}} reads {{name}}")

    def __getitem__(self, name):
        self.note(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self.note(name)
        return super().get(name, default)

    def __contains__(self, name):
        self.note(name)
        return super().__contains__(name)

    def setdefault(self, name, default=None):
        self.note(name)
        return super().setdefault(name, default)

def watch(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.system", "os.posix_spawn", "os.fork")):
        seen.append(event)

os.environ = Watched(os.environ)
sys.addaudithook(watch)
{body}
print(json.dumps(seen))
"""


def fresh(program: str, folder: Path) -> list[str]:
    """What a program prints as JSON, in an interpreter of its own that sees only what is installed."""
    end = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert end.returncode == 0, end.stderr
    names: list[str] = json.loads(end.stdout)
    return names


def packages(names: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_the_import_contracts_are_kept() -> None:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    end = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert end.returncode == 0, end.stdout + end.stderr
    assert "0 broken" in end.stdout


def test_the_whole_runtime_loads_nothing_of_training(tmp_path: Path) -> None:
    loaded = fresh(LOADED.format(body=EVERY_MODULE), tmp_path)
    assert not packages(loaded) & {"keras", "tensorflow", "onnx", "tf2onnx", "torch", "jax", "matplotlib"}
    beside = {name for name in loaded if name.startswith(("edgecnn_training.", "edgecnn_deploy."))}
    assert beside == {"edgecnn_training.cli", "edgecnn_deploy.cli"}


@pytest.mark.parametrize("package", ["edgecnn_training", "edgecnn_deploy"])
def test_the_commands_beside_the_runtime_cost_typer_only(tmp_path: Path, package: str) -> None:
    loaded = packages(fresh(LOADED.format(body=f"import {package}.cli"), tmp_path))
    typer = packages(fresh(LOADED.format(body="import typer"), tmp_path))
    assert not loaded & {"numpy", "keras", "tensorflow", "PIL", "onnxruntime", "onnx"}
    others = {name for name in loaded - typer if name not in sys.stdlib_module_names}
    assert others == {package}


def test_importing_the_runtime_reads_no_environment_and_starts_nothing(tmp_path: Path) -> None:
    assert fresh(WATCHED.format(body=EVERY_MODULE), tmp_path) == []


@pytest.mark.parametrize("sin", ["os.environ.get('A')", "'A' in os.environ", "os.getenv('A')"])
def test_the_watch_would_tell_a_module_that_reads_the_environment(tmp_path: Path, sin: str) -> None:
    body = f"exec({sin!r}, {{'__name__': 'edgecnn.sinner', 'os': os}})"
    assert fresh(WATCHED.format(body=body), tmp_path) == ["edgecnn.sinner reads A"]


def test_no_python_file_is_longer_than_a_reader_can_hold() -> None:
    files = [path for folder in CODE for path in (CHECKOUT / folder).rglob("*.py")]
    lines = {path.relative_to(CHECKOUT): path.read_text(encoding="utf-8").count("\n") for path in files}
    assert len(lines) > 50
    assert {path: count for path, count in lines.items() if count > LONGEST_LINES} == {}
