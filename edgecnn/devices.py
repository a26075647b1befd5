"""The devices that can be asked for by name, and why one does not start, in words.

ONNX Runtime falls back to the CPU without an error, and says why only in its log, which names files and not remedies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgecnn.errors import UsageError, how_to_install

AUTO = ("cuda", "cpu")
"""What ``auto`` tries, in this order; others are taken by name only."""

WHEELS = "onnxruntime onnxruntime-gpu"
"""The packages that overwrite one another's files."""

_GPU = "for an NVIDIA GPU, {gpu}"
_CUDA = "pip install 'onnxruntime-gpu[cuda,cudnn]' brings CUDA and cuDNN, the GPU's driver comes with the system"
_NAMED = re.compile(r"provider:([A-Za-z][A-Za-z0-9]{0,60})")
_SUFFIX = "ExecutionProvider"
_LIBRARY = re.compile(r"error: (\S+?): cannot open shared object file")


@dataclass(frozen=True, slots=True)
class Spec:
    """How a device is started.

    Attributes:
        name: As it is asked for.
        providers: Of ONNX Runtime; the first one must really start, the others compute what it cannot.
        plugin: The module that brings it, where it is not part of ONNX Runtime.
        lacking: What to do where ONNX Runtime was installed without it; ``{gpu}`` is how to install that for GPUs.
        advice: What to do where it does not start.
    """

    name: str
    providers: tuple[str, ...]
    plugin: str = ""
    lacking: str = ""
    advice: str = ""

    def remedy(self, *, there: bool) -> str:
        """What to do where it does not start, by whether ONNX Runtime here has it."""
        return self.advice if there else self.lacking.replace("{gpu}", how_to_install("gpu", remove=WHEELS))


KNOWN = {
    spec.name: spec
    for spec in (
        Spec("cpu", ("CPUExecutionProvider",)),
        Spec(
            "cuda",
            ("CUDAExecutionProvider",),
            lacking=f"{_GPU}; or use --device cpu",
            advice=f"{_CUDA}; or use --device cpu",
        ),
        Spec(
            "tensorrt",
            ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
            lacking=f"{_GPU}, and install TensorRT; or use --device cpu",
            advice=f"{_CUDA}; TensorRT is NVIDIA's own download; or use --device cuda",
        ),
        Spec(
            "openvino",
            ("OpenVINOExecutionProvider",),
            "onnxruntime_ep_openvino",
            lacking="for an Intel processor type: pip install onnxruntime-ep-openvino; or use --device cpu",
            advice="use --device cpu",
        ),
    )
}


def spec_of(device: str) -> Spec:
    """The device of a name; ``auto`` is none.

    Raises:
        UsageError: There is none of that name.
    """
    if device in KNOWN:
        return KNOWN[device]
    found = _NAMED.fullmatch(device)
    if found is None:
        raise UsageError(f"device must be one of auto, {', '.join(KNOWN)}, provider:NAME; received {device!r}")
    name = found[1] if found[1].endswith(_SUFFIX) else found[1] + _SUFFIX
    other = "name one that ONNX Runtime here offers, or use --device cpu"
    return Spec(device, (name,), lacking=other, advice=other)


def reason(log: str) -> str:
    """Why a provider did not start, from what ONNX Runtime wrote meanwhile."""
    library = _LIBRARY.search(log)
    if library is not None:
        return f"{library[1].rpartition('/')[2]} is missing"
    if "TensorRT libraries" in log:
        return "the libraries of TensorRT are missing"
    lines = [line.strip() for line in log.splitlines() if line.strip().strip("*")]
    known = next((line for line in lines if "CUDA failure" in line or "no CUDA-capable device" in line), "")
    return known[:200] or "its libraries or the hardware are missing"
