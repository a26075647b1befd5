"""Where a network looked: the second output of a file, how it is asked for, and where on the picture it lies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_bytes
import onnx_networks
import pytest

from edgecnn import Classifier, prescan
from edgecnn.errors import ModelError, UsageError
from edgecnn.frames import Failure, Frame
from edgecnn.pipeline import run
from edgecnn.prediction import ErrorResult, Prediction, Region, Result, heat
from edgecnn.preprocess import fit_image, region_seen
from edgecnn.scan.outputs import without

LABELS = ("red", "green", "blue")
KINDS = {name: onnx_networks.GRAPHS[name]() for name in ("convolutional", "quantized")}
BIAS = np.random.default_rng(3).normal(0, 0.5, (3,)).astype(np.float32)  # onnx_networks draws it so


def write(path: Path, graph: bytes) -> Path:
    path.write_bytes(onnx_bytes.with_card(graph, labels=LABELS))
    return path


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Classifier, Classifier]]:
    """A model that explains, and the same without."""
    graph = KINDS[request.param]
    explaining = write(tmp_path / "explaining.onnx", onnx_networks.explained(graph))
    with Classifier(explaining) as first, Classifier(write(tmp_path / "plain.onnx", graph)) as second:
        yield first, second


def noise(count: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (count, 8, 8, 3), np.uint8)


def test_scores_are_the_same_bit_by_bit_whether_a_file_explains_or_not(pair: tuple[Classifier, Classifier]) -> None:
    explaining, plain = pair
    images = noise(40)
    expected = plain.scores(images)
    np.testing.assert_array_equal(explaining.scores(images), expected)
    np.testing.assert_array_equal(explaining.explained(images)[0], expected)


def test_the_mean_of_each_map_and_the_bias_are_the_logits(pair: tuple[Classifier, Classifier]) -> None:
    scores, maps = pair[0].explained(noise(7))
    assert (maps.shape, maps.dtype) == ((7, 4, 4, 3), np.float32)
    powers = np.exp(maps.astype(np.float64).mean((1, 2)) + BIAS)
    np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), scores, atol=1e-5)  # float32 sums of 16 places


def test_a_prediction_has_the_map_of_its_label_and_of_any_other(pair: tuple[Classifier, Classifier]) -> None:
    explaining, _ = pair
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    prediction = explaining.predict(image, explain=True)
    _, (maps,) = explaining.explained(explaining.fit(image)[np.newaxis])
    assert prediction.activation_map is not None
    np.testing.assert_array_equal(prediction.activation_map, maps[:, :, prediction.class_index])
    np.testing.assert_array_equal(prediction.activation_map_of("blue"), maps[:, :, 2])
    assert prediction.explanation is not None
    assert prediction.explanation.region == Region(5, 0, 25, 20)  # the square in the middle
    with pytest.raises(UsageError, match="label must be one of red, green, blue; received 'pink'"):
        prediction.activation_map_of("pink")


def test_what_is_not_asked_for_is_not_there_and_not_even_loaded(pair: tuple[Classifier, Classifier]) -> None:
    explaining, plain = pair
    assert explaining.explains
    assert explaining.predict(noise(1)[0]).activation_map is None
    loaded = prescan.outline(without(explaining.path.read_bytes(), "activation_map"))
    assert loaded.outputs == prescan.outline(plain.path.read_bytes()).outputs
    assert loaded.operators == prescan.outline(plain.path.read_bytes()).operators


def test_a_model_without_the_output_works_as_ever_and_says_what_to_do_when_asked(
    pair: tuple[Classifier, Classifier],
) -> None:
    _, plain = pair
    assert not plain.explains
    data = plain.path.read_bytes()
    assert without(data, "activation_map") is data
    with pytest.raises(UsageError, match=r"plain\.onnx has none: export it again, with `edgecnn export RUN --explain`"):
        plain.predict(noise(1)[0], explain=True)
    with pytest.raises(UsageError, match="must be asked for: predict with explain=True"):
        plain.predict(noise(1)[0]).activation_map_of("red")


def test_leaving_out_an_output_leaves_out_what_only_it_needs() -> None:
    graph = (
        onnx_bytes.node("Abs", ["image"], "both")
        + onnx_bytes.node("Neg", ["both"], "first")
        + onnx_bytes.node("Exp", ["both"], "inner")
        + onnx_bytes.node("Sqrt", ["inner"], "second")
        + onnx_bytes.value_info(11, "image", onnx_bytes.FLOAT, ("N",))
        + onnx_bytes.value_info(12, "first", onnx_bytes.FLOAT, ("N",))
        + onnx_bytes.value_info(12, "second", onnx_bytes.FLOAT, ("N",))
    )
    model = onnx_bytes.model(graph, {"key": "text"})
    left = prescan.outline(without(model, "second"))
    assert (dict(left.operators), [out.name for out in left.outputs]) == ({"Abs": 1, "Neg": 1}, ["first"])
    assert dict(prescan.outline(without(model, "first")).operators) == {"Abs": 1, "Exp": 1, "Sqrt": 1}
    assert prescan.read_metadata(without(model, "second")) == {"key": "text"}


def test_a_graph_whose_tag_is_written_longer_than_it_need_be_is_read_and_written_all_the_same() -> None:
    graph = onnx_networks.explained(onnx_networks.convolutional())
    model = onnx_bytes.model(graph)
    tag = bytes([7 << 3 | 2])
    longer = model.replace(tag + onnx_bytes.varint(len(graph)), b"\xba\x00" + onnx_bytes.varint(len(graph)))
    assert len(longer) == len(model) + 1
    assert without(longer, "activation_map") == without(model, "activation_map")


@pytest.mark.filterwarnings("ignore:the model has operators:UserWarning")
def test_a_model_with_graphs_in_its_nodes_explains_as_well(tmp_path: Path) -> None:
    plain = onnx_networks.explained(onnx_networks.convolutional())
    branch = onnx_bytes.node("Identity", ["chosen"], "out") + onnx_bytes.nested(2, "branch")
    branch += onnx_bytes.value_info(12, "out", onnx_bytes.FLOAT, ("N", 3))
    branches = b"".join(
        onnx_bytes.nested(5, onnx_bytes.nested(1, name) + onnx_bytes.nested(6, branch) + onnx_bytes.number(20, 5))
        for name in ("then_branch", "else_branch")
    )
    last = onnx_bytes.node("Softmax", ["logits"], "scores", onnx_bytes.attribute("axis", 1))
    first = onnx_bytes.node("Softmax", ["logits"], "chosen", onnx_bytes.attribute("axis", 1))
    graph = plain.replace(last, first + onnx_bytes.node("If", ["yes"], "scores", branches))
    graph += onnx_bytes.weight("yes", np.array(True))
    images = noise(3)
    with (
        Classifier(write(tmp_path / "if.onnx", graph), allow_any_op=True) as other,
        Classifier(write(tmp_path / "plain.onnx", plain)) as model,
    ):
        np.testing.assert_array_equal(other.scores(images), model.scores(images))
        np.testing.assert_array_equal(other.explained(images)[1], model.explained(images)[1])


def test_a_model_with_graphs_in_its_nodes_is_loaded_whole() -> None:
    inner = onnx_bytes.nested(5, onnx_bytes.nested(1, "body") + onnx_bytes.nested(6, b"") + onnx_bytes.number(20, 5))
    graph = onnx_bytes.node("Loop", ["image"], "scores", inner) + onnx_bytes.node("Abs", ["image"], "map")
    graph += onnx_bytes.value_info(12, "scores", onnx_bytes.FLOAT, ("N",))
    graph += onnx_bytes.value_info(12, "map", onnx_bytes.FLOAT, ("N",))
    model = onnx_bytes.model(graph)
    assert without(model, "map") is model


@pytest.mark.parametrize(
    ("dtype", "shape", "told"),
    [
        (onnx_bytes.FLOAT, ("N", 4, 4, 2), r"it is float32 \(N, 4, 4, 2\)"),
        (onnx_bytes.FLOAT, ("N", 4, "w", 3), r"it is float32 \(N, 4, w, 3\)"),
        (onnx_bytes.FLOAT, ("N", 48), r"it is float32 \(N, 48\)"),
        (onnx_bytes.UINT8, ("N", 4, 4, 3), r"it is uint8 \(N, 4, 4, 3\)"),
    ],
)
def test_an_output_that_is_no_map_is_refused(
    tmp_path: Path, dtype: int, shape: tuple[int | str, ...], told: str
) -> None:
    graph = onnx_networks.convolutional()
    extra = onnx_networks.explained(graph)[len(graph) :]
    extra = extra[: extra.rindex(b"activation_map") - 4] + onnx_bytes.value_info(12, "activation_map", dtype, shape)
    path = write(tmp_path / "m.onnx", graph + extra)
    with pytest.raises(ModelError, match=rf"'activation_map' must be float32 \(N, h, w, 3\); {told}: export the model"):
        Classifier(path)


def test_another_second_output_is_refused_as_before(tmp_path: Path) -> None:
    graph = onnx_networks.explained(onnx_networks.convolutional()).replace(b"activation_map", b"activation_cap")
    with pytest.raises(ModelError, match=r"one output named 'scores'.*it has 'scores'.*'activation_cap'"):
        Classifier(write(tmp_path / "m.onnx", graph))


def test_a_closed_model_explains_no_more(pair: tuple[Classifier, Classifier]) -> None:
    explaining, _ = pair
    for _ in range(2):  # closed before it was ever asked, and after
        explaining.close()
        with pytest.raises(UsageError, match="a closed model cannot predict"):
            explaining.explained(noise(1))


def test_heat_is_grad_cams_normalisation_by_hand() -> None:
    evidence = np.array([[-3, 0], [1, 4]], np.float32)
    np.testing.assert_array_equal(heat(evidence), np.array([[0, 0], [0.25, 1]], np.float32))
    assert heat(evidence).dtype == np.float32


@pytest.mark.parametrize("evidence", [[[0, 0], [0, 0]], [[-5, -1], [-2, -9]], [[-5, -1], [1e-7, -9]]])
def test_a_map_that_speaks_for_nothing_stays_dark(evidence: list[list[float]]) -> None:
    assert heat(np.array(evidence, np.float32)).max() < 1e-5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_no_number_is_not_drawn(value: float) -> None:
    with pytest.raises(ModelError, match="must be of numbers"):
        heat(np.array([[1, value]], np.float32))


@pytest.mark.parametrize(
    ("rows", "columns", "fit", "region"),
    [
        (20, 30, "crop", Region(5, 0, 25, 20)),
        (30, 20, "crop", Region(0, 5, 20, 25)),
        (20, 30, "stretch", Region(0, 0, 30, 20)),
        (20, 40, "pad", Region(0, -10, 40, 30)),
        (40, 20, "pad", Region(-10, 0, 30, 40)),
        (8, 8, "pad", Region(0, 0, 8, 8)),
    ],
)
def test_the_region_that_a_square_network_sees_by_hand(rows: int, columns: int, fit: str, region: Region) -> None:
    assert region_seen(rows, columns, 8, 8, fit) == region


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("size", [(90, 160), (160, 90), (64, 200), (33, 31)])
def test_a_mark_lies_where_the_region_says(fit: str, size: tuple[int, int]) -> None:
    height, width = 24, 36
    image = np.zeros((*size, 1), np.uint8)
    y, x = size[0] // 2 - 6, size[1] // 2 + 4  # within what a crop leaves
    image[y - 2 : y + 3, x - 2 : x + 3] = 255
    fitted = fit_image(image, height, width, 1, fit)[:, :, 0].astype(np.float64)
    weight = fitted / fitted.sum()
    row, column = (weight.sum(1) * (np.arange(height) + 0.5)).sum(), (weight.sum(0) * (np.arange(width) + 0.5)).sum()
    seen = region_seen(*size, height, width, fit)
    found = (
        seen.left + column * (seen.right - seen.left) / width,
        seen.top + row * (seen.bottom - seen.top) / height,
    )
    pixel = max((seen.right - seen.left) / width, (seen.bottom - seen.top) / height)
    np.testing.assert_allclose(found, (x + 0.5, y + 0.5), atol=0.5 * pixel)  # half a pixel of what the network takes


class Asking:
    """A sink that keeps results and says what it wants."""

    def __init__(self, *wants: str) -> None:
        self.wants, self.results, self.closed = wants, list[Result](), 0

    def write(self, result: Result | ErrorResult) -> None:
        assert isinstance(result, Result)
        self.results.append(result)

    def close(self) -> None:
        self.closed += 1


class Few:
    """A source of three frames."""

    def __init__(self, *, live: bool = False) -> None:
        self.live = live

    def __iter__(self) -> Iterator[Frame | Failure]:
        for index in range(3):
            yield Frame(np.full((8, 16, 3), 80 * index, np.uint8), "camera", index, 0.0, numbered=self.live)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("batch", [1, 2])
def test_a_sink_gets_the_picture_and_the_map_if_it_wants_them(pair: tuple[Classifier, Classifier], batch: int) -> None:
    explaining, _ = pair
    both, neither = Asking("image", "activation_map"), Asking()
    for sink, live in ((both, True), (neither, False)):
        run(Few(live=live), explaining, sink, batch=batch)
    for index, (full, bare) in enumerate(zip(both.results, neither.results, strict=True)):
        assert full.image is not None
        assert (full.image.shape, int(full.image.max()), full.index) == ((8, 16, 3), 80 * index, index)
        assert full.prediction.explanation is not None
        assert full.prediction.explanation.region == Region(4, 0, 12, 8)
        assert (bare.image, bare.index, bare.prediction.explanation) == (None, None, None)
        np.testing.assert_array_equal(full.prediction.scores, bare.prediction.scores)
        assert full.to_record(3) == bare.to_record(3) | {"ms": full.to_record(3)["ms"], "index": index}


def test_a_map_that_a_model_does_not_have_is_refused_before_the_first_picture(
    pair: tuple[Classifier, Classifier],
) -> None:
    sink = Asking("activation_map")
    with pytest.raises(UsageError, match="export RUN --explain"):
        run(Few(), pair[1], sink)
    assert (sink.closed, sink.results) == (1, [])


def test_a_prediction_without_an_explanation_has_no_map() -> None:
    assert Prediction(np.array([0.5, 0.5], np.float32), ("a", "b")).activation_map is None
