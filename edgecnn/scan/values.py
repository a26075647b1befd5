"""Small tensors that are known before there is a picture: shapes, and what is computed from them.

Networks with a free batch size read the shape of a tensor, take parts of it, and reshape by the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgecnn.scan.call import Call, Numbers, Unfit, elements
from edgecnn.scan.contents import Shape, Tensor
from edgecnn.scan.layout import lengths, slices

MAX_ELEMENTS = 256
"""Tensors with more numbers are none that a shape is computed from."""

# TensorProto.DataType → NumPy's type, and the typed field that holds it
_DTYPES = {1: ("<f4", 4), 2: ("u1", 5), 3: ("i1", 5), 4: ("<u2", 5), 5: ("<i2", 5)} | {
    6: ("<i4", 5),
    7: ("<i8", 7),
    9: ("?", 5),
    11: ("<f8", 10),
}
_Fold = Callable[[Call, Shape], object]


def of_tensor(tensor: Tensor) -> Numbers | None:
    """The numbers of a small weight, or None where it is large or of a type that no shape has."""
    dtype, field = _DTYPES.get(tensor.dtype, ("", 0))
    count = elements(tensor.shape)
    if not dtype or count > MAX_ELEMENTS:
        return None
    span = tensor.message.span(9)
    if span is not None:
        return np.frombuffer(tensor.message.data, dtype, count, span[0]).reshape(tensor.shape)
    if field == 10:
        return None  # only `raw_data` is read
    typed = np.array(_typed(tensor, field), np.float64 if field == 4 else np.int64)
    if len(typed) != count:
        raise Unfit(f"must have a constant of {count} numbers, it has {len(typed)}")
    return typed.astype(dtype).reshape(tensor.shape)


def of_node(call: Call, shape: Shape) -> Numbers | None:
    """The numbers of a node's first output where they are few and its inputs known, otherwise None.

    Args:
        call: The node.
        shape: Of its output.
    """
    fold = _FOLDS.get(call.node.operator)
    if fold is None or elements(shape) > MAX_ELEMENTS or len(shape) > 2:
        return None
    there = [index for index in range(len(call.shapes)) if call.has(index)]
    if call.node.operator not in _OF_SHAPES and any(call.numbers(index) is None for index in there):
        return None
    with np.errstate(all="ignore"):  # these are numbers like any other, and a shape is checked where one is needed
        found = fold(call, shape)
    if found is None:
        return None
    numbers = np.asarray(found)
    if numbers.shape != shape:
        raise Unfit(f"must give numbers of the shape {shape}; it gives {numbers.shape}")
    return numbers


def _typed(tensor: Tensor, field: int) -> Sequence[float]:
    if field == 4:
        return tensor.message.reals(4, MAX_ELEMENTS)
    return tensor.message.integers(field, MAX_ELEMENTS)


def _constant(call: Call, shape: Shape) -> object:
    ((_, value),) = call.node.attributes.items()
    if isinstance(value, Tensor):
        return of_tensor(value)
    return np.array(value, np.float32 if "float" in next(iter(call.node.attributes)) else np.int64)


def _cast(call: Call, shape: Shape) -> object:
    dtype, _ = _DTYPES.get(call.integer("to"), ("", 0))
    known = call.known(0)
    if not dtype or (known.dtype.kind == "f" and np.dtype(dtype).kind in "iu" and not _fits(known, dtype)):
        return None  # processors disagree about what such a number becomes
    return known.astype(dtype)


def _fits(known: Numbers, dtype: str) -> bool:
    limits, numbers = np.iinfo(dtype), known.astype(np.float64)
    return bool((numbers > float(limits.min) - 1).all() and (numbers < float(limits.max) + 1).all())


def _gather(call: Call, shape: Shape) -> object:
    axis, indices = call.integer("axis", 0), call.known(1)
    length = call.shape(0)[axis]
    if indices.dtype.kind not in "iu" or (indices.size and not -length <= indices.min() <= indices.max() < length):
        raise Unfit(f"must take what its input {call.shape(0)} has")
    return np.take(call.known(0), indices.astype(np.int64), axis)


def _concat(call: Call, shape: Shape) -> object:
    return np.concatenate(_alike(call), call.integer("axis"))


def _range(call: Call, shape: Shape) -> object:
    start, _, step = (float(number) for number in _alike(call, 3))
    return (start + step * np.arange(*shape)).astype(call.known(0).dtype)


def _filled(call: Call, shape: Shape) -> object:
    number = of_tensor(call.tensor("value")) if "value" in call.node.attributes else np.zeros(1, np.float32)
    return None if number is None else np.broadcast_to(number.reshape(-1), shape)


def _divide(call: Call, shape: Shape) -> object:
    left, right = _alike(call, 2)
    if left.dtype.kind == "f":
        return np.divide(left, right)
    signs = np.sign(left.astype(np.int64)) * np.sign(right.astype(np.int64))
    return (np.abs(left) // np.abs(right) * signs).astype(left.dtype)  # towards zero, where Python goes down


def _reduced(combine: np.ufunc) -> _Fold:
    """A fold of all numbers to one."""

    def fold(call: Call, shape: Shape) -> object:
        known = call.known(0)
        one = elements(shape) == 1 and known.size and known.dtype.kind in "iuf"
        return combine.reduce(known, axis=None, dtype=known.dtype).reshape(shape) if one else None

    return fold


def _rounded(rounding: Callable[[Numbers], Numbers]) -> _Fold:
    """A fold of floating-point numbers to whole ones."""

    def fold(call: Call, shape: Shape) -> object:
        return rounding(call.known(0)) if call.known(0).dtype.kind == "f" else None

    return fold


def _alike(call: Call, count: int = 0) -> list[Numbers]:
    """All inputs, of one type as the operators want them, and as many as there must be."""
    found = [call.known(index) for index in range(len(call.shapes))]
    if len(found) != (count or len(found)) or any(numbers.dtype != found[0].dtype for numbers in found):
        raise Unfit(f"must have {count or 'some'} inputs of one type")
    return found


def _combined(combine: Callable[..., object]) -> _Fold:
    """A fold of two inputs, number by number; truth values are not computed with."""

    def fold(call: Call, shape: Shape) -> object:
        if len(call.shapes) != 2:  # Max and Min may have more
            return None
        left, right = _alike(call, 2)
        return combine(left, right) if left.dtype.kind in "iuf" else None

    return fold


def _moved(call: Call, shape: Shape) -> object:
    return call.known(0).reshape(shape)


_OF_SHAPES = ("Shape", "Size", "Constant")
_FOLDS: Mapping[str, _Fold] = {
    "Add": _combined(np.add),
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Div": _divide,
    "Equal": _combined(np.equal),
    "Expand": lambda call, shape: np.broadcast_to(call.known(0), shape),
    "Floor": _rounded(np.floor),
    "Gather": _gather,
    "Greater": _combined(np.greater),
    "Identity": _moved,
    "Max": _combined(np.maximum),
    "Min": _combined(np.minimum),
    "Mul": _combined(np.multiply),
    "Range": _range,
    "ReduceMax": _reduced(np.maximum),
    "ReduceMin": _reduced(np.minimum),
    "ReduceProd": _reduced(np.multiply),
    "Reshape": _moved,
    "Round": _rounded(np.rint),
    "Shape": lambda call, _: np.array(lengths(call), np.int64),
    "Size": lambda call, _: np.array(elements(call.shape(0)), np.int64),
    "Slice": lambda call, _: call.known(0)[slices(call)],
    "Squeeze": _moved,
    "Sub": _combined(np.subtract),
    "Unsqueeze": _moved,
    "Where": lambda call, _: np.where(call.known(0), call.known(1), call.known(2)),
}
