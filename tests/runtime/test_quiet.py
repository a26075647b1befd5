"""What must not happen: heavy imports, files that nobody asked for, the network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOREIGN = {"keras", "tensorflow", "tf2onnx", "onnx", "torch", "jax", "matplotlib"}
HEAVY = {"numpy", "onnxruntime", "PIL"}

MODULES_AFTER = """
import json, sys
sys.argv = ["edgecnn", *sys.argv[1:]]
{body}
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
MAIN = """
from edgecnn.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
AUDITED = """
import json, os, sys
seen = []
def watch(event, arguments):
    if event == "open" and not isinstance(arguments[0], int):
        path, mode, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(mode or "") & set("wax+"):
            seen.append(f"open {path}")
    elif event.startswith(("socket.", "os.mkdir", "os.rename", "os.remove", "os.symlink", "subprocess.", "urllib.")):
        seen.append(f"{event} {arguments}")
sys.addaudithook(watch)
sys.argv = ["edgecnn", *sys.argv[1:]]
from edgecnn.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(seen), file=sys.stderr)
"""


def modules(body: str, *arguments: object) -> set[str]:
    """Names of all modules that a fresh interpreter has loaded after `body`."""
    command = [sys.executable, "-c", MODULES_AFTER.format(body=body), *map(str, arguments)]
    end = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(end.stderr.splitlines()[-1]))


def packages(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def empty_home(folder: Path) -> dict[str, str]:
    """An environment whose every place for files is one empty folder."""
    folder.mkdir()
    places = ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "TMPDIR"]
    kept = {name: os.environ[name] for name in ("PATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | dict.fromkeys(places, str(folder)) | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}


def test_importing_edgecnn_loads_nothing_of_weight() -> None:
    assert not packages(modules("import edgecnn")) & (HEAVY | FOREIGN | {"edgecnn_training", "typer"})


def test_help_loads_neither_numpy_nor_onnx_runtime_nor_the_training() -> None:
    loaded = modules(MAIN, "--help")
    assert not packages(loaded) & (HEAVY | FOREIGN)
    training = {name for name in loaded if name.startswith("edgecnn_training.")}
    assert training <= {"edgecnn_training.cli"}


def test_predicting_never_loads_keras_tensorflow_onnx_or_the_training(colors: Path, photos: Path) -> None:
    loaded = modules(MAIN, "predict", colors, photos)
    assert "onnxruntime" in loaded
    assert not packages(loaded) & FOREIGN
    assert {name for name in loaded if name.startswith("edgecnn_training.")} <= {"edgecnn_training.cli"}


def test_inspecting_needs_no_onnx_runtime(colors: Path) -> None:
    assert "onnxruntime" not in modules(MAIN, "inspect", colors)


def test_telemetry_is_off_before_onnx_runtime_is_imported(colors: Path) -> None:
    body = (
        "import os, sys, edgecnn\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime':\n"
        "            assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
        "            sys.modules['witness'] = sys\n"
        "sys.meta_path.insert(0, Finder())\n"
        f"edgecnn.Classifier({str(colors)!r})\n"
    )
    assert "witness" in modules(body)


def test_predicting_writes_no_file_and_opens_no_socket(colors: Path, photos: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-c", AUDITED, "predict", str(colors), str(photos)]
    end = subprocess.run(command, env=empty_home(home), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(end.stderr.splitlines()[-1]) == []
    assert list(home.iterdir()) == []


def test_the_system_calls_of_predicting_write_no_file_and_reach_no_network(
    colors: Path, photos: Path, tmp_path: Path
) -> None:
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-o", "/dev/null", "true"], capture_output=True).returncode != 0:
        pytest.skip("strace is not installed or may not trace here")
    home, log = tmp_path / "home", tmp_path / "calls"
    traced = "trace=network,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat"
    command = [strace, "-f", "-o", str(log), "-e", traced, sys.executable, "-m", "edgecnn", "predict"]
    subprocess.run([*command, colors, photos], env=empty_home(home), cwd=tmp_path, capture_output=True, check=True)
    calls = log.read_text(errors="replace").splitlines()
    assert any(str(colors) in call for call in calls)  # it was really traced
    harmless = re.compile(r'"/dev/(null|shm/\S*|tty)"|/proc/self|ENOENT|^\d+ [+-]{3} |<... ')
    suspect = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|socket\(|connect\(|sendto\(|creat\(|mkdir|rename|unlink")
    assert [call for call in calls if suspect.search(call) and not harmless.search(call)] == []
    assert list(home.iterdir()) == []
