"""Which edgecnn is sent: made from the checkout, taken from a folder, or fetched from an index."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from device import CHECKOUT, Device, wheel_of
from edgecnn_deploy.wheels import build_wheel, choose_wheel

from edgecnn.errors import SourceError, UsageError

ADVICE = """
import sys
sys.path.insert(0, sys.argv[1])
from edgecnn.errors import how_to_install
print(how_to_install("video"))
print(how_to_install("gpu", remove="onnxruntime"))
"""
FETCH = """
import sys
sys.path.insert(0, sys.argv[1])  # the wheel itself: this edgecnn is of no checkout
from pathlib import Path
from edgecnn_deploy.wheels import choose_wheel
print(choose_wheel(None, None, Path(sys.argv[2]))[1])
"""


def test_the_same_checkout_makes_the_same_wheel_so_that_a_device_knows_it(wheelhouse: Path, tmp_path: Path) -> None:
    assert build_wheel(CHECKOUT, tmp_path).read_bytes() == wheel_of(wheelhouse).read_bytes()


def test_a_wheelhouse_with_edgecnn_in_it_is_enough(wheelhouse: Path, tmp_path: Path) -> None:
    assert choose_wheel(None, wheelhouse, tmp_path)[0] == wheel_of(wheelhouse)
    (tmp_path / "edgecnn-1-py3-none-any.whl").touch()
    (tmp_path / "edgecnn-2-py3-none-any.whl").touch()
    with pytest.raises(UsageError, match="there are 2: name one by --wheel"):
        choose_wheel(None, tmp_path, tmp_path)


def test_what_is_no_wheel_of_edgecnn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--wheel must name a file"):
        choose_wheel(tmp_path / "edgecnn-1-py3-none-any.whl", None, tmp_path)
    (tmp_path / "numpy-1-py3-none-any.whl").touch()
    with pytest.raises(UsageError, match=r"must be edgecnn-VERSION-py3-none-any\.whl; received 'numpy-1"):
        choose_wheel(tmp_path / "numpy-1-py3-none-any.whl", None, tmp_path)


def test_without_a_checkout_an_index_is_asked(wheelhouse: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-c", FETCH, str(wheel_of(wheelhouse)), str(tmp_path)]
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheelhouse)}  # stands for it
    done = subprocess.run(command, env=os.environ | index, capture_output=True, text=True, check=False)
    assert done.stdout == f"{wheel_of(wheelhouse).name}, of the package index\n", done.stderr
    (tmp_path / wheel_of(wheelhouse).name).unlink()
    done = subprocess.run(command, env=os.environ | {"PIP_NO_INDEX": "1"}, capture_output=True, text=True, check=False)
    assert (
        "a wheel of edgecnn must be made or fetched by pip; it failed: ERROR: No matching distribution" in done.stderr
    )
    assert "type pip wheel --no-deps -w dist . and add --wheel dist/edgecnn-….whl" in done.stderr


def advice(place: Path, python: object = sys.executable) -> list[str]:
    """What an edgecnn that lies in a folder tells who lacks an extra."""
    done = subprocess.run([python, "-I", "-c", ADVICE, place], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def pip_installed(wheel: object, place: Path, *options: object) -> Path:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", place, *options, wheel]
    subprocess.run(command, check=True)
    return place


def test_who_lacks_an_extra_is_told_to_install_again_what_was_installed(wheelhouse: Path, tmp_path: Path) -> None:
    wheel = wheel_of(wheelhouse)
    gpu = "pip uninstall -y onnxruntime && pip install"
    named = [shlex.quote(f"{wheel}[{extra}]") for extra in ("video", "gpu")]
    assert advice(pip_installed(wheel, tmp_path / "a file")) == [
        f"type: pip install {named[0]}",
        f"type: {gpu} {named[1]}",
    ]
    index = pip_installed("edgecnn", tmp_path / "index", "--no-index", "--find-links", wheelhouse)
    assert advice(index) == ["type: pip install 'edgecnn[video]'", f"type: {gpu} 'edgecnn[gpu]'"]
    assert advice(CHECKOUT)[0] == "in the checkout of edgecnn type: pip install -e '.[video]'"


def test_who_lacks_an_extra_on_a_device_is_told_to_deploy_again(installed: Device, tmp_path: Path) -> None:
    python = installed.root / "opt/edgecnn/venv/bin/python"
    again = "run install.sh or `edgecnn deploy` again, with: --extras "
    assert advice(tmp_path, python) == [f"{again}cpu,video", f"{again}gpu"]
