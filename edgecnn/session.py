"""The only place that imports ONNX Runtime: from the bytes of a model to something that computes.

ONNX Runtime falls back to the CPU without a word where a GPU does not start, sends telemetry since 1.29 unless told
otherwise before it is imported, and spins on every core while idle. None of that happens here.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from edgecnn import devices
from edgecnn.devices import Spec
from edgecnn.errors import DeviceError, MissingExtraError, ModelError, UsageError, how_to_install, needs
from edgecnn.scan.contents import TensorInfo

if TYPE_CHECKING:
    import onnxruntime

_NO_GPU = "this ONNX Runtime has no CUDA"
_SILENT, _ERRORS = 4, 3  # ONNX Runtime's log severities: what matters is raised, and told in our words
_registered: set[str] = set()  # plug-ins, which ONNX Runtime takes once in a process


class Session:
    """A loaded model on a device that really started. Thread-safe; `close` is idempotent.

    Attributes:
        device: Where it really computes, as it can be asked for: ``"cpu"``, ``"cuda"`` …
        why: Where ``auto`` was asked for, why it is not what is tried before; else empty.
        described: What computes, in words: ONNX Runtime's version, the device and the processor.
        inputs: What it takes.
        outputs: What it gives.
    """

    def __init__(self, session: onnxruntime.InferenceSession, device: str, why: str = "") -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self.device, self.why = device, why
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
        device: ``"cpu"``, ``"cuda"``, ``"tensorrt"``, ``"openvino"``, ``"provider:NAME"`` with a provider's name, or
            ``"auto"``: CUDA where it really starts, else the CPU.
        threads: Threads for one inference; 1 by default, which wastes nothing on small networks.
        min_onnxruntime: The oldest version that computes this model rightly, as its card says.

    Raises:
        UsageError: `device` or `threads` has no meaning.
        MissingExtraError: ONNX Runtime is not installed.
        DeviceError: A device asked for by name did not start.
        ModelError: ONNX Runtime refuses the model, or is too old for it.
    """
    wanted = [devices.KNOWN[name] for name in devices.AUTO] if device == "auto" else [devices.spec_of(device)]
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be 1 or more; received {threads}")
    ort = load_onnxruntime()
    if _version(ort.__version__) < _version(min_onnxruntime):
        raise ModelError(
            f"the model needs ONNX Runtime {min_onnxruntime} or newer; {ort.__version__} is installed: "
            f"pip install 'onnxruntime>={min_onnxruntime}'"
        )
    skipped: list[str] = []
    for spec in wanted:
        session, why = _start(ort, model, spec, threads or 1)
        if session is not None:
            return Session(session, spec.name, "; ".join(skipped) if device == "auto" else "")
        if device != "auto":
            raise DeviceError(f"device {device} did not start ({why}): {spec.remedy(there=_has(ort, spec))}")
        skipped.append(f"{spec.name} did not start: {why}" if _has(ort, spec) else _NO_GPU)
    raise DeviceError(f"device cpu did not start; ONNX Runtime offers {', '.join(_offered(ort))}")


def what_starts(model: bytes) -> dict[str, str]:
    """Which devices really start here: for each that is known ``""``, or why it does not.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ModelError: It refuses the model.
    """
    ort, found = load_onnxruntime(), dict[str, str]()
    for name, spec in devices.KNOWN.items():
        session, why = _start(ort, model, spec, 1)
        found[name] = "" if session is not None else f"{why}: {spec.remedy(there=_has(ort, spec))}"
    return found


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


def _one_wheel() -> str:
    return f"{how_to_install('cpu', remove=devices.WHEELS)} (or gpu in place of cpu)"


