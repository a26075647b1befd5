"""What quantising each layer alone does to a network's scores, and which layers are better left in float32.

Each convolution and dense layer is quantised with all others in float32, and the scores are compared: the noise of the
layer itself, not that of those before it. A convolution of one or three input channels costs more in int8 than in
float32 on the CPUs that were measured (44 against 12 µs in a lecture network), for its kernels work on four and more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecnn_training.export.quantize import Scheme, load, quantize, run
from edgecnn_training.pictures import Floats, Images

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_FEW_CHANNELS = 4
_SHARE, _MOST = 0.5, 3  # layers left in float32 cause this share of the noise, and are at most so many
_NO_NOISE_DB = 120.0


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that computes with weights.

    Attributes:
        node: Its name in the graph.
        operator: ``"Conv"``, ``"Gemm"`` …
        weights: Shape of its weights.
        signal_to_noise_db: Of the scores when it alone is quantised, in dB; higher is better.
    """

    node: str
    operator: str
    weights: tuple[int, ...]
    signal_to_noise_db: float


def report(exact: Path, folder: Path, found: object, images: Images) -> list[Layer]:
    """Quantise each layer alone and compare the scores.

    Args:
        exact: The folded float32 file.
        folder: For temporary files.
        found: The ranges of its activations.
        images: Pictures of the network's size.

    Returns:
        One for each layer, in the order of the graph.
    """
    graph = load(exact).graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    before, path = run(exact, images), folder / "one-layer.onnx"
    layers = []
    for node in graph.node:
        if node.op_type in LAYERS and node.input[1] in weights:
            quantize(exact, path, found, Scheme("one layer", only_nodes=(node.name,)))
            noise = signal_to_noise_db(before, run(path, images))
            layers.append(Layer(node.name, node.op_type, weights[node.input[1]], noise))
    path.unlink(missing_ok=True)
    return layers


def noisiest(layers: Sequence[Layer]) -> tuple[str, ...]:
    """The fewest layers that cause half of all noise, three at most."""
    power = {layer.node: 10 ** (-layer.signal_to_noise_db / 10) for layer in layers}
    order = sorted(power, key=power.__getitem__, reverse=True)
    chosen: list[str] = []
    while order and len(chosen) < _MOST and sum(power[node] for node in chosen) < _SHARE * sum(power.values()):
        chosen.append(order[len(chosen)])
    return tuple(chosen)


def first_convolution(layers: Sequence[Layer]) -> tuple[str, ...]:
    """The first layer, where it is a convolution of so few channels that int8 makes it slower."""
    first = layers[:1]
    return tuple(o.node for o in first if o.operator == "Conv" and o.weights[1] <= _FEW_CHANNELS)


def signal_to_noise_db(before: Floats, after: Floats) -> float:
    """``20 · log10(|before| / |before - after|)``, at most 120."""
    noise = float(np.linalg.norm(before - after))
    if noise == 0:
        return _NO_NOISE_DB
    return min(_NO_NOISE_DB, 20 * math.log10(float(np.linalg.norm(before)) / noise))
