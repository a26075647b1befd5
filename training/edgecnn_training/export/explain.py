"""``edgecnn export --explain``: a second output, ``activation_map``, that tells where the network looked.

It is the class activation map, which needs no gradient (see `edgecnn_training.class_maps`): each place of the last
feature map times the weights of the dense layer, float32 ``(N, h, w, C)``, channels last as the pictures are. It is not
normalised: the mean of a label's map over all places, and the label's bias, are its logit, divided by the temperature
as that of the scores. `edgecnn.prediction.heat` normalises a map for the eye, as Keras's Grad-CAM is: Grad-CAM of such
a network is this map divided by the number of places, which normalising takes out.

The nodes are added to the finished file and read only what it computes anyway, so that the scores stay what they are,
bit by bit: that is checked on every picture that a claim of the card rests on. The weights stay float32 in every
candidate; in an int8 file the feature map is the one that it computes with, dequantised.

Source: R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV
2017, section 3.1, shows that Grad-CAM generalises CAM; Keras's example "Grad-CAM class activation visualization".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from edgecnn.classifier import MAP, Classifier
from edgecnn.errors import ModelError, UsageError, needs
from edgecnn.prediction import heat
from edgecnn_training import screen
from edgecnn_training.accuracy import in_batches
from edgecnn_training.class_maps import Head, before_last, pooled_head
from edgecnn_training.export import container
from edgecnn_training.export.candidates import Candidate
from edgecnn_training.export.claims import Shipped
from edgecnn_training.export.gate import FLOAT32
from edgecnn_training.features import last_dense
from edgecnn_training.pictures import Floats, Indices, Pictures

if TYPE_CHECKING:
    import onnx

    from edgecnn_training.export.material import Material

LIMIT = 1e-4
"""Largest difference between the float32 file's maps and Keras's Grad-CAM, both from 0 to 1; 1e-6 is usual."""
PICTURES = 128
"""On so many pictures the maps are compared, each for its two likeliest labels."""

_LABELS = 2
_BATCH = 32
_PASSED = frozenset(
    {"Add", "DequantizeLinear", "Flatten", "Gemm", "MatMul", "MatMulNBits", "QuantizeLinear", "Reshape", "Softmax"}
    | {"Squeeze"}
)
"""What may stand between the pooling and the scores."""


class Maps:
    """Adds the output to files of one run, and proves it.

    Args:
        material: The run, read for export.
        folder: A temporary folder.

    Raises:
        UsageError: The network does not end in global average pooling and one dense layer.
    """

    def __init__(self, material: Material, folder: Path) -> None:
        self._material, self._path = material, folder / "explained.onnx"
        self._head = head_of(material.model)
        few = material.parity.rows[:PICTURES], material.parity.class_index[:PICTURES]
        self._pictures = Pictures(material.parity.images, *few)
        self._keras_says: tuple[Indices, Floats] | None = None

    def prove(self, exact: Candidate) -> None:
        """Compare the maps of the float32 file with Keras's Grad-CAM.

        Raises:
            ModelError: They differ by more than `LIMIT`, or the scores are not those of the file without the maps.
        """
        difference = self._differences(self._with_map(exact))
        kind = "pictures" if len(self._material.held_out) else "generated pictures"
        text = f"{len(self._pictures)} {kind}, largest difference {difference.max(initial=0.0):.1e}"
        if not (difference <= LIMIT).all():
            raise ModelError(
                f"activation maps must agree with Keras's Grad-CAM within {LIMIT:g}; {text}: nothing was written. "
                "This is a fault of edgecnn; please report it with the architecture, and export without --explain"
            )
        screen.say(f"activation maps and Keras's Grad-CAM: {text}")

    def added_to(self, shipped: Shipped) -> Shipped:
        """The file that ships with the output, and what its maps lose in its number format told.

        Raises:
            ModelError: A score of any of the pictures that it was measured on is not what it was.
        """
        candidate = self._with_map(shipped.candidate)
        if candidate.precision != FLOAT32:
            difference = self._differences(candidate)
            screen.say(
                f"activation maps of {candidate.name} and Keras's Grad-CAM: difference {difference.mean():.3f} on "
                f"average, {np.quantile(difference, 0.95):.3f} on all but 5 % of the places, {difference.max():.3f} at "
                "most, of maps from 0 to 1"
            )
        return dataclasses.replace(shipped, candidate=candidate)

    def _with_map(self, candidate: Candidate) -> Candidate:
        graph = with_map(candidate.graph, self._head)
        container.write(self._path, graph, self._material.identity, candidate.precision, {})
        with Classifier(self._path, device="cpu") as classifier:
            for pictures in (self._material.parity, self._material.validation, self._material.held_out):
                if not len(pictures):
                    continue
                scores = in_batches(lambda images: classifier.explained(images)[0], pictures.images, pictures.rows)
                if not np.array_equal(scores, candidate.scores(pictures)):
                    raise ModelError(
                        "a file that explains must give the scores of one that does not, bit by bit; this one does "
                        "not: nothing was written. Please report it with the architecture, and export without --explain"
                    )
        return dataclasses.replace(candidate, graph=graph, path=self._path)

    def _differences(self, candidate: Candidate) -> Floats:
        """How far the maps, from 0 to 1, are from Keras's: one number for each picture, label and place."""
        labels, keras_says = self._grad_cam()
        chosen = self._pictures
        with Classifier(candidate.path, device="cpu") as classifier:
            found = in_batches(lambda images: classifier.explained(images)[1], chosen.images, chosen.rows, size=_BATCH)
        ours = np.take_along_axis(found, labels[:, np.newaxis, np.newaxis, :], axis=3)
        difference: Floats = np.abs(_heats(ours) - _heats(keras_says))
        return difference

    def _grad_cam(self) -> tuple[Indices, Floats]:
        """The likeliest labels of each picture, int64 (N, 2), and Keras's map for each of them, (N, h, w, 2)."""
        if self._keras_says is None:
            normalization = self._material.source.normalization
            labels, found = [], []
            for start in range(0, len(self._pictures), _BATCH):
                rows = np.arange(start, min(start + _BATCH, len(self._pictures)))
                pixels = normalization(self._pictures.take(rows))
                logits = np.asarray(self._material.model.predict_on_batch(pixels))
                labels.append(np.argsort(-logits, axis=1, kind="stable")[:, :_LABELS])
                each = [grad_cam(self._material.model, self._head, pixels, own) for own in labels[-1].T]
                found.append(np.stack(each, axis=3))
            self._keras_says = np.concatenate(labels).astype(np.int64), np.concatenate(found)
        return self._keras_says


