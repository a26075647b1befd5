"""The graph that TensorBoard draws is the network's."""

from __future__ import annotations

from typing import Any

import pytest
from edgecnn_training.backend import start_keras

start_keras("to test")

import keras  # noqa: E402  # Keras is started
from edgecnn_training.architectures import small  # noqa: E402
from edgecnn_training.report.graph import graph_def, layer_names  # noqa: E402
from keras import layers  # noqa: E402


def nodes(network: keras.Model) -> dict[str, Any]:
    from tensorboardX.proto.graph_pb2 import GraphDef

    message = graph_def(network)
    assert message is not None
    graph = GraphDef.FromString(message)
    found = {node.name: node for node in graph.node}
    assert len(found) == len(graph.node)
    assert all(source in found for node in graph.node for source in node.input)
    return found


def shape(node: Any) -> tuple[int, ...]:
    return tuple(dim.size for dim in node.attr["_output_shapes"].list.shape[0].dim)


def test_each_layer_is_a_node_with_its_kind_its_inputs_and_its_shape() -> None:
    network = small.build((28, 28, 1), 10)
    found, names = nodes(network), layer_names(network)
    assert len(found) == len(network.layers)
    feeds = {id(layer.output): layer for layer in network.layers}
    for layer in network.layers:
        node = found[names[layer.name]]
        assert node.op == type(layer).__name__
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        before = [] if isinstance(layer, layers.InputLayer) else [names[feeds[id(tensor)].name] for tensor in inputs]
        assert list(node.input) == before
        assert shape(node) == (-1, *layer.output.shape[1:])
    assert found["01_conv2d"].attr["kernel_size"].s in (b"[3, 3]", b"(3, 3)")


def test_layers_are_called_the_same_in_each_process_whatever_was_built_before() -> None:
    first, second = (list(layer_names(small.build((28, 28, 1), 10)).values()) for _ in range(2))
    assert first == second
    assert first[:3] == ["00_input_layer", "01_conv2d", "02_batch_normalization"]
    image = keras.Input((3,), name="pixels_2")
    assert list(layer_names(keras.Model(image, layers.Dense(2, name="head_1")(image))).values()) == [
        "0_pixels_2",
        "1_head_1",
    ]


def test_a_network_in_a_network_is_a_box_whose_layers_are_joined_to_those_outside() -> None:
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.ReLU()], name="inner")
    image = keras.Input((4,))
    found = nodes(keras.Model(image, layers.Dense(2)(inner(image + 1.0))))
    assert {name: list(node.input) for name, node in found.items()} == {
        "0_input_layer": [],
        "1_add": ["0_input_layer"],
        "2_inner/0_input_layer": ["1_add"],
        "2_inner/1_dense": ["2_inner/0_input_layer"],
        "2_inner/2_re_lu": ["2_inner/1_dense"],
        "3_dense": ["2_inner/2_re_lu"],
    }


def test_a_layer_that_is_used_twice_is_one_node_and_sequences_are_joined() -> None:
    image = keras.Input((4,))
    twice = layers.Dense(4)
    found = nodes(keras.Model(image, twice(twice(image))))
    assert list(found["1_dense"].input) == ["0_input_layer"]
    row = nodes(keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)]))
    assert [list(node.input) for node in row.values()] == [[], ["0_input_layer"], ["1_dense"]]
    assert [shape(node) for node in row.values()] == [(-1, 4), (-1, 3), (-1, 2)]


def test_a_network_that_is_no_graph_of_layers_has_none() -> None:
    class Free(keras.Model):
        pass

    assert graph_def(Free()) is None


@pytest.mark.parametrize("name", ["input", "output"])
def test_the_last_node_has_the_shape_of_the_logits(name: str) -> None:
    found = nodes(small.build((32, 32, 3), 7))
    node = found["00_input_layer" if name == "input" else "28_dense"]
    assert shape(node) == ((-1, 32, 32, 3) if name == "input" else (-1, 7))
