"""What is refused before ONNX Runtime sees a byte, and what a file says of itself without it.

ONNX Runtime promises nothing about time or memory for hostile files, reads weights from other files where a model names
them, and runs a loop that never ends. So the bytes are read first, in pure Python (a millisecond or two for a small
network, see docs/security.md), in three steps: `edgecnn.scan.contents` refuses what is damaged, outside of the file or
beyond a limit, `edgecnn.scan.operators` whatever nobody has looked at, `edgecnn.scan.sizes` tensors and work that are
more than a classifier's. Bytes that pass are those that are loaded.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgecnn.card import METADATA_PROPS
from edgecnn.errors import ModelError
from edgecnn.protobuf import BYTES, Field, fields
from edgecnn.scan import contents, operators, sizes
from edgecnn.scan.contents import Contents, TensorInfo

MAX_MODEL_BYTES = 1 << 30
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Outline:
    """What an ONNX file says of itself.

    Attributes:
        ir_version: Version of the file format.
        opsets: Operator-set version by domain; the standard one is ``"ai.onnx"``.
        producer: The program that wrote it.
        inputs: Inputs of the graph, without the weights.
        outputs: Outputs of the graph.
        operators: How many nodes there are of each operator, most frequent first.
    """

    ir_version: int
    opsets: Mapping[str, int]
    producer: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: Mapping[str, int]


def read_file(path: Path) -> bytes:
    """The bytes of a model file.

    Raises:
        ModelError: It is none, is larger than `MAX_MODEL_BYTES`, or cannot be read.
    """
    if not path.is_file():
        raise ModelError("a model must be a file; this is none: `edgecnn export RUN` makes one from a run")
    if path.stat().st_size > MAX_MODEL_BYTES:
        raise ModelError(f"a model must have at most {MAX_MODEL_BYTES >> 20} MiB; it has {path.stat().st_size >> 20}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror}); check its permissions") from error


def check(model: bytes, *, allow_any_op: bool = False) -> Contents:
    """Refuse what must not reach ONNX Runtime.

    Args:
        model: The whole file.
        allow_any_op: Let through operators that edgecnn does not know, with a warning; all other limits still hold.

    Returns:
        What was read.

    Warns:
        UserWarning: There are such operators; it names them.

    Raises:
        ModelError: Not an ONNX file, a damaged one, or one that does what no classifier does; the message says what.
    """
    found = contents.read(model)
    unknown = _unknown_operators(found)
    if unknown and not allow_any_op:
        raise ModelError(
            f"operators must be among the {len(operators.RULES)} that edgecnn knows; received {unknown}: export "
            "the model again with edgecnn, or add --allow-any-op (in Python allow_any_op=True) if you trust it"
        )
    sizes.check(found.graph, strict=not unknown)
    if unknown:
        warnings.warn(
            f"the model has operators that edgecnn does not know, {unknown}: nothing limits their time and memory, "
            "and what they read and write",
            stacklevel=2,
        )
    return found


def read_metadata(model: bytes) -> dict[str, str]:
    """The file's metadata (``metadata_props``): what ONNX Runtime calls the custom metadata map.

    Raises:
        ModelError: Not a protobuf message, or text that is not UTF-8.
    """
    entries: dict[str, str] = {}
    for field in fields(model):
        if field.number == METADATA_PROPS and field.kind == BYTES:
            parts = fields(model, field.payload, field.end)
            texts = {part.number: _text(model, part) for part in parts if part.kind == BYTES}
            entries[texts.get(1, "")] = texts.get(2, "")
    return entries


def outline(model: bytes) -> Outline:
    """Inputs, outputs and operators of an ONNX file that `check` has passed.

    Raises:
        ModelError: The file is damaged.
    """
    found = contents.read(model)
    counts = Counter(node.operator for node in found.graph.all_nodes())
    return Outline(
        ir_version=found.ir_version,
        opsets=found.opsets,
        producer=found.producer,
        inputs=found.graph.inputs,
        outputs=found.graph.outputs,
        operators=dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))),
    )


def _unknown_operators(found: Contents) -> str:
    """The operators that there is no rule for, or an empty text; without an operator set nothing is known."""
    used = {node.operator for node in found.graph.all_nodes()}
    version = found.opsets.get("ai.onnx", 0)
    if version not in operators.OPSETS:
        known = f"{operators.OPSETS[0]} to {operators.OPSETS[-1]}"
        return f"those of ONNX's operator set {version} ({known} are known)"
    unknown = sorted(used - set(operators.RULES))
    names = ", ".join(name[:100] or "one without a name" for name in unknown[:_SHOWN])
    return names + (f" and {len(unknown) - _SHOWN:,} more" if len(unknown) > _SHOWN else "")


def _text(model: bytes, field: Field) -> str:
    try:
        return model[field.payload : field.end].decode()
    except UnicodeDecodeError as error:
        raise ModelError(f"damaged ONNX file (text at byte {field.payload} is not UTF-8); copy it again") from error
