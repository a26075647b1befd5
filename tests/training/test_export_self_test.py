"""A changed file, a doctored one and a broken export: refused by the hash, the self-test, or against Keras."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras

start_keras("to test")

import keras  # noqa: E402  # started above
from edgecnn_training import loop, networks  # noqa: E402
from edgecnn_training.export import gate  # noqa: E402
from edgecnn_training.export.candidates import Workshop  # noqa: E402
from edgecnn_training.export.container import Identity  # noqa: E402
from edgecnn_training.export.convert import to_onnx  # noqa: E402
from edgecnn_training.export.quantize import Scheme  # noqa: E402
from edgecnn_training.pictures import Normalization, Pictures  # noqa: E402

from edgecnn import Classifier, plugins  # noqa: E402
from edgecnn.card import InputSpec, graph_hash  # noqa: E402
from edgecnn.errors import ModelError  # noqa: E402
from edgecnn.self_test import picture  # noqa: E402

FLOOR = Path(sys.prefix) / "onnxruntime-floor"


def resealed(path: Path, change: Callable[[onnx.ModelProto], None], to: Path) -> Path:
    """A changed file whose card has the hash of the change, so that only the self-test can find it."""
    model = onnx.load(str(path))
    change(model)
    card = json.loads(model.metadata_props[0].value)
    model.metadata_props[0].value = ""
    card["graph_sha256"] = graph_hash(model.SerializeToString())
    model.metadata_props[0].value = json.dumps(card)
    to.write_bytes(model.SerializeToString())
    return to


def test_a_changed_file_is_refused_by_its_hash(exported: dict[str, Path], tmp_path: Path) -> None:
    model = bytearray(exported["int8"].read_bytes())
    where = model.index(onnx.load(str(exported["int8"])).graph.initializer[0].raw_data)
    model[where] ^= 0x40
    (tmp_path / "m.onnx").write_bytes(model)
    with pytest.raises(ModelError, match="it was changed after the export"):
        Classifier(tmp_path / "m.onnx")


def largest_weight(model: onnx.ModelProto) -> None:
    """One byte of the weights becomes its opposite: the largest one of the last layer."""
    values = {t.name: t for t in model.graph.initializer}
    tensor = [t for t in values.values() if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 2][-1]
    weights = bytearray(tensor.raw_data)
    at = int(np.abs(np.frombuffer(tensor.raw_data, np.int8).astype(int)).argmax())
    weights[at] = (256 - weights[at]) % 256
    tensor.raw_data = bytes(weights)


def exchanged_labels(model: onnx.ModelProto) -> None:
    """A doctored graph: the scores of two classes change places."""
    (node,) = [node for node in model.graph.node if node.op_type == "Softmax"]
    order = onnx.numpy_helper.from_array(np.array([1, 0, 2]), "order")
    model.graph.initializer.append(order)
    swap = onnx.helper.make_node("Gather", [node.input[0], "order"], ["swapped"], axis=1)
    position = list(model.graph.node).index(node)
    node.input[0] = "swapped"
    nodes = [*model.graph.node[:position], swap, *model.graph.node[position:]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@pytest.mark.parametrize("change", [largest_weight, exchanged_labels])
def test_a_change_that_the_hash_was_made_to_fit_fails_the_self_test_at_load(
    edgecnn: Edgecnn,
    exported: dict[str, Path],
    tmp_path: Path,
    change: Callable[[onnx.ModelProto], None],
) -> None:
    path = resealed(exported["int8"], change, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="must compute here what it computed where it was exported; ONNX Runtime 1"):
        Classifier(path)
    Classifier(path, self_test=False).close()
    done = edgecnn("predict", path, "test:")
    assert done.code == 4
    assert "disagrees with the card about" in done.err


def test_the_self_test_asks_about_different_labels_with_scores_that_can_move(exported: dict[str, Path]) -> None:
    for path in exported.values():
        test = Classifier(path).card.more["self_test"]
        assert isinstance(test, dict)
        assert len(test["seeds"]) == 12  # type: ignore[arg-type]
        firsts = Counter(own[0][0] for own in test["expected"])  # type: ignore[index, union-attr]
        assert len(firsts) >= 2
        assert sum(own[0][1] < 0.95 for own in test["expected"]) >= 6  # type: ignore[index, union-attr, operator]


@pytest.mark.parametrize("fault", ["batch-norm in training mode", "swapped channels", "calibrated at the wrong scale"])
def test_what_an_export_may_break_shows_against_keras(fault: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    shape, labels = (24, 24, 3), ("a", "b", "c", "d")
    images = np.stack([picture(seed, *shape) for seed in range(256)])
    kinds = images.mean((1, 2)).argmax(1) + (images.std((1, 2, 3)) > 55)  # something that can be learned
    model = plugins.load(networks.ARCHITECTURES, "micro").build(shape, 4)
    normalization = Normalization((110.0, 110.0, 110.0), (70.0, 70.0, 70.0))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(normalization(images), kinds, epochs=12, batch_size=16, verbose=0)
    known = Pictures(images, np.arange(len(images)), kinds)
    keras_says = loop.keras_scorer(model, normalization)(images)
    spec = InputSpec(*shape)
    workshop = Workshop(tmp_path, Identity("m", labels, spec), known, known)
    workshop.exact(to_onnx(model, spec, normalization))
    assert gate.disagreement(workshop.quantized(Scheme("int8")).validation, keras_says) == ""
    if fault == "calibrated at the wrong scale":
        dark = Pictures((images / 255).round().astype(np.uint8), known.rows, kinds)
        workshop = Workshop(tmp_path, Identity("m", labels, spec), dark, known)
        broken = workshop.quantized(Scheme("int8"))
    else:
        broken = workshop.exact(to_onnx(broken_model(model, fault), spec, normalization))
    assert "of 256 pictures only, where 90 % are needed" in gate.disagreement(broken.validation, keras_says)


def broken_model(model: keras.Model, fault: str) -> keras.Model:
    """The network with a mistake that an exporter might make."""
    image = keras.Input(model.input_shape[1:])
    if fault == "swapped channels":
        return keras.Model(image, model(image[..., ::-1]))
    rng, clone = np.random.default_rng(1), keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for layer in clone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):  # statistics of the batch at hand, not those kept
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([gamma, beta, mean + rng.normal(0, 1, mean.shape), variance * 4])
    return clone
