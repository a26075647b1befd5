"""What a container does to a program: it is process 1, and no folder can be written."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx_bytes
import pytest
from PIL import Image
from test_source_test import stuck_in_a_full_pipe, wait_for

NAMESPACES = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
READ_ONLY = """
for place in /tmp /var/tmp; do mount --bind "$place" "$place" && mount -o remount,bind,ro "$place"; done
mount -o remount,bind,ro / && cd / && exec "$@"
"""
CONTAINED = [*NAMESPACES, "sh", "-ec", READ_ONLY, "sh"]
EDGECNN = [*CONTAINED, sys.executable, "-m", "edgecnn"]


@pytest.fixture(scope="module", autouse=True)
def _containers_can_be_made() -> None:
    try:
        end = subprocess.run([*CONTAINED, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare, which is a part of util-linux")
    if end.returncode != 0:
        pytest.skip(f"this system makes no namespaces: {end.stderr.strip()}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "colors.onnx").write_bytes(onnx_bytes.color_model())
    Image.new("RGB", (30, 20), "blue").save(tmp_path / "blue.png")
    return tmp_path


def test_nothing_can_be_written_in_there() -> None:
    look = "import os, tempfile; print(os.getpid()); tempfile.gettempdir()"
    end = subprocess.run([*CONTAINED, sys.executable, "-c", look], capture_output=True, text=True, check=False)
    assert end.stdout == "1\n"
    assert "No usable temporary directory" in end.stderr


@pytest.mark.parametrize("device", ["auto", "provider:CPU"])
def test_a_picture_is_labelled_also_on_a_device_whose_log_is_listened_to(folder: Path, device: str) -> None:
    command = [*EDGECNN, "predict", folder / "colors.onnx", folder / "blue.png", "--device", device]
    end = subprocess.run(command, capture_output=True, text=True, check=False)
    assert end.returncode == 0, end.stderr
    assert json.loads(end.stdout)["label"] == "blue"


def test_the_doctor_tells_that_there_is_no_place_for_temporary_files() -> None:
    end = subprocess.run([*EDGECNN, "doctor"], capture_output=True, text=True, check=False)
    assert "temporary files: no folder can be written; predict needs none" in end.stdout
    assert "could not be looked at" not in end.stdout


@contextlib.contextmanager
def started(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A feed whose first record was read, and the number by which its process is seen from outside."""
    command = [*EDGECNN, "predict", folder / "colors.onnx", "test:?fps=0&size=32x32"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["type"] == "prediction"
            (inside,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield process, int(inside)
        finally:
            process.kill()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_feed_ends_well_as_the_first_process(folder: Path, stop: signal.Signals) -> None:
    with started(folder) as (process, inside):
        os.kill(inside, stop)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert " labels/s, " in err.splitlines()[-1]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_first_process_at_once_though_linux_protects_it(
    folder: Path, stop: signal.Signals
) -> None:
    with started(folder) as (process, inside):
        assert process.stdout is not None
        pipe = process.stdout.fileno()  # nobody reads on
        wait_for(lambda: stuck_in_a_full_pipe(pipe))
        os.kill(inside, stop)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        os.kill(inside, stop)
        assert process.wait(timeout=20) == 128 + stop