def _check_wheels(ort: ModuleType) -> None:
    """Tell of the packages ``onnxruntime`` and ``onnxruntime-gpu`` in one another's way.

    Both bring the module ``onnxruntime``. The one installed last works, whole; uninstalling either takes the files of
    both, and pip believes the other one to be there still.
    """
    if not hasattr(ort, "InferenceSession"):
        raise MissingExtraError(
            "ONNX Runtime must be whole to run a model; its files are gone in part, as they are once onnxruntime and "
            f"onnxruntime-gpu were both installed and one was uninstalled; {_one_wheel()}"
        )
    beside: list[str] = []
    with contextlib.suppress(OSError):  # no such folder where a program was packed into one file
        beside = os.listdir(os.path.dirname(ort.__path__[0]))
    if {"onnxruntime", "onnxruntime_gpu"} <= {name.partition("-")[0] for name in beside if name.endswith(".dist-info")}:
        warnings.warn(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; only the one "
            f"installed last is used. Keep one: {_one_wheel()}",
            stacklevel=2,
        )


def _start(ort: ModuleType, model: bytes, spec: Spec, threads: int) -> tuple[onnxruntime.InferenceSession | None, str]:
    """A session on a device, or None and why it did not start."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if spec.name == "cpu":
        return _cpu(ort, model, options), ""
    found = [device for device in _plugged(ort, spec) if device.ep_name == spec.providers[0]]
    if not found and spec.plugin in _registered:
        return None, "its plug-in finds no hardware of its kind here"
    if not found and spec.providers[0] not in _offered(ort):
        return None, f"ONNX Runtime {ort.__version__} here offers {', '.join(map(_short, _offered(ort)))}"
    with _heard(ort) as log:
        try:
            if spec.name in ("cuda", "tensorrt") and hasattr(ort, "preload_dlls"):
                ort.preload_dlls()
            if found:
                options.add_provider_for_devices(found, {})
                session = ort.InferenceSession(model, options)
            else:
                session = ort.InferenceSession(model, options, providers=list(spec.providers))
        except _failures() as error:
            return None, devices.reason(f"{log()}\n{error}")
        return (session, "") if session.get_providers()[0] == spec.providers[0] else (None, devices.reason(log()))


def _cpu(ort: ModuleType, model: bytes, options: object) -> onnxruntime.InferenceSession | None:
    try:
        session = ort.InferenceSession(model, options, providers=list(devices.KNOWN["cpu"].providers))
    except _failures() as error:
        raise ModelError(f"ONNX Runtime refuses the model: {_one_line(error)}; export the model again") from error
    return cast("onnxruntime.InferenceSession", session)


def _plugged(ort: ModuleType, spec: Spec) -> Sequence[onnxruntime.OrtEpDevice]:
    """The devices that a plug-in of ONNX Runtime offers; none where it is not installed."""
    if not spec.plugin or not hasattr(ort, "get_ep_devices"):
        return ()
    broken: tuple[type[Exception], ...] = (ImportError, AttributeError, *_failures())
    try:
        module = importlib.import_module(spec.plugin)
        if spec.plugin not in _registered:
            ort.register_execution_provider_library(spec.plugin, module.get_library_path())
            _registered.add(spec.plugin)
        return list(ort.get_ep_devices())
    except broken:
        return ()


def _has(ort: ModuleType, spec: Spec) -> bool:
    """Whether what starts a device is installed; not whether it starts."""
    return spec.providers[0] in _offered(ort) or spec.plugin in _registered


def _offered(ort: ModuleType) -> list[str]:
    return [name for name in ort.get_available_providers() if name != "AzureExecutionProvider"]


def _short(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider")


@contextlib.contextmanager
def _heard(ort: ModuleType) -> Iterator[Callable[[], str]]:
    """What ONNX Runtime writes meanwhile to standard output and standard error, instead of letting it go there."""
    printed = io.StringIO()
    # in memory: a container may have no folder that can be written
    with open(os.memfd_create("log"), "w+b") as file, contextlib.redirect_stdout(printed):
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        ort.set_default_logger_severity(_ERRORS)

        def log() -> str:
            file.seek(0)
            return file.read().decode("utf-8", "replace") + printed.getvalue()

        try:
            yield log
        finally:
            ort.set_default_logger_severity(_SILENT)
            os.dup2(before, 2)
            os.close(before)


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
