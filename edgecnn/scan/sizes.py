"""How large the tensors of a graph get for one picture, and how much work they are, before there is a picture.

A small file can ask for any amount of memory: `Expand`, `Resize`, `Pad` and their like do by a number in it, and the
product of a column and a row is a matrix. So the shape of every tensor is computed, with one picture in the batch and
`FREE_SIDE` pixels where a side is free, and the graph is refused where the tensors that are needed at a time, or the
work, are more than any classifier's. A file that takes pictures of any size is asked again about each size it meets:
what it does may depend on that.

What this does not promise: ONNX Runtime may compute in another order than the file's and so hold other tensors at a
time; it copies weights into a layout of its own (as much again as the file), and takes memory in steps that double. A
batch of pictures takes as many times more, and a graph that reads the size of its batch may make more of it than that.
Time is bounded as work, in rough units: half a minute on one core of a desktop, minutes on a Raspberry Pi, are allowed.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgecnn.errors import ImageError, ModelError
from edgecnn.scan import operators, values
from edgecnn.scan.call import Call, Numbers, Unfit, elements
from edgecnn.scan.contents import MAX_RANK, Graph, Node, Shape, TensorInfo

MAX_LIVE_ELEMENTS = 1 << 27
"""Numbers that may be needed at a time: 512 MiB of float32. ResNet-50 at 224×224 needs 2 million."""

MAX_WORK = 1 << 37
"""Multiply-adds; a number that is read or written counts as `_ELEMENT_WORK` of them. ResNet-50 needs 2^33."""

FREE_SIDE = 1024
FREE_PICTURE = FREE_SIDE, FREE_SIDE, 4
"""Height, width and channels of the picture that a file is checked with which takes any."""

MORE_ELEMENTS, MORE_WORK = 16, 1 << 12
"""By so much the limits rise for each pixel that a picture has beyond `FREE_SIDE`²."""

_ELEMENT_WORK = 16
_REMEMBERED = 4096  # sizes
_MAY_READ_NOTHING = frozenset({"Cast", "Concat", "ConstantOfShape", "Expand", "Identity", "Reshape", "Resize"})
_TYPES = {"float32": 1, "float16": 10, "float64": 11}
_AGAIN = "export it again with `edgecnn export`"


def check(graph: Graph, *, strict: bool = True, picture: Shape = FREE_PICTURE) -> Mapping[str, Shape]:
    """Refuse a graph that would take too much memory or time, or whose sizes cannot be told.

    Args:
        graph: What is computed.
        strict: Every size must be known. Otherwise what follows from an unknown operator is passed over.
        picture: Height, width and channels, where all three are free.

    Returns:
        The shape of each tensor by its name, of those that are known.

    Raises:
        ModelError: The first node that is beyond a limit, or that contradicts itself.
    """
    tensors = _Tensors(graph, picture)
    for place, node in enumerate(graph.nodes):
        try:
            tensors.compute(node, place)
        except Unfit as error:
            if strict:
                raise ModelError(f"{_called(node)} {error}: {_AGAIN}") from error
    return tensors.shapes


class Room:
    """Whether there is room for a picture: asks about each size once, before ONNX Runtime sees it.

    Args:
        graph: Takes pictures of any size; `check` has passed it.
        strict: As for `check`.
    """

    def __init__(self, graph: Graph, *, strict: bool = True) -> None:
        self._graph, self._strict = graph, strict
        self._passed: set[Shape] = set()

    def check(self, picture: Shape) -> None:
        """Refuse a picture that would take too much.

        Args:
            picture: Height, width and channels.

        Raises:
            ImageError: It would take more memory or work than a model may, or the graph cannot take it.
        """
        if picture in self._passed:
            return
        try:
            check(self._graph, strict=self._strict, picture=picture)
        except ModelError as error:
            why = str(error).removesuffix(f": {_AGAIN}")
            raise ImageError(f"{picture[0]}×{picture[1]} pixels: {why}; make the picture smaller") from error
        if len(self._passed) >= _REMEMBERED:
            self._passed.clear()
        self._passed.add(picture)


class _Tensors:
    """What is known of the tensors up to a node.

    Attributes:
        shapes: By the tensor's name.
    """

    def __init__(self, graph: Graph, picture: Shape) -> None:
        beyond = max(0, picture[0] * picture[1] - FREE_SIDE**2)
        self._most_live = MAX_LIVE_ELEMENTS + MORE_ELEMENTS * beyond
        self._most_work = MAX_WORK + MORE_WORK * beyond
        self.shapes: dict[str, Shape] = {}
        self._types: dict[str, int] = {}
        self._numbers: dict[str, Numbers | None] = {}
        self._weights = {weight.name: weight for weight in graph.weights}
        self._fixed = set(self._weights)
        self._last_use = {name: place for place, node in enumerate(graph.nodes) for name in node.inputs}
        self._last_use |= dict.fromkeys([output.name for output in graph.outputs], len(graph.nodes))
        self._live = self._work = 0
        for weight in graph.weights:
            self._define(weight.name, weight.shape, weight.dtype)
        for tensor in graph.inputs:
            if 0 < len(tensor.shape) <= MAX_RANK:  # otherwise it stays unknown
                self._define(tensor.name, _of_one_picture(tensor, picture), _TYPES.get(tensor.dtype, 0))
                self._live += elements(self.shapes[tensor.name])

    def compute(self, node: Node, place: int) -> None:
        """Work out the outputs of the node at a place in the graph.

        Raises:
            Unfit: They cannot be told.
            ModelError: They are beyond a limit.
        """
        call = self._call(node)
        rule = operators.RULES.get(node.operator)
        shapes = rule(call) if rule is not None else []
        if len(shapes) < len(node.outputs):
            raise Unfit(f"must be known and give fewer outputs than {len(node.outputs)}")
        first = values.of_node(call, shapes[0]) if shapes else None
        written = 0
        for index, (name, shape) in enumerate(zip(node.outputs, shapes, strict=False)):
            if not elements(shape) and (index or first is None):
                raise Unfit(f"must give numbers; it gives the shape {shape}")
            if name:
                kind = operators.output_type(node, [self._types.get(name, 0) for name in node.inputs])
                self._define(name, shape, kind if index == 0 or node.operator == "Split" else 0)
                written += elements(shape)
        if node.outputs and first is not None:
            self._numbers[node.outputs[0]] = first
        if all(call.fixed) and node.operator != "DequantizeLinear":  # ONNX Runtime leaves that one as it is
            self._fixed.update(node.outputs)
        read = sum([elements(shape) for shape in call.shapes if shape is not None])
        self._count(node, place, written, call.scratch, call.work + _ELEMENT_WORK * (read + written))

    def _call(self, node: Node) -> Call:
        for name in node.inputs:
            if name and name not in self.shapes:
                raise Unfit(f"must read what the graph gives before it; it reads {name[:100]!r}")
        shapes = [self.shapes[name] if name else None for name in node.inputs]
        if node.operator not in _MAY_READ_NOTHING and any(shape and not elements(shape) for shape in shapes):
            raise Unfit("must read numbers; one of its inputs is empty")
        return Call(
            node,
            shapes,
            lambda index: self._known(node.inputs[index]),
            [not name or name in self._fixed for name in node.inputs],
            self._types.get(node.inputs[0], 0) in operators.FLOATING if node.inputs else False,
        )

    def _known(self, name: str) -> Numbers | None:
        if name not in self._numbers:
            self._numbers[name] = values.of_tensor(self._weights[name]) if name in self._weights else None
        return self._numbers[name]

    def _define(self, name: str, shape: Shape, kind: int) -> None:
        if name in self.shapes:
            raise ModelError(f"damaged ONNX file (the tensor {name[:100]!r} is there twice): {_AGAIN}")
        self.shapes[name], self._types[name] = shape, kind

    def _count(self, node: Node, place: int, written: int, scratch: int, work: int) -> None:
        """Add a node's memory and work up; what is computed from weights alone is never given back."""
        self._live += written
        self._work += work
        if self._live + scratch > self._most_live:
            raise ModelError(
                f"a model may need at most {self._most_live:,} numbers at a time for one picture; with "
                f"{_called(node)} it needs {self._live + scratch:,}: {_AGAIN}"
            )
        if self._work > self._most_work:
            raise ModelError(
                f"a model may take at most {self._most_work:,} multiply-adds for one picture; with {_called(node)} it "
                f"takes {self._work:,}: {_AGAIN}"
            )
        for name in {*node.inputs, *node.outputs} - self._fixed:
            if self._last_use.get(name, place) == place and name:
                self._live -= elements(self.shapes[name])


def _of_one_picture(tensor: TensorInfo, picture: Shape) -> Shape:
    """The shape of an input: one picture, and `FREE_SIDE` where another axis is free, unless it is all of a picture."""
    if len(tensor.shape) == 4 and all(isinstance(side, str) for side in tensor.shape):
        return (1, *picture)
    free = [1] + [FREE_SIDE] * len(tensor.shape)
    return tuple([free[place] if isinstance(side, str) else side for place, side in enumerate(tensor.shape)])


def _called(node: Node) -> str:
    name = node.name or next(iter(node.outputs), "")
    return f"the node {name[:100]!r} ({node.operator[:100]})"
