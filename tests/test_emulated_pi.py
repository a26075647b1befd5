"""edgecnn on an emulated Raspberry Pi: the same answers from arm64 programs, wheels and kernels.

Needs what ``scripts/pi true`` fetches, as .ci/run does; ``--full`` also ``scripts/pi --release trixie true``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_bytes
import onnx_networks
import pytest
from onnx_bytes import UINT8, value_info
from pi import BOARDS, CHECKOUT, on_pi, skip_without_pi
from PIL import Image

MODELS = sorted((CHECKOUT / "edgecnn/models").glob("*.onnx"))
RELEASES = ["bookworm", "trixie"]
ALL_BOARDS = [board if board == "4" else pytest.param(board, marks=pytest.mark.full) for board in BOARDS]

# Writes all outputs of a model for 50 pictures from seeds, and ends with 1 where no quantised kernel computes them.
OUTPUTS = """
import sys
import numpy as np
from edgecnn.card import InputSpec
from edgecnn.self_test import picture_of
from edgecnn.session import load_onnxruntime

model, folder = sys.argv[1:]
ort = load_onnxruntime()
options = ort.SessionOptions()
options.optimized_model_filepath = folder + "/optimized.onnx"
options.log_severity_level = 3
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
spec = InputSpec(height=8, width=8, channels=3)
pictures = np.stack([picture_of(seed, spec) for seed in range(50)])
np.savez(folder + "/outputs.npz", **dict(zip(["scores", "features"], session.run(None, {"image": pictures}))))
sys.exit(b"QLinearConv" not in open(folder + "/optimized.onnx", "rb").read())
"""

# The scores of a card's file for 20 pictures from seeds.
SCORES = """
import json, sys
from edgecnn import Classifier
from edgecnn.self_test import picture_of

with Classifier(sys.argv[1]) as model:
    print(json.dumps([model.predict(picture_of(seed, model.card.input)).scores.tolist() for seed in range(20)]))
"""


@pytest.fixture
def colors(tmp_path: Path) -> Path:
    """A model that tells red, green and blue apart by the mean colour."""
    path = tmp_path / "colors.onnx"
    path.write_bytes(onnx_bytes.color_model())
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a blue photo.png"
    Image.new("RGB", (30, 20), "blue").save(path)
    return path


@pytest.fixture(scope="module")
def _pi() -> None:
    skip_without_pi()


def here(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run this machine's Python."""
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("_pi")
def test_a_picture_is_labelled(colors: Path, photo: Path) -> None:
    end = on_pi("edgecnn", "predict", colors, photo)
    assert end.returncode == 0, end.stderr
    lines = [json.loads(line) for line in end.stdout.splitlines()]
    assert [line["label"] for line in lines if line["type"] == "prediction"] == ["blue"]


@pytest.mark.usefixtures("_pi")
def test_a_file_tells_of_itself_what_it_tells_here(colors: Path) -> None:
    there = on_pi("edgecnn", "inspect", colors, "--json")
    assert there.returncode == 0, there.stderr
    assert there.stdout == here("-m", "edgecnn", "inspect", colors, "--json").stdout


@pytest.mark.usefixtures("_pi")
def test_the_doctor_finds_an_arm_processor_and_nothing_wrong() -> None:
    end = on_pi("edgecnn", "doctor")
    assert end.returncode == 0, end.stderr
    found = [json.loads(line) for line in end.stdout.splitlines()]
    assert next(line["text"] for line in found if line["what"] == "processor").startswith("aarch64, ")
    assert {line["state"] for line in found if line["what"] in ("system", "packages", "device")} == {"ok"}


