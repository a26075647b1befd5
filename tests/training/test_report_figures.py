"""The numbers behind a report's pictures: maps that add up to logits, weights on one scale, points in the plane."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from edgecnn_training.architectures import lecture_a, micro, photo96, small, softmax
from edgecnn_training.class_maps import maps, pooled_head
from edgecnn_training.report import svg
from edgecnn_training.report.activation import overlay
from edgecnn_training.report.embedding import pca, tsne
from edgecnn_training.report.filters import as_pictures, first_kernels
from edgecnn_training.report.markup import element, path, text
from edgecnn_training.report.subject import evenly

layers = keras.layers


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("architecture", [small, micro, photo96])
def test_the_mean_of_a_map_and_the_bias_are_the_logit(architecture: object) -> None:
    network = architecture.build((32, 24, 3), 4)  # type: ignore[attr-defined]  # a module
    network.layers[-1].bias.assign(np.arange(4.0))
    head, pixels = pooled_head(network), noise(4, 32, 24, 3)
    assert head is not None
    classes = np.array([3, 0, 1, 2])
    found = maps(head, pixels, classes)
    logits = network.predict_on_batch(pixels)[np.arange(4), classes]
    assert found.shape[0] == 4
    np.testing.assert_allclose(found.mean((1, 2)) + classes, logits, rtol=1e-4, atol=1e-4)  # float32, 64 to 256 terms


def test_a_sequential_network_with_dropout_before_its_last_layer_has_maps() -> None:
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(3, 3),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(2, use_bias=False),
        ]
    )
    head = pooled_head(network)
    assert head is not None
    pixels = noise(1, 8, 8, 1)
    assert maps(head, pixels, np.array([1])).mean() == pytest.approx(float(network(pixels)[0, 1]), abs=1e-5)


def branched() -> keras.Model:
    """Its last layer sees a pooling, and the one beside it in the list of layers is another."""
    image = keras.Input((8, 8, 1))
    used = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(image))
    other = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(image))
    return keras.Model(image, layers.Dense(2)(layers.Add()([used, other])))


def scaled_between() -> keras.Model:
    image = keras.Input((8, 8, 1))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(image))
    return keras.Model(image, layers.Dense(2)(layers.Rescaling(3.0)(x)))


def tripled_between() -> keras.Model:
    """What is between is an operation, which Keras does not list among the layers."""
    image = keras.Input((8, 8, 1))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(image))
    return keras.Model(image, layers.Dense(2)(3.0 * x))


def softmaxed() -> keras.Model:
    image = keras.Input((8, 8, 1))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(image))
    return keras.Model(image, layers.Dense(2, activation="softmax")(x))


@pytest.mark.parametrize(
    "network",
    [branched, scaled_between, tripled_between, softmaxed, lambda: lecture_a.build((28, 28, 1), 3), lambda: _Own()],
)
def test_a_network_whose_maps_would_not_add_up_has_none(network: object) -> None:
    assert pooled_head(network()) is None  # type: ignore[operator]  # a function


class _Own(keras.Model):
    """A network that is no graph of layers."""

    def call(self, pixels: object) -> object:
        return pixels


@pytest.mark.parametrize("channels", [1, 3])
def test_an_overlay_is_orange_where_the_map_is_largest_and_grey_where_it_is_not_above_zero(channels: int) -> None:
    image = np.full((4, 6, channels), 100, np.uint8)
    evidence = np.full((4, 6), -5.0, np.float32)
    evidence[0, 0] = 2.0
    shown = overlay(image, evidence).astype(int)
    assert shown.shape == (72, 108, 3)  # 112 // 6 times as large
    assert shown[0, 0].tolist() == [round(0.2 * (40 + 100 * 175 / 255) + 0.8 * c) for c in (255, 96, 0)]
    assert (shown[-1, -1] == round(40 + 100 * 175 / 255)).all()


def test_an_overlay_without_evidence_is_grey() -> None:
    shown = overlay(np.zeros((3, 3, 1), np.uint8), np.full((2, 2), -1.0, np.float32))
    assert (shown == 40).all()


def test_first_kernels_are_a_convolutions_or_one_picture_for_each_output_of_a_dense_layer() -> None:
    kind, kernels = first_kernels(small.build((20, 20, 3), 3), (20, 20, 3)) or ("", noise(1))
    assert (kind, kernels.shape) == ("filter", (3, 3, 3, 16))
    network = softmax.build((20, 10, 1), 3)
    kind, kernels = first_kernels(network, (20, 10, 1)) or ("", noise(1))
    assert (kind, kernels.shape) == ("output", (20, 10, 1, 3))
    pixels = noise(1, 20, 10, 1)
    bias = network.layers[-1].get_weights()[1]
    expected = (pixels[0, ..., None] * kernels).sum((0, 1, 2)) + bias
    np.testing.assert_allclose(network.predict_on_batch(pixels)[0], expected, atol=1e-4)  # float32, 200 terms


def test_first_kernels_lie_within_a_network_that_is_a_layer_and_others_are_not_shown() -> None:
    outer = keras.Input((20, 20, 1))
    nested = keras.Model(outer, layers.Rescaling(2.0)(micro.build((20, 20, 1), 3)(outer)))
    kind, kernels = first_kernels(nested, (20, 20, 1)) or ("", noise(1))
    assert (kind, kernels.shape) == ("filter", (3, 3, 1, 12))
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 3)(layers.SeparableConv2D(3, 3)(image))
    assert first_kernels(keras.Model(image, x), (8, 8, 3)) is None


def test_weights_are_drawn_on_one_scale_with_zero_in_the_middle() -> None:
    kernels = np.zeros((1, 2, 1, 2), np.float32)
    kernels[0, :, 0, 0], kernels[0, :, 0, 1] = [2.0, -2.0], [1.0, 0.0]
    assert as_pictures(kernels)[..., 0].tolist() == [[[255, 0]], [[191, 128]]]  # 127.5 + 63.75 and 127.5, to even
    assert (as_pictures(np.zeros((1, 1, 3, 1), np.float32)) == 128).all()


def test_pca_keeps_the_two_directions_of_largest_variance() -> None:
    points = noise(60, 5) * np.array([1, 7, 3, 0.5, 0.1], np.float32) + 100
    flat, shares = pca(points)
    values = np.sort(np.linalg.eigvalsh(np.cov(points.T.astype(np.float64))))[::-1]
    assert flat.var(0, ddof=1) == pytest.approx(values[:2], rel=1e-5)
    assert shares == pytest.approx(values[:2] / values.sum(), rel=1e-5)
    assert flat.mean(0) == pytest.approx([0, 0], abs=1e-6)


def test_pca_of_single_numbers_is_a_line() -> None:
    flat, shares = pca(noise(10, 1))
    assert not flat[:, 1].any()
    assert shares == (pytest.approx(1), 0)


@pytest.mark.parametrize("dimensions", [1, 8])
def test_tsne_keeps_groups_apart_and_always_gives_the_same_picture(dimensions: int) -> None:
    group = np.arange(40) % 2
    points = noise(40, dimensions) * 0.1 + 20 * group[:, None].astype(np.float32)
    flat = tsne(points)
    distances = np.linalg.norm(flat[:, None] - flat[None], axis=2) + 1e9 * np.eye(40)
    assert (group[distances.argmin(1)] == group).all()
    assert np.array_equal(flat, tsne(points))


def test_evenly_takes_all_or_as_many_as_asked_from_the_first_on() -> None:
    assert evenly(3, 5).tolist() == [0, 1, 2]
    assert evenly(10, 4).tolist() == [0, 2, 5, 7]


def test_text_is_escaped_attributes_too_and_what_cannot_be_shown() -> None:
    assert text('<&"\x1b\udcff') == "&lt;&amp;&quot;\\x1b\\udcff"
    assert element("a", text("x"), class_='"><b', aria_label="y") == '<a class="&quot;&gt;&lt;b" aria-label="y">x</a>'
    assert path("a/<b>.png") == "a/<wbr>&lt;b&gt;.png"


def test_a_chart_leaves_its_colours_to_the_page_and_has_names_of_its_own() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    with svg.style():
        figure, axes = svg.panel()
        axes.plot([1, 2], [3, 4], color=svg.BLUE)
        drawn = svg.chart(figure, "mine", "a <line>")
    assert dict(matplotlib.rcParams) == before
    assert "var(--blue)" in drawn
    assert "currentColor" in drawn
    assert "#01020" not in drawn
    assert 'aria-label="a &lt;line&gt;"' in drawn
    assert 'id="mine-axes_1"' in drawn
    assert "purl.org" not in drawn
