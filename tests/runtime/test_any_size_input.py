"""Models that take pictures of any size: what they are fed with, and what they may not take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_bytes
import pytest
from command import Edgecnn
from onnx_bytes import attribute, node, weight
from PIL import Image as PILImage

from edgecnn import Classifier
from edgecnn.errors import ImageError, ModelError, UsageError
from edgecnn.self_test import SelfTest, picture_of

ANY = {"height": 8, "width": 8, "channels": 3, "fit": "crop", "filter": "bilinear", "sizes": "any"}


def graph(more: bytes = b"", last: str = "logits") -> bytes:
    """Scores by the picture's brightness and its size: pixels, divided by 10,000 and by 255, over all of it."""
    return (
        node("Cast", ["image"], "pixels", attribute("to", 1))
        + node("ReduceSum", ["pixels", "picture"], "sum", attribute("keepdims", 0))
        + node("Mul", ["sum", "little"], "small")
        + node("Unsqueeze", ["small", "one"], "column")
        + node("MatMul", ["column", "row"], "logits")
        + more
        + node("Softmax", [last], "scores", attribute("axis", 1))
        + weight("picture", np.array([1, 2, 3], np.int64))
        + weight("little", np.array(1e-6, np.float32))
        + weight("one", np.array([1], np.int64))
        + weight("row", np.array([[1, 0, -1]], np.float32))
        + onnx_bytes.value_info(11, "image", onnx_bytes.UINT8, ("N", "H", "W", "C"))
        + onnx_bytes.value_info(12, "scores", onnx_bytes.FLOAT, ("N", 3))
    )


HOSTILE = (
    node("Shape", ["image"], "height", attribute("start", 1) + attribute("end", 2))
    + node("Equal", ["height", "trigger"], "now")
    + node("Where", ["now", "huge", "one"], "length")
    + node("ConstantOfShape", ["length"], "many")
    + node("ReduceMax", ["many"], "most", attribute("keepdims", 0))
    + node("Add", ["logits", "most"], "worse")
    + weight("trigger", np.array([777], np.int64))
    + weight("huge", np.array([1 << 40], np.int64))
)
"""Takes 4 TiB, but only for pictures of 777 rows."""


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Classifier]:
    def open_(body: bytes, **changes: object) -> Classifier:
        path = tmp_path / "any.onnx"
        path.write_bytes(onnx_bytes.with_card(body, **{"input": ANY, **changes}))
        return Classifier(path, device="cpu")

    return open_


def grey(level: int, *size: int) -> np.ndarray:
    return np.full(size, level, np.uint8)


def test_a_picture_is_fed_as_it_is(opened: Callable[..., Classifier]) -> None:
    model = opened(graph())
    picture = grey(200, 30, 50, 3)
    assert model.fit(picture) is picture
    logit = 30 * 50 * 3 * 200 * 1e-6
    expected = np.exp([logit, 0, -logit]) / np.exp([logit, 0, -logit]).sum()
    np.testing.assert_allclose(model.predict(picture).scores, expected, atol=1e-5)
    assert model.predict(grey(200, 30, 50)).score < model.predict(picture).score  # one channel, a third of the sum


def test_pictures_of_different_sizes_are_predicted_in_their_order(opened: Callable[..., Classifier]) -> None:
    model = opened(graph())
    pictures = [grey(90, 10, 20, 3), grey(90, 40, 30), grey(90, 10, 20, 3), grey(7, 1, 1, 3)]
    together = model.predict_batch(pictures)
    for picture, prediction in zip(pictures, together, strict=True):
        np.testing.assert_array_equal(prediction.scores, model.predict(picture).scores)
    assert model.scores(np.stack([pictures[0], pictures[2]])).shape == (2, 3)


