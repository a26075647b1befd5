"""A Keras network → a float32 ONNX graph that takes uint8 pictures and gives probabilities.

Scaling and Softmax join the graph here. ``tf2onnx.convert.from_function`` is used because the other routes fail with
Keras 3: ``from_keras`` raises a KeyError, ``model.export`` loses the tensors' names.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecnn.card import InputSpec
from edgecnn.errors import ModelError, needs
from edgecnn.scan import operators
from edgecnn_training.export import dense, repairs
from edgecnn_training.export.quantize import fold
from edgecnn_training.pictures import Normalization

if TYPE_CHECKING:
    import keras
    import onnx

OPSET = 17
IR_VERSION = 8
INPUT, OUTPUT = "image", "scores"

_WORTH_HALVING = 32  # values of a tensor; a Cast costs about as many bytes
_LARGEST_HALF = 65504.0
_RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")


def to_onnx(model: keras.Model, spec: InputSpec, normalization: Normalization) -> onnx.ModelProto:
    """Convert a network with logits.

    Args:
        model: float32 ``(N, H, W, C)``, normalised → logits.
        spec: Size and channels of the pictures.
        normalization: Becomes the graph's first nodes.

    Returns:
        uint8 ``image`` ``(N, H, W, C)`` → float32 ``scores`` ``(N, classes)``; opset 17, IR 8, batch-norm folded.

    Raises:
        ModelError: The network holds something that has no place in an exported file; the message names it.
    """
    tf = needs("tensorflow", "train", "to export")
    tf2onnx = needs("tf2onnx", "train", "to export")
    _keep_constants(model)
    mean = np.asarray(normalization.mean, np.float32)
    scale = np.float32(1) / np.asarray(normalization.std, np.float32)
    signature = [tf.TensorSpec([None, spec.height, spec.width, spec.channels], tf.uint8, name=INPUT)]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]  # TensorFlow ships no types
    def serve(image: object) -> dict[str, object]:
        pixels = (tf.cast(image, tf.float32) - mean) * scale
        return {OUTPUT: tf.nn.softmax(model(pixels, training=False))}

    try:
        with repairs.converting():
            graph, _ = tf2onnx.convert.from_function(
                serve, input_signature=signature, opset=OPSET, custom_rewriter=[repairs.rewrite]
            )
    except (ValueError, NotImplementedError, RuntimeError, KeyError) as error:
        raise ModelError(f"the network cannot be written as ONNX: {error}") from error
    _check_operators(graph, model)
    return _checked(_folded(repairs.static_reshapes(graph)))


def _keep_constants(model: keras.Model) -> None:
    """Have what `Normalization` layers were adapted to written into the graph, inner networks' too.

    Keras holds it as tensors of its own beside the variables, and tf2onnx makes inputs of such tensors.
    """
    from keras import Model, layers

    for layer in model.layers:
        if isinstance(layer, Model):
            _keep_constants(layer)
        elif isinstance(layer, layers.Normalization):
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)


def _folded(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Fold batch normalisation and constants, then drop what the folding leaves behind."""
    onnx = needs("onnx", "train", "to export")
    with tempfile.TemporaryDirectory(prefix="edgecnn-export-") as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(graph, str(before))
        fold(before, after)
        return tidy(onnx.load(str(after)))


def tidy(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Leave only the operator sets that the graph needs, and the IR version that old runtimes read.

    That is ONNX's own, and where dense layers have few bits that of ONNX Runtime.
    """
    onnx = needs("onnx", "train", "to export")
    others = {f"{node.domain}.{node.op_type}" for node in graph.graph.node if node.domain not in ("", "ai.onnx")}
    if others - set(operators.MICROSOFT):
        raise ModelError(f"an exported graph must use ONNX's own operators only; received {', '.join(sorted(others))}")
    del graph.opset_import[:]
    graph.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    if others:
        graph.opset_import.append(onnx.helper.make_opsetid(dense.DOMAIN, 1))
    for tensor in (*graph.graph.input, *graph.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "N"
    del graph.metadata_props[:]
    graph.ir_version = IR_VERSION
    graph.producer_name = "edgecnn"
    graph.doc_string = graph.graph.doc_string = ""
    return graph


def _check_operators(graph: onnx.ModelProto, model: keras.Model) -> None:
    """Refuse what has no place outside of training, and what edgecnn does not run; the layer it is from is named."""
    found = {node.op_type: node for node in graph.graph.node if node.op_type in _RANDOM}
    if found:
        raise ModelError(
            f"an exported graph must not draw random numbers; received {_told(found, model)}: augmentation belongs "
            "into the recipe, not into the network"
        )
    unknown = {node.op_type: node for node in graph.graph.node if node.op_type not in operators.RULES}
    if unknown:
        raise ModelError(
            f"an exported graph must have operators that edgecnn runs without --allow-any-op; received "
            f"{_told(unknown, model)}: replace the layer they come from (docs/security.md lists the operators)"
        )


def _told(found: Mapping[str, onnx.NodeProto], model: keras.Model) -> str:
    """``CumSum (layer 'cumulative', Cumulative)``: operators by name, each with the layer of a node of its."""
    parts = []
    for operator, node in sorted(found.items()):
        layer = repairs.layer_of(model, node)
        parts.append(operator + (f" (layer {layer.name!r}, {type(layer).__name__})" if layer else ""))
    return ", ".join(parts)


def _checked(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Have ONNX's own checker look at what was made."""
    needs("onnx", "train", "to export").checker.check_model(graph, full_check=True)
    return graph


def half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Weights kept as float16 and computed with as float32: half the size, at the same speed.

    Every float32 weight becomes float16 with a Cast behind it, which ONNX Runtime computes once, when it loads.
    """
    onnx_ = needs("onnx", "train", "to export")
    result: onnx.ModelProto = onnx_.ModelProto()
    result.CopyFrom(graph)
    casts, float32 = [], onnx_.TensorProto.FLOAT
    for tensor in result.graph.initializer:
        values = onnx_.numpy_helper.to_array(tensor)
        if tensor.data_type == float32 and values.size >= _WORTH_HALVING and np.abs(values).max() < _LARGEST_HALF:
            name = tensor.name
            tensor.CopyFrom(onnx_.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
            casts.append(onnx_.helper.make_node("Cast", [tensor.name], [name], to=float32))
    nodes = [*casts, *result.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def compact(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with short names and without what nobody reads: the shapes of inner tensors, nodes' comments."""
    onnx_ = needs("onnx", "train", "to export")
    result: onnx.ModelProto = onnx_.ModelProto()
    result.CopyFrom(graph)
    inner = result.graph
    del inner.value_info[:]
    names = {tensor.name: tensor.name for tensor in (*inner.input, *inner.output)}
    for tensor in inner.initializer:
        tensor.name = names.setdefault(tensor.name, f"w{len(names)}")
    for number, node in enumerate(inner.node):
        node.name, node.doc_string = f"{node.op_type}{number}", ""
        node.output[:] = [names.setdefault(name, f"t{len(names)}") if name else "" for name in node.output]
    for node in inner.node:
        node.input[:] = [names[name] if name else "" for name in node.input]
    return result
