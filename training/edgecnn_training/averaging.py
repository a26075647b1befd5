"""The average of a network's weights over the last steps, which often does better than the weights of the last one.

The optimiser keeps it (``use_ema``), so that checkpoints hold it and a resumed run goes on with it. Batch
normalisation's statistics belong to the weights they were measured with: for the averaged ones they are measured anew.

Source: Polyak, Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; the statistics as in Izmailov
et al., "Averaging Weights Leads to Wider Optima and Better Generalization", arXiv:1803.05407.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import numpy as np
import numpy.typing as npt

from edgecnn_training.pictures import Normalization, Pictures

Weights = Sequence[npt.NDArray[np.float32]]
RE_ESTIMATE_PICTURES = 4096
_BATCH = 256


def batch_norms(network: keras.Model) -> list[keras.layers.BatchNormalization]:
    """All batch normalisations of a network, those of networks inside it too."""
    found = []
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            found.append(layer)
        elif isinstance(layer, keras.Model):
            found += batch_norms(layer)
    return found


def averaged_weights(network: keras.Model, train: Pictures, normalization: Normalization) -> Weights:
    """The averaged weights, with batch normalisation's statistics measured for them; the network stays as it is.

    Args:
        network: Compiled with an optimiser that averages.
        train: Its training pictures.
        normalization: What is done to the pixels.

    Returns:
        What ``network.set_weights`` takes.
    """
    with swapped(network, None):
        network.optimizer.finalize_variable_values(network.trainable_variables)
        re_estimate(network, train, normalization)
        weights: Weights = network.get_weights()
    return weights


@contextmanager
def swapped(network: keras.Model, weights: Weights | None) -> Iterator[None]:
    """Other weights as long as this is open; None lets the caller set them."""
    own = network.get_weights()
    try:
        if weights is not None:
            network.set_weights(weights)
        yield
    finally:
        network.set_weights(own)


def re_estimate(network: keras.Model, train: Pictures, normalization: Normalization) -> None:
    """Measure batch normalisation's statistics anew, on pictures as they are, evenly taken from all of them.

    They become the means over the batches; random generators, as those of dropout, are left where they stood.
    """
    layers = [layer for layer in batch_norms(network) if layer.trainable]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    seeds = [variable for variable in network.variables if variable.path.endswith("seed_generator_state")]
    stood = [np.array(variable) for variable in seeds]
    count = min(len(train), RE_ESTIMATE_PICTURES)
    chosen = np.linspace(0, len(train) - 1, count).astype(np.int64)
    batches = np.array_split(chosen, -(-count // _BATCH))  # of one size, or nearly
    try:
        for number, batch in enumerate(batches):
            for layer in layers:
                layer.momentum = number / (number + 1)  # the mean of all batches so far
            network(normalization(train.take(batch)), training=True)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for variable, seed in zip(seeds, stood, strict=True):
            variable.assign(seed)
