"""What `edgecnn export` writes passes the pre-scan, and what would not is refused at the export already.

That each architecture's files, float32 and int8, are opened is tested in test_export.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from shapes import write_shapes

start_keras("to test")

import keras  # noqa: E402  # started above
from edgecnn_training import networks  # noqa: E402
from edgecnn_training.export.convert import to_onnx  # noqa: E402
from edgecnn_training.pictures import Normalization  # noqa: E402
from edgecnn_training.recipe import Recipe  # noqa: E402

from edgecnn import prescan  # noqa: E402
from edgecnn.card import InputSpec, graph_hash  # noqa: E402
from edgecnn.errors import ModelError  # noqa: E402
from edgecnn.scan import contents, sizes  # noqa: E402

UNCHANGED = Normalization((0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
    ("arch", "side", "options"),
    [("keras:MobileNetV2", 32, {"alpha": 0.35}), ("lecture-a", 28, {}), ("micro", 21, {})],
)
def test_networks_pass_and_their_sizes_are_those_the_onnx_package_infers(
    arch: str, side: int, options: dict[str, float]
) -> None:
    model = networks.build(Recipe(arch=arch, options=options), (side, side, 3), 10)
    graph = to_onnx(model, InputSpec(side, side, 3), UNCHANGED)
    data = graph.SerializeToString()
    prescan.check(data)
    ours = sizes.check(contents.read(data).graph)
    for axes in (graph.graph.input[0].type.tensor_type.shape, graph.graph.output[0].type.tensor_type.shape):
        axes.dim[0].dim_value = 1
    del graph.graph.value_info[:]
    theirs = onnx.shape_inference.infer_shapes(graph, data_prop=True).graph.value_info
    known = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in theirs}
    known = {name: shape for name, shape in known.items() if all(shape)}
    assert len(known) > len(graph.graph.node) / 2
    assert {name: list(ours[name]) for name in known} == known


def test_a_layer_with_an_operator_that_is_not_known_is_refused_at_the_export() -> None:
    class Cumulative(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: object) -> object:
            return keras.ops.cumsum(x, axis=-1)

    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), Cumulative(), keras.layers.Dense(2)])
    with pytest.raises(
        ModelError, match=r"without --allow-any-op; received CumSum .layer 'cumulative', Cumulative.: replace"
    ):
        to_onnx(model, InputSpec(4, 4, 3), UNCHANGED)


def test_a_model_with_such_an_operator_can_be_evaluated_when_that_is_allowed(
    edgecnn: Edgecnn, exported: dict[str, Path], tmp_path: Path
) -> None:
    graph = onnx.load(str(exported["float32"]))
    card = json.loads(graph.metadata_props[0].value)
    del card["self_test"], graph.metadata_props[:]  # Hardmax gives other scores
    graph.graph.node[-1].op_type = "Hardmax"
    card["graph_sha256"] = graph_hash(graph.SerializeToString())
    onnx.helper.set_model_props(graph, {"edgecnn.card": json.dumps(card)})
    model, new = tmp_path / "hard.onnx", write_shapes(tmp_path / "new", each=2, seed=5)
    onnx.save(graph, str(model))
    refused = edgecnn("evaluate", model, new)
    assert (refused.code, refused.out) == (4, "")
    assert "received Hardmax: export the model again with edgecnn, or add --allow-any-op" in refused.err
    with pytest.warns(UserWarning, match="edgecnn does not know, Hardmax"):
        allowed = edgecnn("evaluate", model, new, "--allow-any-op")
    assert allowed.code == 0
    assert json.loads(allowed.out)["n"] == 6
