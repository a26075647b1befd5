"""Which file ships: candidates, the gate on test, and what is said of each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from shapes import images_of

start_keras("to test")

import keras  # noqa: E402  # started above
from edgecnn_training import checkpoint, loop  # noqa: E402
from edgecnn_training.export import gate  # noqa: E402
from edgecnn_training.export.candidates import Workshop  # noqa: E402
from edgecnn_training.export.convert import to_onnx  # noqa: E402
from edgecnn_training.export.material import of_run  # noqa: E402
from edgecnn_training.run import Run  # noqa: E402

from edgecnn import Classifier  # noqa: E402

FLOOR = Path(sys.prefix) / "onnxruntime-floor"


def test_every_candidate_gives_the_same_scores_with_the_oldest_supported_onnx_runtime(
    trained: Path, shapes: Path, tmp_path: Path
) -> None:
    if not FLOOR.is_dir():
        pytest.skip(f"needs the oldest ONNX Runtime in {FLOOR}; scripts/test puts it there")
    material = of_run(trained, None, "shapes")
    workshop = Workshop(tmp_path, material.identity, material.train, material.validation)
    exact = workshop.exact(to_onnx(material.model, material.identity.input, material.source.normalization))
    images = images_of(shapes)
    workshop.examine(images[:1], times=True)
    candidates = [exact, *workshop.others(exact, here=True)]
    assert len(candidates) in (10, 11)  # by their times `int8 fast` may be one of the others
    np.save(tmp_path / "images.npy", images)
    program = (
        "import sys, numpy as np\nfrom edgecnn import Classifier\nimages = np.load(sys.argv[1])\n"
        "for path in sys.argv[2:]:\n    np.save(path + '.npy', Classifier(path).scores(images))\n"
        "import onnxruntime; print(onnxruntime.__version__)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "images.npy"), *(str(c.path) for c in candidates)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(FLOOR)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.24")
    for candidate in candidates:
        here = Classifier(candidate.path).scores(images)
        assert abs(here - np.load(f"{candidate.path}.npy")).max() <= 1e-5, candidate.name


@pytest.fixture
def lossy(trained: Path, tmp_path: Path) -> Path:
    """A run whose network int8 cannot hold: one channel is a million times the others.

    A dense layer's weights are scaled so that the range of its input, calibrated on all channels, leaves nothing of the
    small ones. The network itself computes what it did.
    """
    path = tmp_path / "lossy"
    shutil.copytree(trained, path)
    run = Run.open(path)
    model = checkpoint.best(run.checkpoints).load()
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    dense = model.layers[-1]
    gamma, beta, mean, variance = convolutions[-1].get_weights()
    kernel, bias = dense.get_weights()
    factor = np.ones(len(gamma), np.float32)
    factor[0] = 1e4
    convolutions[-1].set_weights([gamma * factor, beta * factor, mean, variance])
    dense.set_weights([kernel / factor[:, None], bias])
    loop.compile_model(model, run.info.recipe, 36)
    checkpoint.save(run.checkpoints, model, step=99, epoch=4, validation_top1=1.0)
    return path


def test_what_int8_cannot_hold_ships_in_float16_and_the_table_says_why(
    edgecnn: Edgecnn, lossy: Path, tmp_path: Path
) -> None:
    done = edgecnn("export", lossy, "-o", tmp_path / "m.onnx")
    assert done.code == 0
    rows = {line.strip("✓ ").split("  ")[0]: line for line in done.err.splitlines() if " KB " in line}
    assert len(rows) == 9
    assert all("points on validation" in row for name, row in rows.items() if name.startswith("int8"))
    assert "✓ float16" in done.err
    card = Classifier(tmp_path / "m.onnx").card
    assert card.precision == "float16"
    assert card.more["accuracy"]["loss"]["measured"] == 0  # type: ignore[index, call-overload]


def none_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "passes", lambda loss, max_drop, *, prove: False)


def test_auto_writes_float32_and_says_why_where_nothing_passes_on_test(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_passes(monkeypatch)
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--max-drop", "6")
    assert done.code == 0
    assert "✓ float32" in done.err
    assert "more than --max-drop 6" in done.err
    assert Classifier(tmp_path / "m.onnx").card.precision == "float32"
    assert json.loads(done.out)["loss"] is None


def test_an_explicit_int8_that_loses_too_much_is_exit_7_and_leaves_the_older_file(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_passes(monkeypatch)
    (tmp_path / "m.onnx").write_bytes(b"the older file")
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--quantize", "int8")
    assert done.code == 7
    assert "nothing was written" in done.err
    assert (tmp_path / "m.onnx").read_bytes() == b"the older file"


def test_a_proof_that_the_test_pictures_cannot_give_ends_in_float32_and_says_how_many_it_takes(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path
) -> None:
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--prove", "--max-drop", "6")
    assert done.code == 0
    assert "✓ float32" in done.err
    assert "note: to prove --max-drop 6 takes" in done.err
    assert "there are 18: hold out more, or raise --max-drop" in done.err


def test_float16_keeps_its_weights_in_half_the_bytes(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    for precision in ("none", "float16"):
        options = ("-o", tmp_path / f"{precision}.onnx", "--quantize", precision, "--max-drop", "6")
        assert edgecnn("export", trained, *options).code == 0
    small, large = Classifier(tmp_path / "float16.onnx"), tmp_path / "none.onnx"
    assert small.card.precision == "float16"
    weights = 4 * int(small.card.more["parameters"])  # type: ignore[call-overload]
    assert large.stat().st_size - small.path.stat().st_size > 0.4 * weights
    onnx.checker.check_model(onnx.load(str(small.path)), full_check=True)
