"""``edgecnn doctor`` and the devices: what is found, and that each finding says what to do."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from command import Edgecnn

from edgecnn import Classifier, board, devices, doctor, session
from edgecnn.board import Board
from edgecnn.doctor import examine
from edgecnn.errors import DeviceError, UsageError, how_to_install


def findings(out: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in out.splitlines()]


def test_it_looks_at_everything_and_tries_a_model(edgecnn: Edgecnn, colors: Path) -> None:
    done = edgecnn("doctor", colors)
    found = findings(done.out)
    assert {one["type"] for one in found} == {"finding"}
    assert {one["what"] for one in found} >= {"system", "packages", "processor", "device", "disk", "model"}
    assert done.code == any(one["state"] == "problem" for one in found)
    (model,) = (one["text"] for one in found if one["what"] == "model")
    assert "colors, float32, on cpu: loads in" in model
    assert "ms a picture (median of 30)" in model
    assert any(one["text"] == "cpu starts" for one in found)
    assert all(one["remedy"] for one in found if one["state"] != "ok" and one["what"] != "model")
    shown = edgecnn("doctor", terminal=True).out
    assert "✓ device     cpu starts" in shown
    assert "→ " in shown


def test_a_model_that_is_refused_is_a_problem_among_the_others(edgecnn: Edgecnn, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    done = edgecnn("doctor", tmp_path / "bad.onnx")
    assert done.code == 1
    (model,) = (one for one in findings(done.out) if one["what"] == "model")
    assert model["state"] == "problem"
    assert "not an ONNX file" in model["text"]


def test_both_wheels_and_an_old_one_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"onnxruntime": "1.31.0", "onnxruntime-gpu": "1.21.0"}
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions.get(name) or real(name))
    found = [one for one in examine() if one.what == "packages"]
    assert {one.state for one in found} == {"problem"}
    assert any("onnxruntime-gpu 1.21.0 is too old" in one.text for one in found)
    assert any("overwrite each other's files" in one.text and "pip uninstall" in one.remedy for one in found)


def test_without_onnx_runtime_the_rest_is_looked_at(edgecnn: Edgecnn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = edgecnn("doctor")
    assert done.code == 1
    problems = [one for one in findings(done.out) if one["state"] == "problem"]
    assert all(how_to_install("cpu") in one["remedy"] for one in problems)
    assert any(one["what"] == "disk" for one in findings(done.out))


def test_a_system_of_32_bits_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "maxsize", 2**31 - 1)
    found = next(one for one in examine() if one.what == "system")
    assert found.state == "problem"
    assert "64-bit Raspberry Pi OS" in found.remedy


def test_a_pi_without_its_camera_program_and_with_a_weak_supply(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = doctor._text
    model = "Raspberry Pi 5 Model B Rev 1.0"
    monkeypatch.setattr(doctor, "_text", lambda path: model if "device-tree" in path else real(path))
    monkeypatch.setattr(board, "_THERMAL", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(Board, "read", classmethod(lambda cls: Board(82.0, 0x50005)))
    found = list(examine())
    assert found[0].text.startswith(model)
    assert ("rpicam-vid is not installed", "sudo apt install rpicam-apps-lite") in [(o.text, o.remedy) for o in found]
    (state,) = (one for one in found if one.what == "board")
    assert state.state == "problem"
    assert "under-voltage" in state.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    monkeypatch.chdir(tmp_path / "closed")
    assert any(one.what == "disk" and one.state == "problem" for one in examine())


def test_what_fails_to_be_looked_at_does_not_end_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Board:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Board, "read", broken)
    found = list(examine())
    assert any("could not be looked at: ZeroDivisionError: a bug" in one.text for one in found)
    assert found[-1].what == "disk"


@pytest.mark.parametrize(
    ("device", "provider"),
    [
        ("cuda", "CUDAExecutionProvider"),
        ("provider:CoreML", "CoreMLExecutionProvider"),
        ("provider:CoreMLExecutionProvider", "CoreMLExecutionProvider"),
    ],
)
def test_a_device_has_a_provider(device: str, provider: str) -> None:
    assert devices.spec_of(device).providers[0] == provider


@pytest.mark.parametrize("device", ["gpu", "provider:", "provider:x y", "CUDA", ""])
def test_another_name_is_refused(device: str) -> None:
    with pytest.raises(UsageError, match="device must be one of auto, cpu, cuda, tensorrt, openvino, provider:NAME"):
        devices.spec_of(device)


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("… with error: libcublasLt.so.13: cannot open shared object file: No such", "libcublasLt.so.13 is missing"),
        ("Please install TensorRT libraries as mentioned", "the libraries of TensorRT are missing"),
        (
            "CUDA failure 35: CUDA driver version is insufficient",
            "CUDA failure 35: CUDA driver version is insufficient",
        ),
        ("", "its libraries or the hardware are missing"),
    ],
)
def test_the_reason_is_taken_from_the_log(log: str, reason: str) -> None:
    assert devices.reason(log) == reason


class Runtime(ModuleType):
    """An ONNX Runtime with providers that do as they are told, over the real one's CPU."""

    def __init__(self, offered: list[str], starts: set[str], says: str = "") -> None:
        import onnxruntime

        super().__init__("onnxruntime")
        self._real, self._offered, self._starts, self._says = onnxruntime, offered, starts, says
        self.__version__, self.__path__ = onnxruntime.__version__, []
        self.SessionOptions = onnxruntime.SessionOptions
        self.set_default_logger_severity = lambda level: None

    def get_available_providers(self) -> list[str]:
        return [*self._offered, "AzureExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(self, model: bytes, options: object, providers: list[str]) -> object:  # noqa: N802
        first = providers[0]
        real = self._real.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        if first not in {*self._starts, "CPUExecutionProvider"}:
            os.write(2, self._says.encode())
            print("*** EP Error ***")  # noqa: T201  # as the real one does
            return real
        names = ("get_inputs", "get_outputs", "run")
        return SimpleNamespace(get_providers=lambda: [first], **{name: getattr(real, name) for name in names})


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    says = "Failed to load library x.so with error: libcudnn.so.9: cannot open shared object file: No such file"
    runtime = Runtime(["CUDAExecutionProvider", "TensorrtExecutionProvider"], {"TensorrtExecutionProvider"}, says)
    monkeypatch.setattr(session, "load_onnxruntime", lambda: runtime)


@pytest.mark.usefixtures("with_gpu")
def test_auto_says_what_it_took_and_why_and_a_named_device_that_does_not_start_is_an_error(
    edgecnn: Edgecnn, colors: Path, photos: Path
) -> None:
    done = edgecnn("predict", colors, photos)
    assert done.code == 0, done.err
    assert "on cpu (cuda did not start: libcudnn.so.9 is missing)" in done.err
    assert "EP Error" not in done.out + done.err
    assert {json.loads(line)["device"] for line in done.out.splitlines()} == {"cpu"}
    named = edgecnn("predict", colors, photos, "--device", "cuda")
    assert (named.code, named.out) == (5, "")
    assert (
        "device cuda did not start (libcudnn.so.9 is missing): pip install 'onnxruntime-gpu[cuda,cudnn]'" in named.err
    )
    started = edgecnn("predict", colors, photos, "--device", "tensorrt")
    assert started.code == 0
    assert {json.loads(line)["device"] for line in started.out.splitlines()} == {"tensorrt"}
    assert "on tensorrt\n" in started.err


def test_a_provider_that_is_not_there_is_told_with_those_that_are(colors: Path) -> None:
    with pytest.raises(DeviceError, match=r"provider:CoreML did not start \(ONNX Runtime .* here offers .*CPU\)"):
        Classifier(colors, device="provider:CoreML")
    assert Classifier(colors, device="provider:CPU").device == "provider:CPU"


def test_a_plug_in_whose_hardware_is_not_here_says_so(colors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = ModuleType("onnxruntime_ep_openvino")
    plugin.get_library_path = lambda: "x.so"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_openvino", plugin)
    monkeypatch.setattr(session, "_registered", set())
    runtime = Runtime([], set())
    runtime.get_ep_devices = lambda: [SimpleNamespace(ep_name="CPUExecutionProvider")]  # type: ignore[attr-defined]
    runtime.register_execution_provider_library = lambda name, path: None  # type: ignore[attr-defined]
    monkeypatch.setattr(session, "load_onnxruntime", lambda: runtime)
    with pytest.raises(DeviceError, match=r"openvino did not start .its plug-in finds no hardware of its kind here"):
        Classifier(colors, device="openvino")


def test_the_smallest_network_is_one() -> None:
    started = session.open_session(doctor._TINY, device="cpu")
    (same,) = started.run({"x": np.array([3.5], np.float32)})
    assert same == [3.5]
