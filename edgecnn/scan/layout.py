"""Shapes of operators that move, repeat, cut out or make numbers.

Several of them make a large tensor from a small file, so their sizes must be known before there is a picture: they may
depend on weights and on the size of the picture, never on its content. The formulas are those of
onnx.ai/onnx/operators. Each rule takes a `Call` and gives the shape of every output.
"""

from __future__ import annotations

import math

import numpy as np

from edgecnn.scan.call import MUCH, Call, Unfit, axis_of, broadcast, checked, elements
from edgecnn.scan.contents import Shape, Tensor

_PLACEMENTS = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")


def reshape(call: Call) -> list[Shape]:
    """Reshape: 0 keeps a length, -1 is what remains."""
    shape, wanted = call.shape(0), call.whole(1)
    if not call.integer("allowzero", 0):
        if any(length == 0 for length in wanted[len(shape) :]):
            raise Unfit(f"must keep axes that its input has; it has {shape} and {wanted}")
        wanted = tuple([shape[place] if length == 0 else length for place, length in enumerate(wanted)])
    known = math.prod(length for length in wanted if length != -1)
    if wanted.count(-1) == 1 and known > 0 and elements(shape) % known == 0:
        wanted = tuple([elements(shape) // known if length == -1 else length for length in wanted])
    if min(wanted, default=0) < 0 or elements(wanted) != elements(shape):
        raise Unfit(f"must keep all numbers; it turns {shape} into {wanted}")
    return [checked(wanted)]


def flatten(call: Call) -> list[Shape]:
    """Flatten: two axes."""
    shape, axis = call.shape(0), call.integer("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise Unfit(f"must have an axis of its input {shape}; it has {axis}")
    axis += len(shape) if axis < 0 else 0
    return [(elements(shape[:axis]), elements(shape[axis:]))]


def squeeze(call: Call) -> list[Shape]:
    """Squeeze: axes of length 1 go."""
    shape = call.shape(0)
    axes = call.axes("axes", 1, len(shape))
    if axes is None:
        axes = tuple([place for place, length in enumerate(shape) if length == 1])
    if any(shape[axis] != 1 for axis in axes):
        raise Unfit(f"must leave out axes of length 1 only; it leaves {axes} of {shape}")
    return [tuple([length for place, length in enumerate(shape) if place not in axes])]


def unsqueeze(call: Call) -> list[Shape]:
    """Unsqueeze: axes of length 1 come."""
    shape = call.shape(0)
    count = len(call.integers("axes")) if "axes" in call.node.attributes else len(call.whole(1))
    axes = call.axes("axes", 1, len(shape) + count) or ()
    rest = iter(shape)
    return [checked(1 if place in axes else next(rest) for place in range(len(shape) + count))]


def transpose(call: Call) -> list[Shape]:
    """Transpose: axes in another order."""
    shape = call.shape(0)
    order = call.integers("perm", tuple(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise Unfit(f"must name each axis of {shape} once; it has {order[:8]}")
    return [tuple([shape[axis] for axis in order])]


def concat(call: Call) -> list[Shape]:
    """Concat: one axis adds up, the others are equal."""
    first = call.shape(0)
    axis, total = axis_of(call.integer("axis"), len(first)), 0
    for index in range(len(call.shapes)):
        shape = call.shape(index, len(first))
        if shape[:axis] + shape[axis + 1 :] != first[:axis] + first[axis + 1 :]:
            raise Unfit(f"must join shapes that are equal but for axis {axis}; it has {first} and {shape}")
        total += shape[axis]
    return [(*first[:axis], total, *first[axis + 1 :])]


def split(call: Call) -> list[Shape]:
    """Split: one axis in parts of given lengths, or of equal ones."""
    shape, parts = call.shape(0), len(call.node.outputs)
    axis = axis_of(call.integer("axis", 0), len(shape))
    if call.has(1):
        lengths = call.whole(1)
    else:
        each = -(-shape[axis] // parts) if parts else 0
        lengths = (*(each,) * (parts - 1), shape[axis] - each * (parts - 1)) if parts else ()
        if "num_outputs" not in call.node.attributes and len(set(lengths)) != 1:
            raise Unfit(f"must split {shape} evenly; it has {parts} parts")
    if len(lengths) != parts or sum(lengths) != shape[axis] or min(lengths, default=0) < 0:
        raise Unfit(f"must split all of {shape}; it has parts of {lengths[:8]}")
    return [(*shape[:axis], length, *shape[axis + 1 :]) for length in lengths]


def slices(call: Call) -> tuple[slice, ...]:
    """What Slice takes of each axis, as Python would write it: both count from the end and cut off alike."""
    rank = len(call.shape(0))
    starts, ends = call.whole(1), call.whole(2)
    axes = call.axes(None, 3, rank) or tuple(range(len(starts)))
    steps = call.whole(4) if call.has(4) else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) <= rank or not all(0 < abs(s) < 2**63 for s in steps):
        raise Unfit("must have a start, an end and a step other than 0 for each of its axes")
    found = [slice(None)] * rank
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        found[axis] = slice(start, end, step)
    return tuple(found)


def slice_(call: Call) -> list[Shape]:
    """Slice: a part of some axes."""
    shape = call.shape(0)
    parts = zip(slices(call), shape, strict=True)
    return [tuple([len(range(*part.indices(length))) for part, length in parts])]


def gather(call: Call) -> list[Shape]:
    """Gather: one axis becomes those of the indices."""
    shape = call.shape(0)
    axis = axis_of(call.integer("axis", 0), len(shape))
    result = checked((*shape[:axis], *call.shape(1), *shape[axis + 1 :]))
    call.work = MUCH // 2 * elements(result)
    return [result]


def pad(call: Call) -> list[Shape]:
    """Pad: each axis grows at its begin and its end; it is not cut."""
    shape, pads = call.shape(0), call.whole(1)
    axes = call.axes(None, 3, len(shape))
    axes = tuple(range(len(shape))) if axes is None else axes
    call.parameters(2, ())
    mode = call.text("mode", "constant", ("constant", "reflect", "edge"))
    if len(pads) != 2 * len(axes) or min(pads, default=0) < 0:
        raise Unfit(f"must have two paddings of 0 or more for each of {len(axes)} axes; it has {pads[:8]}")
    result = list(shape)
    for place, axis in enumerate(axes):
        before, after = pads[place], pads[place + len(axes)]
        if mode == "reflect" and max(before, after) >= shape[axis]:
            raise Unfit(f"must reflect less than a whole side; it has {pads[:8]} for {shape}")
        result[axis] += before + after
    return [tuple(result)]


def expand(call: Call) -> list[Shape]:
    """Expand: stretched to a given shape."""
    return [broadcast(call.shape(0), checked(call.whole(1)))]


def tile(call: Call) -> list[Shape]:
    """Tile: each axis repeated."""
    shape, times = call.shape(0), call.whole(1)
    if len(times) != len(shape) or min(times, default=1) < 1:
        raise Unfit(f"must repeat each axis of {shape} once or more; it has {times[:8]}")
    return [tuple([length * count for length, count in zip(shape, times, strict=True)])]


def constant(call: Call) -> list[Shape]:
    """Constant: a tensor, or numbers, in an attribute."""
    if len(call.node.attributes) != 1:
        raise Unfit("must have one value")
    ((name, value),) = call.node.attributes.items()
    if name == "value" and isinstance(value, Tensor):
        return [value.shape]
    if (name, type(value)) in (("value_int", int), ("value_float", float)):
        return [()]
    if name in ("value_ints", "value_floats") and isinstance(value, tuple) and not isinstance(value, Tensor):
        return [(len(value),)]
    raise Unfit(f"must have a tensor or numbers, it has {name[:100]!r}")


def constant_of_shape(call: Call) -> list[Shape]:
    """ConstantOfShape: one number, everywhere."""
    if "value" in call.node.attributes and elements(call.tensor("value").shape) != 1:
        raise Unfit("must have one number as its value")
    return [checked(call.whole(0))]


def range_(call: Call) -> list[Shape]:
    """Range: from a start, in steps, to a limit."""
    if any(call.shape(index) != () for index in range(3)):
        raise Unfit("must have single numbers")
    start, limit, step = (float(call.known(index)) for index in range(3))
    if not step or not all(abs(number) < 2**53 for number in (start, limit, step)):  # not a number is not below either
        raise Unfit(f"must have numbers below 2^53 and a step other than 0; it has {start}, {limit}, {step}")
    return [(max(math.ceil((limit - start) / step), 0),)]


def resize(call: Call) -> list[Shape]:
    """Resize: each axis times a factor, or to a given length."""
    shape = call.shape(0)
    call.text("coordinate_transformation_mode", "half_pixel", _PLACEMENTS)
    call.text("keep_aspect_ratio_policy", "stretch", ("stretch",))
    if call.has(1):
        call.parameters(1, (0,))
    axes = call.axes("axes", 9, len(shape))
    axes = tuple(range(len(shape))) if axes is None else axes
    by_factor = call.has(2) and call.shape(2) != (0,)
    if by_factor == (call.has(3) and call.shape(3) != (0,)):
        raise Unfit("must have either factors or lengths")
    numbers = call.known(2).reshape(-1) if by_factor else np.array(call.whole(3))
    if len(numbers) != len(axes) or not all(0 < float(number) < 2**31 for number in numbers):
        raise Unfit(f"must have a factor or a length for each of {len(axes)} axes; it has {numbers[:8]}")
    result = list(shape)
    for axis, number in zip(axes, numbers, strict=True):
        result[axis] = int(np.float32(shape[axis]) * number) if by_factor else int(number)
    cubic = call.node.attributes.get("mode") == "cubic"
    call.work = (8 if cubic else 1) * MUCH * (elements(tuple(result)) + elements(shape))
    return [tuple(result)]


def shape_(call: Call) -> list[Shape]:
    """Shape: the lengths from a start to an end."""
    return [(len(lengths(call)),)]


def lengths(call: Call) -> Shape:
    """What Shape gives."""
    shape = call.shape(0)
    return shape[call.integer("start", 0) : call.integer("end", len(shape))]


def scalar(call: Call) -> list[Shape]:
    """Size: one number."""
    call.shape(0)
    return [()]


def depth_to_space(call: Call) -> list[Shape]:
    """DepthToSpace: (N, C·b², H, W) → (N, C, H·b, W·b)."""
    batch, channels, height, width = call.shape(0, 4)
    side = call.integer("blocksize")
    if side < 1 or channels % (side * side):
        raise Unfit(f"must have channels for blocks of {side}; it has {channels}")
    return [(batch, channels // side**2, height * side, width * side)]


def space_to_depth(call: Call) -> list[Shape]:
    """SpaceToDepth: (N, C, H·b, W·b) → (N, C·b², H, W)."""
    batch, channels, height, width = call.shape(0, 4)
    side = call.integer("blocksize")
    if side < 1 or height % side or width % side:
        raise Unfit(f"must have sides for blocks of {side}; it has {height} and {width}")
    return [(batch, channels * side**2, height // side, width // side)]


def one_hot(call: Call) -> list[Shape]:
    """OneHot: an axis more, as long as there are classes."""
    shape, depth = call.shape(0), call.whole(1)
    if len(depth) != 1 or depth[0] < 1 or call.shape(2) != (2,):
        raise Unfit(f"must have one number of classes, of 1 or more, and two values; it has {depth[:8]}")
    axis = axis_of(call.integer("axis", -1), len(shape) + 1)
    return [checked((*shape[:axis], depth[0], *shape[axis:]))]


def top_k(call: Call) -> list[Shape]:
    """TopK: the largest of an axis, and where they are."""
    shape, count = call.shape(0), call.whole(1)
    axis = axis_of(call.integer("axis", -1), len(shape))
    if len(count) != 1 or not 0 < count[0] <= shape[axis]:
        raise Unfit(f"must take 1 to all of {shape}; it has {count[:8]}")
    call.work = MUCH * elements(shape)
    return [(*shape[:axis], count[0], *shape[axis + 1 :])] * len(call.node.outputs)
