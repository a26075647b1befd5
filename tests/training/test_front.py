"""The front part of an any-size file makes the pixels that Pillow makes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from edgecnn_training.export import any_size

from edgecnn import prescan
from edgecnn.card import InputSpec
from edgecnn.errors import ImageError
from edgecnn.preprocess import fit_image
from edgecnn.scan import contents
from edgecnn.scan.sizes import Room, check

Pixels = npt.NDArray[np.uint8]

NETWORKS = [(64, 64, 3), (28, 28, 1), (48, 80, 3), (33, 17, 1), (2, 5, 1), (1, 1, 3)]
PICTURES = [(480, 640), (101, 77), (77, 101), (64, 64), (28, 28), (7, 9), (1, 1), (1, 5000), (500, 1), (20_000, 10)]


def scaler(spec: InputSpec) -> onnxruntime.InferenceSession:
    """The front part by itself."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(any_size.scaler(spec), options, providers=["CPUExecutionProvider"])


def scaled(session: onnxruntime.InferenceSession, picture: Pixels) -> Pixels:
    fitted: Pixels = session.run(None, {"image": picture[np.newaxis]})[0][0]
    return fitted


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_every_pixel_is_pillows(network: tuple[int, int, int], fit: str) -> None:
    session = scaler(InputSpec(*network, fit))
    for rows, columns in [*PICTURES, network[:2]]:
        for channels in (1, 3):
            picture = noise(rows, columns, channels)
            expected = fit_image(picture, *network, fit)
            np.testing.assert_array_equal(scaled(session, picture), expected, f"{rows}×{columns}×{channels}")


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_the_passes_go_in_pillows_order_whichever_side_shrinks_more(fit: str) -> None:
    session = scaler(InputSpec(24, 20, 1, fit))
    for rows in range(20, 80, 7):
        for columns in range(16, 60, 5):
            picture = noise(rows, columns, 1)
            expected = fit_image(picture, 24, 20, 1, fit)
            np.testing.assert_array_equal(scaled(session, picture), expected, f"{rows}×{columns}")


def test_a_picture_of_the_networks_size_stays_as_it_is() -> None:
    picture = noise(28, 20, 3)
    np.testing.assert_array_equal(scaled(scaler(InputSpec(28, 20, 3)), picture), picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_fourth_channel_is_not_looked_at(channels: int) -> None:
    session, picture = scaler(InputSpec(16, 16, channels)), noise(30, 40, 4)
    np.testing.assert_array_equal(scaled(session, picture), scaled(session, np.ascontiguousarray(picture[:, :, :3])))


def test_white_stays_white_where_thousands_of_weights_are_rounded_up() -> None:
    session = scaler(InputSpec(2, 2, 3, "stretch"))
    assert scaled(session, np.full((1, 60_000, 3), 255, np.uint8)).min() == 255


def test_pictures_of_one_size_may_be_a_batch() -> None:
    session, batch = scaler(InputSpec(16, 24, 3)), noise(5, 30, 40, 3)
    together = session.run(None, {"image": batch})[0]
    np.testing.assert_array_equal(together, np.stack([scaled(session, picture) for picture in batch]))


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (0, 0, 3), (5, 5, 0)])
def test_a_picture_without_pixels_is_an_error(shape: tuple[int, ...]) -> None:
    # a product of nothing with nothing is whatever lay in ONNX Runtime's memory
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        scaled(scaler(InputSpec(16, 16, 3)), np.zeros(shape, np.uint8))


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_the_graph_is_standard_and_has_nothing_too_much(fit: str) -> None:
    model = onnx.load_from_string(any_size.scaler(InputSpec(48, 80, 1, fit)))
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    read = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= read
    assert {name for node in model.graph.node for name in node.output} - {"scores"} <= read


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("picture", [(480, 640, 3), (1, 1, 1), (1, 5000, 3), (20_000, 10, 3), (8000, 8000, 3)], ids=str)
def test_its_sizes_are_known_before_it_runs(picture: tuple[int, int, int], fit: str) -> None:
    graph = prescan.check(any_size.scaler(InputSpec(32, 48, 3, fit))).graph
    assert check(graph, picture=picture)["fitted"] == (1, 32, 48, 3)


def test_a_picture_that_takes_too_much_memory_is_refused_before_it_does() -> None:
    room = Room(contents.read(any_size.scaler(InputSpec(64, 64, 3, "stretch"))).graph)
    room.check((1, 200_000, 3))
    with pytest.raises(ImageError, match=r"^1×64000000 pixels: a model may need at most .*; make the picture smaller$"):
        room.check((1, 64_000_000, 3))
