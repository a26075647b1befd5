from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_bytes
import onnxruntime
import pytest
from PIL import Image as PILImage

import edgecnn
from edgecnn import Classifier
from edgecnn.card import KEY
from edgecnn.errors import DeviceError, ImageError, ModelError, SourceError, UsageError

WEIGHTS = np.array([[2, -1, 0.5], [0, 1, -2], [1, 1, 1]], np.float32)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def plain(color: tuple[int, int, int], height: int = 8, width: int = 8) -> npt.NDArray[np.uint8]:
    return np.broadcast_to(np.array(color, np.uint8), (height, width, 3)).copy()


def by_hand(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """What the test network computes, in NumPy and float64."""
    logits = (images / 255.0).mean(axis=(1, 2)) @ WEIGHTS.astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.fixture
def model(tmp_path: Path) -> Classifier:
    graph = onnx_bytes.linear_graph(WEIGHTS, (8, 8, 3))
    return Classifier(write(tmp_path / "model.onnx", onnx_bytes.with_card(graph)))


def test_scores_are_those_computed_by_hand(model: Classifier) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    scores = model.scores(images)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, by_hand(images), atol=1e-6)  # float32 against float64
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)


def test_a_prediction_has_label_score_and_the_likeliest_in_order(colors: Path) -> None:
    prediction = Classifier(colors).predict(plain((200, 100, 0)))
    powers = np.exp(10 * np.array([200, 100, 0]) / 255)
    expected = powers / powers.sum()
    assert (prediction.label, prediction.class_index, prediction.unknown) == ("red", 0, False)
    assert prediction.score == pytest.approx(expected[0], abs=1e-6)
    assert [label for label, _ in prediction.top(2)] == ["red", "green"]
    assert len(prediction.top(99)) == 3


def test_the_classifier_tells_its_card_device_and_path(colors: Path) -> None:
    model = Classifier(str(colors), device="cpu", threads=2)
    assert (model.card.name, model.device, model.path) == ("colors", "cpu", colors)


