"""What tf2onnx cannot do by itself, done before and after it; and the layer to blame where all of it fails.

Each repair was met with tf2onnx 1.17 and Keras 3.15: GELU and CELU are written with operations that tf2onnx does not
know; a constant without a shape, as in hard sigmoid and hard swish, ends its work on transposes, so that global pooling
becomes a ReduceMean, which has no 8-bit kernel; grouped convolutions hide in a compiled function; a dilated convolution
loses its own padding to a ZeroPadding2D before it; and a Flatten asks for the shape of its input, for which an int8
file would turn all of that input back into float32.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn.errors import needs

if TYPE_CHECKING:
    import keras
    import onnx

_SHAPE_ONLY = frozenset({"Cast", "Concat", "Constant", "Gather", "Shape", "Slice", "Squeeze", "Unsqueeze"})


@contextmanager
def converting() -> Iterator[None]:
    """Convert with this open: functions are traced in place, paddings are not lost, and tf2onnx's log is silent.

    Keras compiles a grouped convolution with XLA, as TensorFlow's own cannot run on a CPU. ONNX Runtime's can.
    """
    tf = needs("tensorflow", "train", "to export")
    tfonnx: Any = needs("tf2onnx.tfonnx", "train", "to export")
    log = logging.getLogger("tf2onnx")
    level, eagerly, merge = log.level, tf.config.functions_run_eagerly(), tfonnx.rewrite_conv2d_with_pad

    def merge_where_there_is_none(graph: Any, nodes: list[Any]) -> list[Any]:
        merge(graph, [node for node in nodes if not _has_paddings(node)])
        return nodes

    log.setLevel(logging.CRITICAL)
    tf.config.run_functions_eagerly(True)
    tfonnx.rewrite_conv2d_with_pad = merge_where_there_is_none
    try:
        yield
    finally:
        tfonnx.rewrite_conv2d_with_pad = merge
        tf.config.run_functions_eagerly(eagerly)
        log.setLevel(level)


def _has_paddings(node: Any) -> bool:
    """Whether a convolution has paddings of its own, which tf2onnx overwrites with those of a Pad before it."""
    padding = node.get_attr("padding") if node.type == "Conv2D" else None
    return padding is not None and bool(padding.s == b"EXPLICIT")


def rewrite(graph: Any, nodes: list[Any]) -> list[Any]:
    """What tf2onnx calls with its graph of TensorFlow operations before it maps them to ONNX; changes it in place."""
    for node in list(nodes):
        if node.type in ("Add", "AddV2"):
            _give_constants_a_shape(node)
        elif node.type in ("Erfc", "Expm1"):
            _spell_out(graph, node)
    return graph.get_nodes()  # type: ignore[no-any-return]  # tf2onnx is not typed


def _give_constants_a_shape(node: Any) -> None:
    for source in node.inputs:
        if source is not None and source.type == "Const" and source.get_tensor_value(as_list=False).shape == ():
            source.set_tensor_value(source.get_tensor_value(as_list=False).reshape(1))


def _spell_out(graph: Any, node: Any) -> None:
    """``erfc(x) = 1 - erf(x)`` and ``expm1(x) = exp(x) - 1``; what is lost near 0 is below 1e-7."""
    shape, dtype = graph.get_shape(node.output[0]), graph.get_dtype(node.output[0])
    kind = "Erf" if node.type == "Erfc" else "Exp"
    inner = graph.make_node(kind, [node.input[0]], shapes=[shape], dtypes=[dtype], name=f"{node.name}/{kind}")
    one = graph.make_const(f"{node.name}/one", np.ones(1, np.float32)).output[0]
    order = [one, inner.output[0]] if node.type == "Erfc" else [inner.output[0], one]
    graph.remove_node(node.name)
    graph.make_node("Sub", order, outputs=node.output, shapes=[shape], dtypes=[dtype], name=node.name)


def static_reshapes(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Write the shape of each Reshape as a constant where only the number of pictures is open.

    Args:
        graph: Changed in place; its value infos must be there.
    """
    onnx_ = needs("onnx", "train", "to export")
    inner = onnx_.shape_inference.infer_shapes(graph, data_prop=True).graph
    known = {v.name: v.type.tensor_type.shape.dim for v in (*inner.value_info, *inner.output)}
    constants = {tensor.name for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type != "Reshape" or node.input[1] in constants or node.output[0] not in known:
            continue
        sides = [axis.dim_value for axis in known[node.output[0]]]
        if len(sides) > 1 and all(sides[1:]):
            name = f"{node.output[0]}_sides"
            graph.graph.initializer.append(onnx_.numpy_helper.from_array(np.array([-1, *sides[1:]], np.int64), name))
            node.input[1] = name
    _drop_unread(graph.graph)
    return graph


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Take out what was only there to compute a shape."""
    found = True
    while found:
        read = {name for node in graph.node for name in node.input} | {tensor.name for tensor in graph.output}
        unread = [node for node in graph.node if node.op_type in _SHAPE_ONLY and not read & set(node.output)]
        for node in unread:
            graph.node.remove(node)
        found = bool(unread)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def layer_of(model: keras.Model, node: onnx.NodeProto) -> keras.Layer | None:
    """The layer that a node comes from, by the path that TensorFlow gives it: ``net_1/conv2d_8_1/Conv2D``.

    A node that tf2onnx has made of several, such as an LSTM, has no path; then what it reads tells.
    """
    layers = {layer.name: layer for layer in every_layer(model)}
    for path in (node.name, *node.input):
        for part in reversed(path.split("/")):
            for name in (part, re.sub(r"_\d+$", "", part)):
                if name in layers:
                    return layers[name]
    return None


def every_layer(model: keras.Model) -> Iterator[keras.Layer]:
    """All layers, those of networks inside a network and those that a layer wraps included."""
    yield from model._flatten_layers(include_self=False)  # Keras has no public way to what a layer wraps
