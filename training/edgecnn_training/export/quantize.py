"""Static int8 quantisation, the only place that imports ``onnxruntime.quantization``.

QDQ format, S8 weights, of which each output channel has a scale of its own unless asked otherwise. ``reduce_range``
keeps the weights within 7 bits: on an x86 CPU without VNNI, U8×S8 products are added up in pairs in 16 bits and
saturate otherwise (docs/decisions/0010 has what that does and what the bit costs).
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgecnn import session
from edgecnn.errors import needs
from edgecnn_training.export import dense, islands, mixed

if TYPE_CHECKING:
    import onnx

OPERATORS = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Conv",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Squeeze",
    "Transpose",
)
"""What is quantised. Softmax and the scaling of the pixels stay float."""

_BATCH = 32


def fold(before: Path, after: Path) -> None:
    """Fold batch normalisation and constants into the convolutions; without this int8 is slower than float32."""
    module = _quantization("shape_inference")
    with _quiet():
        module.quant_pre_process(str(before), str(after), skip_symbolic_shape=True)


@dataclass(frozen=True, slots=True)
class Scheme:
    """A way to quantise.

    Attributes:
        name: What it is called in the table and in the card.
        calibration: One of `CALIBRATIONS`.
        signed: Whether activations are S8; U8 otherwise.
        per_channel: Whether each output channel's weights have their own scale.
        float_nodes: Nodes that stay float32.
        only_nodes: The nodes that are quantised; all of them where this is empty.
        full_range: Whether weights use all 8 bits; 7 otherwise.
        dense_nodes: Dense layers of which only the weights are quantised, see `edgecnn_training.export.dense`.
        dense_bits: How many bits those have.
    """

    name: str
    calibration: str = "minmax"
    signed: bool = False
    per_channel: bool = True
    float_nodes: tuple[str, ...] = ()
    only_nodes: tuple[str, ...] = ()
    full_range: bool = False
    dense_nodes: tuple[str, ...] = ()
    dense_bits: int = 0

    @property
    def weight_bits(self) -> int:
        """Of the layers that are quantised whole."""
        return 8 if self.full_range else 7


CALIBRATIONS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "minmax": ("MinMax", {}),
    "percentile": ("Percentile", {"percentile": 99.99, "num_bins": 2048, "symmetric": False}),
    "entropy": ("Entropy", {"num_bins": 512, "num_quantized_bins": 128}),
}
"""Which ranges the activations get: all values, all but one in ten thousand, or those that lose the least information.

With the library's own settings Entropy gives the ranges of MinMax: as many bins as quantised levels.
"""


def ranges(model: Path, images: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], calibration: str) -> object:
    """Measure the range of every activation, some pictures at a time, so that memory stays bounded.

    Args:
        model: The folded float32 file; its input takes pictures as they are, so the scale cannot be wrong.
        images: uint8 ``(M, H, W, C)``, may be memory-mapped.
        rows: Which of them to look at.
        calibration: One of `CALIBRATIONS`.

    Returns:
        What `quantize` takes.
    """
    module = _quantization("")
    method, options = CALIBRATIONS[calibration]
    with _quiet(), tempfile.TemporaryDirectory(prefix="edgecnn-calibrate-") as folder:
        calibrator = module.create_calibrator(
            str(model),
            list(OPERATORS),
            str(Path(folder) / "augmented.onnx"),
            calibrate_method=getattr(module.CalibrationMethod, method),
            extra_options=dict(options),
        )
        for start in range(0, len(rows), _BATCH):
            calibrator.collect_data(_Reader(images, rows[start : start + _BATCH]))
        found: object = calibrator.compute_data()
        return found


def quantize(before: Path, after: Path, found: object, scheme: Scheme) -> onnx.ModelProto:
    """Quantise a folded float32 graph.

    Args:
        before: The float32 file.
        after: Where to write; overwritten.
        found: What `ranges` measured with the scheme's calibration.
        scheme: How.

    Returns:
        The int8 model.
    """
    module = _quantization("")
    graph, in_float = mixed.in_float(load(before), (*scheme.float_nodes, *scheme.dense_nodes))
    with _quiet():
        quantizer = module.QDQQuantizer(
            graph,
            per_channel=scheme.per_channel,
            reduce_range=not scheme.full_range,
            weight_qType=module.QuantType.QInt8,
            activation_qType=module.QuantType.QInt8 if scheme.signed else module.QuantType.QUInt8,
            tensors_range=found,
            nodes_to_quantize=list(scheme.only_nodes),
            nodes_to_exclude=[*in_float, *islands.pixel_nodes(graph)],
            op_types_to_quantize=list(OPERATORS),
            # the logits keep their precision: 8 bits would give ties
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
        )
        quantizer.quantize_model()
        quantizer.model.save_model_to_file(str(after), False)  # this sorts its nodes
    made = load(after)
    islands.keep_in_float(made, scheme.float_nodes)
    mixed.keep_in_8_bits(made, (*scheme.float_nodes, *scheme.dense_nodes))
    made = dense.few_bits(made, scheme.dense_nodes, scheme.dense_bits)
    after.write_bytes(made.SerializeToString())
    return made


def run(model: Path, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What a file says of pictures, float32 ``(N, classes)``; without a card, so not through `edgecnn.Classifier`."""
    opened = session.open_session(model.read_bytes(), device="cpu")
    try:
        return opened.run({"image": images})[0].astype(np.float32)
    finally:
        opened.close()


def load(path: Path) -> onnx.ModelProto:
    """Read an ONNX file."""
    return needs("onnx", "train", "to export").load(str(path))  # type: ignore[no-any-return]  # onnx is not typed


def _quantization(name: str) -> ModuleType:
    """A module of ``onnxruntime.quantization``, after `edgecnn.session` has set ONNX Runtime up."""
    session.load_onnxruntime()
    full = "onnxruntime.quantization" + (f".{name}" if name else "")
    return needs(full, "train", "to export")


class _Reader:
    """Feeds pictures to the calibration, some at a time."""

    def __init__(self, images: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> None:
        self._batches: Iterator[npt.NDArray[np.uint8]] = (
            np.asarray(images[rows[start : start + _BATCH]]) for start in range(0, len(rows), _BATCH)
        )

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """The next batch, or None at the end: the contract of ONNX Runtime's CalibrationDataReader."""
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the advice that ONNX Runtime's quantisation logs, and what its calibration prints."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