def grad_cam(network: keras.Model, head: Head, pixels: Floats, classes: Indices) -> Floats:
    """Keras's Grad-CAM at the last feature map, by TensorFlow's gradients, before it is normalised.

    Args:
        network: Normalised float32 (N, H, W, C) → logits.
        head: The same network, cut.
        pixels: Normalised float32 (N, H, W, C).
        classes: int64 (N,): which class's map of each picture.

    Returns:
        float32 (N, h, w): the feature map's channels, each times the mean of its gradient, added up.
    """
    tf = needs("tensorflow", "train", "to export")
    both = keras.Model(network.inputs[0], [head.body.outputs[0], network.outputs[0]])
    image = tf.constant(pixels)
    with tf.GradientTape() as tape:
        tape.watch(image)  # a network whose layers are all frozen has no variable that is watched
        features, logits = both(image, training=False)
        wanted = tf.gather(logits, classes, axis=1, batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(wanted, features), axis=(1, 2))
    return np.asarray(tf.einsum("nhwk,nk->nhw", features, weights), np.float32)


def with_map(graph: onnx.ModelProto, head: Head) -> onnx.ModelProto:
    """A graph that gives the maps as well.

    Args:
        graph: A finished file, ``image`` → ``scores``; it is not changed.
        head: The network, cut; its kernel is divided by the temperature already.

    Returns:
        The same with a second output ``activation_map``, float32 ``(N, h, w, classes)``.

    Raises:
        ModelError: The pooling cannot be found.
    """
    onnx_ = needs("onnx", "train", "to export")
    result: onnx.ModelProto = onnx_.ModelProto()
    result.CopyFrom(graph)
    inner, make = result.graph, onnx_.helper.make_node
    made_by = {name: node for node in inner.node for name in node.output}
    pooling = _pooling(made_by)
    features, nodes = pooling.input[0], []
    before = made_by.get(features)
    if before is not None and before.op_type == "DequantizeLinear":
        # one of its own: the pooling's would be computed twice or not in 8 bits, as ONNX Runtime likes
        features = "map_features"
        nodes.append(make("DequantizeLinear", list(before.input), [features], name="MapFeatures"))
        nodes[0].attribute.extend(before.attribute)
    if not _channels_last(pooling):
        nodes.append(make("Transpose", [features], ["map_places"], name="MapPlaces", perm=[0, 2, 3, 1]))
        features = "map_places"
    nodes.append(make("MatMul", [features, "map_kernel"], [MAP], name="Map"))
    inner.node.extend(nodes)
    inner.initializer.append(onnx_.numpy_helper.from_array(head.kernel, "map_kernel"))
    shape = ["N", *head.body.output_shape[1:3], head.kernel.shape[1]]
    inner.output.append(onnx_.helper.make_tensor_value_info(MAP, onnx_.TensorProto.FLOAT, shape))
    return result


def _pooling(made_by: Mapping[str, onnx.NodeProto]) -> onnx.NodeProto:
    """The last global average pooling before the scores."""
    node = made_by["scores"]
    while node.op_type in _PASSED:
        found = next((made_by[name] for name in node.input if name in made_by), None)
        if found is None:
            break
        node = found
    if node.op_type not in ("GlobalAveragePool", "ReduceMean"):
        raise ModelError(
            f"the exported graph must have its global average pooling before its scores; it has {node.op_type} there. "
            "This is a fault of edgecnn; please report it with the architecture, and export without --explain"
        )
    return node


def _channels_last(pooling: onnx.NodeProto) -> bool:
    """Whether a pooling takes the mean over the second and third axis, and not over the last two."""
    axes = [axis % 4 for attribute in pooling.attribute if attribute.name == "axes" for axis in attribute.ints]
    return sorted(axes) == [1, 2]


def head_of(network: keras.Model) -> Head:
    """The network cut before its pooling.

    Args:
        network: Normalised float32 (N, H, W, C) → logits.

    Raises:
        UsageError: It does not end in global average pooling and one dense layer; the message names the layer.
    """
    head = pooled_head(network)
    if head is not None:
        return head
    raise UsageError(
        "--explain needs a network that ends in global average pooling and one dense layer; this one "
        f"{_end_of(network)}: train one that does, such as --arch small, or export without --explain"
    )


def _end_of(network: keras.Model) -> str:
    """In words the layer that stands where another one would have to."""
    if not getattr(network, "outputs", None):
        return f"is a {type(network).__name__}, no graph of layers"
    dense = last_dense(network) is not None
    wrong = before_last(network) if dense else network.outputs[0]._keras_history.operation
    return f"has the layer {wrong.name!r} ({type(wrong).__name__}) {'before its last' if dense else 'at its end'}"


def _heats(maps: Floats) -> Floats:
    """float32 (N, h, w, L), from 0 to 1 in each map."""
    return np.stack([[heat(own[:, :, label]) for label in range(own.shape[2])] for own in maps])
