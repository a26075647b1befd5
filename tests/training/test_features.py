"""Features are what the last dense layer is fed with."""

import keras
import numpy as np
import pytest
from edgecnn_training.architectures import small
from edgecnn_training.features import feature_network, features, last_dense
from edgecnn_training.networks import with_temperature
from edgecnn_training.pictures import Normalization


def test_logits_are_the_last_layer_applied_to_the_features() -> None:
    network = small.build((20, 20, 1), 3)
    images = np.random.default_rng(0).integers(0, 256, (5, 20, 20, 1), np.uint8)
    normalization = Normalization((100.0,), (50.0,))
    found = features(network, normalization, images, np.array([4, 0]))
    assert found is not None
    assert found.shape == (2, 64)
    kernel, bias = network.layers[-1].get_weights()
    logits = network.predict_on_batch(normalization(images[[4, 0]]))
    np.testing.assert_allclose(found @ kernel + bias, logits, atol=1e-5)  # float32, 64 terms


def test_a_sequential_network_has_features_as_well() -> None:
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1)
    found = features(network, Normalization((0.0,), (1.0,)), images, np.array([1, 0]))
    assert found is not None
    assert np.array_equal(found, images[[1, 0]].reshape(2, 16))


def test_a_network_without_a_dense_end_has_no_features() -> None:
    image = keras.Input((20, 20, 1))
    x = keras.layers.Conv2D(3, 3)(image)
    assert feature_network(keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))) is None


def test_an_operation_behind_the_last_dense_layer_is_seen_although_it_is_no_layer() -> None:
    image = keras.Input((4, 4, 1))
    logits = keras.layers.Dense(3)(keras.layers.Flatten()(image))
    assert last_dense(keras.Model(image, logits)) is not None
    bent = keras.Model(image, 5 * keras.ops.tanh(logits))
    assert last_dense(bent) is None
    images = np.random.default_rng(0).normal(0, 3, (8, 4, 4, 1)).astype(np.float32)
    before = np.asarray(bent(images))
    assert np.asarray(with_temperature(bent, 2.0)(images)) == pytest.approx(before / 2, abs=1e-5)