def test_pictures_of_different_sizes_are_explained_too_and_a_file_that_cannot_says_so(
    opened: Callable[..., Classifier],
) -> None:
    pictures = [grey(200, 8, 8), grey(90, 30, 5), grey(10, 3, 9)]
    with pytest.raises(UsageError, match="export it again, with `edgecnn export RUN --explain`"):
        opened(graph()).predict_batch(pictures, explain=True)
    places = (
        node("Unsqueeze", ["logits", "sides"], "activation_map")
        + weight("sides", np.array([1, 2], np.int64))
        + onnx_bytes.value_info(12, "activation_map", onnx_bytes.FLOAT, ("N", 1, 1, 3))
    )
    model = opened(graph(places))
    for one, other in zip(model.predict_batch(pictures, explain=True), pictures, strict=True):
        np.testing.assert_array_equal(one.scores, model.predict(other).scores)
        assert one.activation_map is not None
        assert one.explanation is not None
        assert one.explanation.region.bottom <= len(other)


@pytest.mark.parametrize("shape", [(8, 8, 3), (1, 0, 8, 3), (0, 8, 8, 3), (1, 8, 8, 4), (1, 8, 8, 2)])
def test_scores_takes_pictures_only(opened: Callable[..., Classifier], shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"scores takes uint8 \(N, H, W, 1 or 3\); received uint8"):
        opened(graph()).scores(np.zeros(shape, np.uint8))


def test_a_card_that_says_any_needs_a_graph_that_takes_any(opened: Callable[..., Classifier]) -> None:
    fixed = onnx_bytes.linear_graph(np.ones((3, 3), np.float32), (8, 8, 3))
    with pytest.raises(ModelError, match=r"uint8 \(N, H, W, C\) of any size; it has 'image', uint8 \(N, 8, 8, 3\)"):
        opened(fixed)


def test_what_a_graph_does_at_one_size_only_is_seen_before_it_does_it(opened: Callable[..., Classifier]) -> None:
    model = opened(graph(HOSTILE, "worse"))
    assert model.predict(grey(90, 776, 10, 3)).scores.shape == (3,)
    with pytest.raises(ImageError, match=r"777×10 pixels: a model may need at most .* make the picture smaller"):
        model.predict(grey(90, 777, 10, 3))
    with pytest.raises(ImageError, match="777×10 pixels"):
        model.scores(grey(90, 1, 777, 10, 3))


def test_predict_goes_on_after_a_picture_that_is_too_large(
    opened: Callable[..., Classifier], edgecnn: Edgecnn, tmp_path: Path
) -> None:
    path = opened(graph(HOSTILE, "worse")).path
    for rows in (10, 777, 20):
        PILImage.new("RGB", (10, rows)).save(tmp_path / f"{rows}.png")
    done = edgecnn("predict", path, tmp_path / "10.png", tmp_path / "777.png", tmp_path / "20.png", "--batch", 2)
    records = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 1
    assert [record["type"] for record in records] == ["prediction", "error", "prediction"]
    assert "make the picture smaller" in records[1]["error"]


def test_inspect_says_that_any_size_may_be_fed(opened: Callable[..., Classifier], edgecnn: Edgecnn) -> None:
    done = edgecnn("inspect", opened(graph()).path, terminal=True)
    assert "any size may be fed, grey or RGB; the graph brings it to 8×8 RGB, fit crop" in " ".join(done.out.split())


def test_the_self_test_feeds_two_sizes(opened: Callable[..., Classifier]) -> None:
    model = opened(graph())
    spec = model.card.input
    assert [picture_of(seed, spec).shape for seed in (3, 4)] == [(8, 8, 3), (13, 7, 3)]
    scores = np.concatenate([model.scores(picture_of(seed, spec)[np.newaxis]) for seed in (3, 4)])
    test = SelfTest.of((3, 4), scores)
    opened(graph(), self_test=test.to_json())
    wrong = SelfTest.of((3, 4), np.stack([scores[0], scores[1][::-1]]))
    with pytest.raises(ModelError, match="1 of 2 test pictures, most about number 4"):
        opened(graph(), self_test=wrong.to_json())
