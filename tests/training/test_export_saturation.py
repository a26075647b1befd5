"""Weights of 8 bits on a CPU without VNNI: their products overflow, and the file refuses to work there.

Decision 0009 has the measurements. The CPU is an emulated Haswell, which has AVX2 and nothing newer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from edgecnn_training.backend import start_keras

start_keras("to test")

from edgecnn_training.export import container, gate, probes  # noqa: E402  # started above
from edgecnn_training.export.candidates import Workshop  # noqa: E402
from edgecnn_training.export.claims import Shipped, of  # noqa: E402
from edgecnn_training.export.convert import to_onnx  # noqa: E402
from edgecnn_training.export.gate import Standing  # noqa: E402
from edgecnn_training.export.material import of_run  # noqa: E402
from edgecnn_training.export.quantize import Scheme  # noqa: E402

from edgecnn import Classifier  # noqa: E402
from edgecnn.classifier import _read_card  # noqa: E402
from edgecnn.errors import ModelError  # noqa: E402
from edgecnn.frames import Image  # noqa: E402
from edgecnn.prediction import Scores  # noqa: E402

SCHEMES = (Scheme("int8"), Scheme("int8 full", full_range=True))


@pytest.fixture(scope="module")
def files(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An int8 file with weights of 7 bits and one with all 8, each with its card and self-test."""
    folder = tmp_path_factory.mktemp("saturation")
    material = of_run(trained, None, "shapes")
    workshop = Workshop(folder, material.identity, material.train, material.validation)
    exact = workshop.exact(to_onnx(material.model, material.identity.input, material.source.normalization))
    before = exact.scores(material.held_out)
    result = {}
    for scheme in SCHEMES:
        made = workshop.quantized(scheme)
        test = probes.self_test(exactly(made.path), material.identity.input)
        shipped = Shipped(made, made.scores(material.held_out), before, test, None)
        path = folder / f"shipped {scheme.name}.onnx"
        container.write(path, made.graph, material.identity, made.precision, of(shipped, material))
        result[scheme.name] = path
    return result


def exactly(path: Path) -> Callable[[Image], Scores]:
    """What the file says where products of 8 bits do not overflow, whatever CPU this is: nothing is fused to int8."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pictures: np.asarray(session.run(None, {name: pictures})[0])


def without_vnni(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``edgecnn`` on a CPU without VNNI."""
    emulator = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if emulator is None or os.uname().machine != "x86_64":
        pytest.skip("needs qemu-x86_64 on an x86-64 machine (Debian: apt install qemu-user-static)")
    command = [emulator, "-cpu", "Haswell", sys.executable, "-m", "edgecnn", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_file_with_weights_of_eight_bits_refuses_a_cpu_that_computes_it_wrongly(
    files: dict[str, Path], shapes: Path
) -> None:
    done = without_vnni("predict", str(files["int8 full"]), str(next((shapes / "disc").iterdir())))
    assert (done.returncode, done.stdout) == (4, "")
    assert "on cpu (x86_64) disagrees with the card about" in done.stderr
    assert "all 8 bits, whose products overflow on an x86 processor without VNNI" in done.stderr
    assert "export it again with --target any" in done.stderr


def test_with_weights_of_seven_bits_the_self_test_passes_there(files: dict[str, Path], shapes: Path) -> None:
    done = without_vnni("predict", str(files["int8"]), str(next((shapes / "disc").iterdir())))
    assert done.returncode == 0, done.stderr


def test_a_file_for_one_machine_names_the_target_that_is_for_all(files: dict[str, Path]) -> None:
    card = _read_card(files["int8 full"].read_bytes())  # without the self-test, which this CPU may fail
    assert card.more["quantization"]["weight_bits"] == 8  # type: ignore[index, call-overload]
    from edgecnn.self_test import SelfTest, check

    test = SelfTest.from_card(card)
    assert test is not None
    with Classifier(files["int8"]) as model:
        assert model.card.more["quantization"]["weight_bits"] == 7  # type: ignore[index, call-overload]
        with pytest.raises(ModelError, match="again with --target any"):
            check(test, card, lambda image: 1 - model.scores(image), "a broken machine")


@pytest.mark.parametrize("target", [name for name in gate.TARGETS if name != "host"])
@pytest.mark.parametrize("name", ["int8 full", "int8 fast", "int8 dense 4", "int8 dense 8"])
def test_what_is_for_this_machine_only_is_not_chosen_for_another(target: str, name: str) -> None:
    exact, other = Standing("float32", 300_000, 0.9, 0.0, 1.0), Standing(name, 10_000, 0.99, -0.09, 0.1)
    assert gate.order(exact, [other], target, 0.5) == []
    assert gate.why_not(other, exact, target, 0.5) == f"not for --target {target}"
    assert gate.order(exact, [other], "host", 0.5) == [other]