def test_path_picture_and_array_of_the_same_photo_give_the_same_scores(model: Classifier, tmp_path: Path) -> None:
    image = np.random.default_rng(2).integers(0, 256, (21, 33, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    PILImage.fromarray(image).save(path)
    with PILImage.open(path) as picture:
        predictions = model.predict_batch([image, path, str(path), picture])
    for prediction in predictions:
        np.testing.assert_array_equal(prediction.scores, predictions[0].scores)


def test_a_batch_gives_what_each_picture_gives_alone(model: Classifier) -> None:
    images = [plain((9, 8, 7)), plain((250, 0, 90), 30, 10), plain((1, 200, 3), 5, 50)]
    for together, image in zip(model.predict_batch(images), images, strict=True):
        np.testing.assert_allclose(together.scores, model.predict(image).scores, atol=1e-6)
    assert model.predict_batch([]) == []


def test_a_grey_array_with_or_without_its_channel_axis_is_a_grey_picture(model: Classifier) -> None:
    grey = np.full((8, 8), 77, np.uint8)
    expected = model.predict(plain((77, 77, 77))).scores
    np.testing.assert_array_equal(model.predict(grey).scores, expected)
    np.testing.assert_array_equal(model.predict(grey[:, :, np.newaxis]).scores, expected)


def test_a_network_for_grey_pictures_gets_grey_ones(tmp_path: Path) -> None:
    graph = onnx_bytes.linear_graph(np.array([[5, 0]], np.float32), (4, 4, 1))
    size = {"height": 4, "width": 4, "channels": 1, "fit": "stretch", "filter": "bilinear", "sizes": "fixed"}
    data = onnx_bytes.with_card(graph, labels=["light", "dark"], input=size)
    model = Classifier(write(tmp_path / "grey.onnx", data))
    assert model.fit(plain((255, 255, 255))).shape == (4, 4, 1)
    assert model.predict(plain((255, 255, 255))).score == pytest.approx(1 / (1 + np.exp(-5)), abs=1e-6)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "an array must be uint8, 0 to 255; received float32"),
        (np.zeros((8, 8, 4), np.uint8), r"\(H, W, 3\) RGB; received \(8, 8, 4\)"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"received \(1, 8, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"received \(0, 8, 3\)"),
        (None, "a picture must be a path, a Pillow picture or a uint8 array"),
        (b"bytes", "a picture must be a path"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_remedy(model: Classifier, image: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        model.predict(image)  # type: ignore[arg-type]
    assert isinstance(caught.value, ValueError)


def test_one_path_is_no_batch(model: Classifier) -> None:
    with pytest.raises(UsageError, match="use predict"):
        model.predict_batch("photo.jpg")


@pytest.mark.parametrize("shape", [(8, 8, 3), (1, 8, 9, 3), (0, 8, 8, 3)])
def test_scores_takes_fitted_batches_only(model: Classifier, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"scores takes uint8 \(N, 8, 8, 3\)"):
        model.scores(np.zeros(shape, np.uint8))


def test_a_missing_picture_is_a_source_error_that_names_it(model: Classifier, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nothing\.jpg: cannot be read \(No such file or directory\)"):
        model.predict(tmp_path / "nothing.jpg")


def test_a_damaged_picture_is_an_image_error_that_names_it(model: Classifier, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"notes\.txt: not an image"):
        model.predict(write(tmp_path / "notes.txt", b"hello"))


def test_a_closed_model_says_so_and_closing_twice_is_fine(colors: Path) -> None:
    with Classifier(colors) as model:
        pass
    model.close()
    with pytest.raises(UsageError, match="a closed model cannot predict; open it again"):
        model.predict(plain((1, 2, 3)))


def test_a_missing_model_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"signs\.onnx: no such file; name the file that `edgecnn export` wrote"):
        Classifier(tmp_path / "signs.onnx")
    with pytest.raises(ModelError, match="a model must be a file"):
        Classifier(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_model_without_permission_says_so(colors: Path) -> None:
    colors.chmod(0)
    with pytest.raises(ModelError, match=r"cannot be read \(Permission denied\)"):
        Classifier(colors)


GRAPH = onnx_bytes.linear_graph(onnx_bytes.COLORS, (8, 8, 3))
OTHER = onnx_bytes.linear_graph(2 * onnx_bytes.COLORS, (8, 8, 3))
LARGE = {"height": 1025, "width": 8, "channels": 3, "fit": "crop", "filter": "bilinear", "sizes": "fixed"}
CARD = json.loads(onnx_bytes.card_text(onnx_bytes.color_model()))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (onnx_bytes.model(GRAPH), "not exported by edgecnn .*export it with `edgecnn export`"),
        (onnx_bytes.model(OTHER, {KEY: json.dumps(CARD)}), "its card is of another file"),
        (onnx_bytes.color_model(schema=2), "upgrade edgecnn"),
        (onnx_bytes.color_model(min_onnxruntime="99.1"), "needs ONNX Runtime 99.1 or newer; .* pip install"),
        (onnx_bytes.color_model(min_onnxruntime="9" * 6000), "needs ONNX Runtime 9.* or newer"),
        (onnx_bytes.with_card(GRAPH, labels=["red", "green"]), r"one output named 'scores', float32 \(N, 2\)"),
        (
            onnx_bytes.with_card(onnx_bytes.linear_graph(onnx_bytes.COLORS, (9, 8, 3))),
            r"one input named 'image', uint8 \(N, 8, 8, 3\); it has 'image', uint8 \(N, 9, 8, 3\)",
        ),
        (
            onnx_bytes.with_card(onnx_bytes.linear_graph(onnx_bytes.COLORS, (8, 8, 3), names=("x", "scores"))),
            "one input named 'image'.* it has 'x'",
        ),
        (
            onnx_bytes.with_card(onnx_bytes.linear_graph(onnx_bytes.COLORS, (8, 8, 3), names=("image", "y"))),
            "one output named 'scores'.* it has 'y'",
        ),
        (
            onnx_bytes.with_card(GRAPH.replace(b"Softmax", b"Hardmix")),
            "operators must be among .*; received Hardmix: export the model again",
        ),
        (
            onnx_bytes.with_card(GRAPH.replace(b"axis", b"exis")),
            "ONNX Runtime refuses the model: .*exis.*export the model again",
        ),
        (
            onnx_bytes.with_card(onnx_bytes.linear_graph(onnx_bytes.COLORS, ("H", "W", 3)), input=LARGE),
            r"one input named 'image', uint8 \(N, 1025, 8, 3\); it has 'image', uint8 \(N, H, W, 3\)",
        ),
    ],
)
def test_a_model_that_is_not_ours_is_refused_by_name_and_reason(tmp_path: Path, data: bytes, message: str) -> None:
    path = write(tmp_path / "m.onnx", data)
    with pytest.raises(ModelError, match=message) as caught:
        Classifier(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_model_that_gives_no_numbers_is_refused(tmp_path: Path) -> None:
    graph = onnx_bytes.linear_graph(np.full((3, 3), np.nan, np.float32), (8, 8, 3))
    model = Classifier(write(tmp_path / "nan.onnx", onnx_bytes.with_card(graph)))
    with pytest.raises(ModelError, match=r"no numbers \(NaN\)"):
        model.predict(plain((1, 2, 3)))


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has CUDA")
def test_a_device_asked_for_by_name_that_does_not_start_is_an_error(colors: Path) -> None:
    with pytest.raises(DeviceError, match=r"cuda did not start .* --device cpu"):
        Classifier(colors, device="cuda")
    assert Classifier(colors, device="auto").device == "cpu"


def test_device_and_threads_are_checked(colors: Path) -> None:
    with pytest.raises(
        UsageError, match="device must be one of auto, cpu, cuda, tensorrt, openvino, provider:NAME; received 'gpu'"
    ):
        Classifier(colors, device="gpu")
    with pytest.raises(UsageError, match="threads must be 1 or more; received 0"):
        Classifier(colors, threads=0)


def test_the_public_names_are_these_and_all_of_them_exist() -> None:
    assert edgecnn.__all__ == sorted(edgecnn.__all__)
    assert {name for name in edgecnn.__all__ if getattr(edgecnn, name, None) is None} == set()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = edgecnn.nothing


def test_a_picture_below_the_cards_threshold_is_unknown_and_keeps_its_label(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.onnx", onnx_bytes.color_model(unknown={"threshold": 0.9, "coverage": 0.95, "error": 0.0})
    )
    model = Classifier(path)
    sure, unsure = model.predict_batch([plain((255, 0, 0)), plain((130, 120, 110))])
    assert (sure.label, sure.unknown) == ("red", False)
    assert (unsure.label, unsure.unknown) == ("red", True)
    assert unsure.score < 0.9 < sure.score


def test_without_a_threshold_nothing_is_unknown(tmp_path: Path) -> None:
    model = Classifier(write(tmp_path / "m.onnx", onnx_bytes.color_model()))
    assert not model.predict(plain((128, 128, 128))).unknown
