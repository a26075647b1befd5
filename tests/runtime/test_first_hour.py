"""What a newcomer's machine may have wrong when the first model is to run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_bytes
import pytest
from command import Edgecnn
from PIL import Image as PILImage

from edgecnn.decode import decode_file
from edgecnn.errors import how_to_install, missing

PREDICT = (sys.executable, "-m", "edgecnn", "predict", "colors.onnx", "blue.png", "--device", "cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model, a picture, and site/ that comes before the installed packages."""
    (tmp_path / "colors.onnx").write_bytes(onnx_bytes.color_model())
    PILImage.new("RGB", (30, 20), "blue").save(tmp_path / "blue.png")
    (tmp_path / "site").mkdir()
    return tmp_path


def predict(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder / "site")}
    return subprocess.run(PREDICT, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_both_onnx_runtimes_at_once_are_told_in_one_note_and_the_prediction_goes_on(folder: Path) -> None:
    import onnxruntime

    (folder / "site" / "onnxruntime").symlink_to(Path(onnxruntime.__file__).parent)
    for name in ("onnxruntime-1.31.1", "onnxruntime_gpu-1.31.1"):
        (folder / "site" / f"{name}.dist-info").mkdir()
    end = predict(folder)
    assert end.returncode == 0
    (note,) = [line for line in end.stderr.splitlines() if "onnxruntime-gpu" in line]
    assert note.startswith("note: onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files;")
    assert f"Keep one: {how_to_install('cpu', remove='onnxruntime onnxruntime-gpu')} (or gpu in place of cpu)" in note


def test_one_onnx_runtime_is_nothing_to_tell(folder: Path) -> None:
    assert "note" not in predict(folder).stderr


def test_an_onnx_runtime_of_which_files_are_gone_is_told(folder: Path) -> None:
    (folder / "site" / "onnxruntime").mkdir()
    (folder / "site" / "onnxruntime" / "__init__.py").touch()
    end = predict(folder)
    assert end.returncode == 2
    assert "ONNX Runtime must be whole to run a model; its files are gone in part" in end.stderr
    assert "Traceback" not in end.stderr


@pytest.mark.parametrize("module", ["onnxruntime", "tensorflow"])
def test_a_32_bit_python_is_not_sent_to_pip_for_what_does_not_exist(module: str) -> None:
    told = missing(module, "cpu", "to run a model", 2**31 - 1)
    assert "does not exist for 32-bit systems such as this one" in told
    assert "64-bit Raspberry Pi OS" in told
    assert "pip" not in told
    assert "pip install " in missing(module, "cpu", "to run a model", 2**63 - 1)


THIRTY_TWO_BIT = """
import sys
sys.maxsize = 2**31 - 1
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in ('onnxruntime', 'tensorflow'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Finder())
from edgecnn.cli import main
main()
"""


@pytest.mark.parametrize("command", [("predict", "colors.onnx", "blue.png"), ("train", ".")])
def test_a_32_bit_system_is_told_in_one_line_whatever_is_typed(folder: Path, command: tuple[str, ...]) -> None:
    line = [sys.executable, "-c", THIRTY_TWO_BIT, *command]
    end = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    assert (end.returncode, end.stdout) == (2, "")
    assert end.stderr.endswith("install a 64-bit system, on a Raspberry Pi the 64-bit Raspberry Pi OS\n")
    assert end.stderr.count("\n") == 1


PEAK = """
import resource, sys
from edgecnn.decode import decode_file
decode_file('blue.png')
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode_file(sys.argv[1])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is counted in other units")
@pytest.mark.parametrize(("mode", "bytes_per_pixel"), [("RGB", 7), ("CMYK", 11)])
def test_a_photo_is_decoded_in_the_memory_that_the_training_counts_on(
    folder: Path, mode: str, bytes_per_pixel: int
) -> None:
    PILImage.new("RGB", (4000, 3000), "blue").convert(mode).save(folder / "photo.jpg")
    line = [sys.executable, "-c", PEAK, "photo.jpg"]
    end = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=True)
    assert int(end.stdout) < (bytes_per_pixel + 1) * 12_000_000  # Pillow's 4, ours 3, and 4 more where it converts


def test_all_16_bit_values_are_divided_exactly(folder: Path) -> None:
    values = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    PILImage.fromarray(values).save(folder / "grey.png")
    expected = (2 * values.astype(np.int64) + 257) // 514  # rounded; 257 is odd, so that no quotient is a half
    np.testing.assert_array_equal(decode_file(folder / "grey.png")[:, :, 0], expected)


def test_a_photo_of_41_megapixels_is_labelled(edgecnn: Edgecnn, folder: Path) -> None:
    PILImage.new("RGB", (7728, 5368), "blue").save(folder / "photo.jpg")
    done = edgecnn("predict", folder / "colors.onnx", folder / "photo.jpg", "--format", "csv")
    assert (done.code, ",blue," in done.out) == (0, True)


def test_a_photo_above_the_limit_is_refused_and_the_others_go_on(edgecnn: Edgecnn, folder: Path) -> None:
    PILImage.new("L", (10_000, 6_401)).save(folder / "large.png")
    done = edgecnn("predict", folder / "colors.onnx", folder / "large.png", folder / "blue.png", "--format", "csv")
    assert done.code == 1
    assert "larger than the limit of 64 megapixels: 10000×6401; make it smaller" in done.err
    assert ",blue," in done.out