@pytest.mark.usefixtures("_pi")
@pytest.mark.parametrize("board", ALL_BOARDS)
def test_int8_kernels_compute_the_same_bits_as_on_x86(board: str, tmp_path: Path) -> None:
    """U8S8 with weights of 7 bits, as `edgecnn export` makes; integers, so there is nothing to be rounded otherwise."""
    graph = onnx_networks.quantized() + value_info(12, "q1", UINT8, ("N", 4, 4, 4))
    (tmp_path / "model.onnx").write_bytes(onnx_bytes.model(graph))
    found = []
    for run, folder in (
        (here, tmp_path / "x86"),
        (lambda *words: on_pi("python", *words, board=board), tmp_path / "arm"),
    ):
        folder.mkdir()
        end = run("-c", OUTPUTS, tmp_path / "model.onnx", folder)
        assert end.returncode == 0, end.stderr
        found.append(np.load(folder / "outputs.npz"))
    x86, arm = found
    assert len(np.unique(x86["features"])) > 50  # not all saturated
    np.testing.assert_array_equal(arm["features"], x86["features"])
    np.testing.assert_allclose(arm["scores"], x86["scores"], rtol=0, atol=1e-6)  # the head is in float32


@pytest.mark.full
@pytest.mark.usefixtures("_pi")
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_a_bundled_model_answers_as_on_x86(model: Path, board: str, photo: Path) -> None:
    for command in (("inspect", model), ("doctor", model), ("predict", model, photo)):  # each runs its self-test
        end = on_pi("edgecnn", *command, board=board)
        assert end.returncode == 0, end.stderr
    scores: list[npt.NDArray[np.float64]] = []
    for end in (here("-c", SCORES, model), on_pi("python", "-c", SCORES, model, board=board)):
        assert end.returncode == 0, end.stderr
        scores.append(np.array(json.loads(end.stdout)))
    np.testing.assert_allclose(scores[1], scores[0], rtol=0, atol=0.01)  # the card's tolerance


@pytest.mark.full
@pytest.mark.parametrize("release", RELEASES)
def test_the_tests_of_the_runtime_pass(release: str) -> None:
    skip_without_pi(release)
    with tempfile.TemporaryDirectory() as short:  # the path of a socket ends at 108 bytes
        words = ["pytest", "tests/runtime", "-q", "-o", f"cache_dir={short}/cache", f"--basetemp={short}/guest"]
        end = on_pi(*words, "-n", "2", "--dist=worksteal", release=release, timeout_s=3 * 3600)
        if end.returncode == 1:  # emulated, what waits for a clock may be late beside others; alone it shall not be
            print(end.stdout)  # noqa: T201
            end = on_pi(*words, "--last-failed", release=release, timeout_s=3600)
    assert end.returncode == 0, end.stdout + end.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of the checkout, built from a copy."""
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns(
        ".git", ".venv*", ".*_cache", "__pycache__", "*.egg-info", "build", "dist", "runs"
    )
    shutil.copytree(CHECKOUT, folder / "source", ignore=unwanted)
    end = here("-m", "build", "--no-isolation", "--wheel", "--outdir", folder, folder / "source")
    assert end.returncode == 0, end.stdout + end.stderr
    return next(folder.glob("*.whl"))


# As a user of a Pi types it.
INSTALL = """
set -eu
cd "$1"
python3 -m venv venv
. venv/bin/activate
pip install --quiet "$2"
edgecnn --version
edgecnn doctor | grep -q '"what": "device", "state": "ok"'
python -c 'import edgecnn; print(edgecnn.__file__)'
edgecnn predict "$3" "$4"
"""


@pytest.mark.full
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("extras", ["cpu", "cpu,video"])
def test_pip_installs_the_wheel_in_a_fresh_environment(
    release: str, extras: str, wheel: Path, colors: Path, photo: Path, tmp_path: Path
) -> None:
    skip_without_pi(release)
    words = ["bash", "-c", INSTALL, "bash", tmp_path, f"{wheel}[{extras}]", colors, photo]
    end = on_pi(*words, release=release, timeout_s=1800)
    assert end.returncode == 0, end.stdout + end.stderr
    version, place, prediction, *_ = end.stdout.splitlines()
    assert version.startswith("edgecnn ")
    assert place.startswith(f"{tmp_path}/venv/lib/")  # not the checkout's
    assert json.loads(prediction)["label"] == "blue"
