"""A network's graph of layers as TensorBoard's graph page takes it, whatever Keras's backend."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from edgecnn_training.report.events import messages

_Shapes = Mapping[str, Sequence[int | None]]


def graph_def(network: keras.Model) -> bytes | None:
    """A ``GraphDef`` message with a node for each layer; a network inside of the network is a box to open.

    Layers are called as in the histograms: were it ``re_lu_1``, ``re_lu_2`` …, TensorBoard would draw a single box for
    all of them.

    Keras's own configuration of a network says it all: layers, options, what feeds what, and shapes.

    Returns:
        The message, serialised; None where the network is no graph of layers.
    """
    if not _is_graph(network):
        return None
    graph = messages("graph").GraphDef()
    config = network.get_config()
    _add(graph, config, "", [], dict(_shapes(network)))
    message: bytes = graph.SerializeToString()
    return message


def layer_names(network: keras.Model) -> dict[str, str]:
    """What each layer is called: ``{"conv2d_7": "04_conv2d"}``, names that sort as the layers follow each other.

    The number that Keras puts behind its own names counts the layers of the whole process. Without it, the layers of
    two runs, or of a run and its continuation, have the same names.
    """
    if _is_graph(network):
        return _numbered(network.get_config()["layers"])
    return _numbered([{"class_name": type(layer).__name__, "config": {"name": layer.name}} for layer in network.layers])


def layer_output(layer: keras.Layer) -> keras.KerasTensor | None:
    """A layer's output; None where it is used several times, or outside of a graph of layers."""
    try:
        output = layer.output
    except (AttributeError, ValueError):
        return None
    return output if isinstance(output, keras.KerasTensor) else None


def _numbered(layers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    width = len(str(len(layers) - 1))
    found = {}
    for i, layer in enumerate(layers):
        name, kind = _name(layer), layer["class_name"].lower()
        plain = re.sub(r"_\d+$", "", name)
        found[name] = f"{i:0{width}}_{plain if plain.replace('_', '') == kind else name}"
    return found


def _is_graph(network: keras.Layer) -> bool:
    return isinstance(network, keras.Sequential) or type(network).__name__ == "Functional"


def _add(graph: Any, config: Mapping[str, Any], scope: str, feeds: Sequence[str], shapes: _Shapes) -> None:
    """Add a network's layers; `feeds` are the nodes that its input comes from."""
    numbers = _numbered(config["layers"])
    outputs = {name: _output(layer, f"{scope}{numbers[name]}") for layer in config["layers"] for name in [_name(layer)]}
    previous = list(feeds)
    for layer in config["layers"]:
        name = _name(layer)
        if "inbound_nodes" in layer:  # a layer that is used twice may feed itself, of which a graph shows nothing
            before = [outputs[source] for source, _ in _tensors(layer["inbound_nodes"]) if source != name]
            sources = list(dict.fromkeys(before)) or list(feeds)
        else:  # of a Sequential: each layer feeds the next one
            sources = previous
        previous = [outputs[name]]
        if "layers" in layer["config"]:
            _add(graph, layer["config"], f"{scope}{numbers[name]}/", sources, shapes)
            continue
        node = graph.node.add(name=f"{scope}{numbers[name]}", op=layer["class_name"], input=sources)
        for key, value in layer["config"].items():
            if _is_plain(value) and key not in ("name", "trainable"):
                node.attr[key].s = str(value).encode()
        shape = shapes.get(name) or layer["config"].get("batch_shape")  # a Sequential does not list its input
        if shape:
            _note_shape(node, shape)


def _output(layer: Mapping[str, Any], path: str) -> str:
    """The node that puts out what a layer does: its own, or one inside where it is a network."""
    config = layer["config"]
    if "layers" not in config:
        return path
    last = config["layers"][-1]
    if "output_layers" in config:  # one output is [name, 0, 0], several are a list of these
        first = config["output_layers"][0]
        name = first if isinstance(first, str) else first[0]
        last = next(inner for inner in config["layers"] if _name(inner) == name)
    return _output(last, f"{path}/{_numbered(config['layers'])[_name(last)]}")


def _name(layer: Mapping[str, Any]) -> str:
    name: str = layer["config"]["name"]
    return name


def _note_shape(node: Any, shape: Sequence[int | None]) -> None:
    """Note a node's output shape, which TensorBoard writes beside the arrow."""
    sizes = node.attr["_output_shapes"].list.shape.add()
    for size in shape:
        sizes.dim.add(size=-1 if size is None else size)


def _shapes(network: keras.Model) -> Iterator[tuple[str, Sequence[int | None]]]:
    """Name and output shape of each layer."""
    for layer in network.layers:
        output = layer_output(layer)
        if output is not None:
            yield layer.name, output.shape
        if _is_graph(layer):
            yield from _shapes(layer)
    yield from _tensors(network.get_config())  # operations, which are no layers


def _tensors(config: object) -> Iterator[tuple[str, Sequence[int | None]]]:
    """Name of the layer and shape of each tensor that a part of a configuration mentions."""
    if isinstance(config, Mapping):
        if config.get("class_name") == "__keras_tensor__":
            yield config["config"]["keras_history"][0], config["config"]["shape"]
        else:
            for value in config.values():
                yield from _tensors(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _tensors(value)


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(v, (int, float)) for v in value)
    return isinstance(value, (str, int, float, bool))
