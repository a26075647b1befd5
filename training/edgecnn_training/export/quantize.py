"""Static int8 quantisation, the only place that imports ``onnxruntime.quantization``.

QDQ format, U8 activations, S8 weights with a scale per output channel. ``reduce_range`` keeps the weights within 7
bits: on a CPU without VNNI, U8×S8 products are added up in pairs in 16 bits and saturate otherwise (scores moved by up
to 0.59, accuracy fell by 2 points under an emulated Haswell; with it the scores are the same, at no cost in time).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgecnn import session
from edgecnn.errors import needs

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
    "Pad",
    "Relu",
    "Reshape",
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


def quantize(before: Path, after: Path, images: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> onnx.ModelProto:
    """Quantise a folded float32 graph.

    Args:
        before: The float32 file; its input takes pictures as they are, so the calibration's scale cannot be wrong.
        after: Where to write; overwritten.
        images: uint8 ``(M, H, W, C)``, may be memory-mapped.
        rows: Which of them to calibrate on.

    Returns:
        The int8 model.
    """
    module = _quantization("")
    with _quiet():
        module.quantize_static(
            str(before),
            str(after),
            _Reader(images, rows),
            quant_format=module.QuantFormat.QDQ,
            activation_type=module.QuantType.QUInt8,
            weight_type=module.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=list(OPERATORS),
            # the logits keep their precision: 8 bits would give ties
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
        )
    return load(after)


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
    """Hold back the advice that ONNX Runtime's quantisation logs at each call."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
