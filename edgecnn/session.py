"""The only place that imports ONNX Runtime: from the bytes of a model to something that computes.

ONNX Runtime falls back to the CPU without a word where a GPU does not start, sends telemetry since 1.29 unless told
otherwise before it is imported, and spins on every core while idle. None of that happens here.
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DeviceError, MissingExtraError, ModelError, UsageError, needs
from edgecnn.scan.contents import TensorInfo

if TYPE_CHECKING:
    import onnxruntime

Device = Literal["auto", "cpu", "cuda"]
DEVICES: tuple[str, ...] = get_args(Device)

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_UNINSTALL = "in the checkout of edgecnn type: pip uninstall -y onnxruntime onnxruntime-gpu && pip install -e"
_CUDA_ADVICE = f"{_UNINSTALL} '.[gpu]', and install the CUDA and cuDNN it asks for; or use --device cpu"
_ONE_WHEEL = f"{_UNINSTALL} '.[cpu]' (or '.[gpu]')"
_SILENT = 4  # ONNX Runtime's log severity "fatal": what matters is raised, and told in our words


class Session:
    """A loaded model on a device that really started. Thread-safe; `close` is idempotent.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``: where it computes, whatever was asked for.
        described: What computes, in words: ONNX Runtime's version, the device and the processor.
        inputs: What it takes.
        outputs: What it gives.
    """

    def __init__(self, session: onnxruntime.InferenceSession, device: str) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self.device = device
        self.described = f"ONNX Runtime {load_onnxruntime().__version__} on {device} ({platform.machine()})"
        self.inputs = tuple(_info(node) for node in session.get_inputs())
        self.outputs = tuple(_info(node) for node in session.get_outputs())

    def run(
        self, feeds: Mapping[str, npt.NDArray[np.generic]], outputs: Sequence[str] | None = None
    ) -> list[npt.NDArray[np.generic]]:
        """Compute outputs from the inputs by name.

        Args:
            feeds: The inputs.
            outputs: Which outputs, in which order; None for all of them. All are computed in any case.

        Raises:
            ModelError: ONNX Runtime refuses the inputs, or fails.
            UsageError: The session is closed.
        """
        if self._session is None:
            raise UsageError("a closed model cannot predict; open it again")
        try:
            return list(self._session.run(outputs, dict(feeds)))
        except _failures() as error:
            raise ModelError(f"ONNX Runtime failed to compute: {_one_line(error)}") from error

    def close(self) -> None:
        """Give back the memory of the model."""
        self._session = None


def open_session(
    model: bytes, *, device: str = "auto", threads: int | None = None, min_onnxruntime: str = "0"
) -> Session:
    """Load a model that `prescan.check` has passed.

    Args:
        model: The whole file. The bytes that were checked are the bytes that are loaded.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``: CUDA where it really starts, else the CPU.
        threads: Threads for one inference; 1 by default, which wastes nothing on small networks.
        min_onnxruntime: The oldest version that computes this model rightly, as its card says.

    Raises:
        UsageError: `device` or `threads` has no meaning.
        MissingExtraError: ONNX Runtime is not installed.
        DeviceError: A device asked for by name did not start.
        ModelError: ONNX Runtime refuses the model, or is too old for it.
    """
    if device not in DEVICES:
        raise UsageError(f"device must be one of {', '.join(DEVICES)}; received {device!r}")
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be 1 or more; received {threads}")
    ort = load_onnxruntime()
    if _version(ort.__version__) < _version(min_onnxruntime):
        raise ModelError(
            f"the model needs ONNX Runtime {min_onnxruntime} or newer; {ort.__version__} is installed: "
            f"pip install 'onnxruntime>={min_onnxruntime}'"
        )
    if device != "cpu":
        session = _start(ort, model, "cuda", threads or 1)
        if session is not None:
            return Session(session, "cuda")
        if device == "cuda":
            raise DeviceError(f"device cuda did not start ({_why_no_cuda(ort)}): {_CUDA_ADVICE}")
    session = _start(ort, model, "cpu", threads or 1)
    if session is None:
        raise DeviceError(f"device cpu did not start; ONNX Runtime offers {', '.join(ort.get_available_providers())}")
    return Session(session, "cpu")


def load_onnxruntime() -> ModuleType:
    """ONNX Runtime, imported with telemetry off and its log silent.

    Warns:
        UserWarning: Both of its packages are installed.

    Raises:
        MissingExtraError: It is not installed, or only in part; says how to install it, or that this machine cannot.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    ort = needs("onnxruntime", "cpu", "to run a model")
    _check_wheels(ort)
    ort.set_default_logger_severity(_SILENT)
    return ort


def _check_wheels(ort: ModuleType) -> None:
    """Tell of the packages ``onnxruntime`` and ``onnxruntime-gpu`` in one another's way.

    Both bring the module ``onnxruntime``. The one installed last works, whole; uninstalling either takes the files of
    both, and pip believes the other one to be there still.
    """
    if not hasattr(ort, "InferenceSession"):
        raise MissingExtraError(
            "ONNX Runtime must be whole to run a model; its files are gone in part, as they are once onnxruntime and "
            f"onnxruntime-gpu were both installed and one was uninstalled; {_ONE_WHEEL}"
        )
    beside: list[str] = []
    with contextlib.suppress(OSError):  # no such folder where a program was packed into one file
        beside = os.listdir(os.path.dirname(ort.__path__[0]))
    if {"onnxruntime", "onnxruntime_gpu"} <= {name.partition("-")[0] for name in beside if name.endswith(".dist-info")}:
        warnings.warn(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; only the one "
            f"installed last is used. Keep one: {_ONE_WHEEL}",
            stacklevel=2,
        )


def _start(ort: ModuleType, model: bytes, device: str, threads: int) -> onnxruntime.InferenceSession | None:
    """A session on `device`, or None where that device did not start."""
    provider = _PROVIDERS[device]
    if provider not in ort.get_available_providers():
        return None
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints "EP Error" there before it falls back
            if device == "cuda" and hasattr(ort, "preload_dlls"):
                ort.preload_dlls()
            session = ort.InferenceSession(model, options, providers=[provider])
    except _failures() as error:
        if device != "cpu":
            return None  # the CPU, or the caller who named the device, gets to say why
        raise ModelError(f"ONNX Runtime refuses the model: {_one_line(error)}; export the model again") from error
    return session if session.get_providers()[0] == provider else None


def _why_no_cuda(ort: ModuleType) -> str:
    if _PROVIDERS["cuda"] not in ort.get_available_providers():
        return f"ONNX Runtime {ort.__version__} is installed without it"
    return f"ONNX Runtime {ort.__version__} has it, but its CUDA or cuDNN libraries or the GPU are missing"


def _failures() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; its own classes share no base but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (getattr(state, name) for name in dir(state))
    return (RuntimeError, ValueError, *(c for c in own if isinstance(c, type) and issubclass(c, Exception)))


def _info(node: onnxruntime.NodeArg) -> TensorInfo:
    """ONNX Runtime calls float32 ``tensor(float)`` and float64 ``tensor(double)``; the rest as NumPy does."""
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
    return TensorInfo(node.name, dtype, tuple("?" if axis is None else axis for axis in node.shape or ()))


def _version(text: str) -> tuple[int, ...]:
    """``"1.24.0+cpu"`` → ``(1, 24)``: what is not a number is left out, patch releases do not count."""
    return tuple(int(part[:9]) for part in text.split(".")[:2] if part.isdecimal())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
