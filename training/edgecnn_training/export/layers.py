"""What quantising each layer alone does to a network's scores, what it does to its time, and what follows from both.

Each convolution and dense layer is quantised with all others in float32, and the scores are compared: the noise of the
layer itself, not that of those before it. A convolution of one or three input channels costs more in int8 than in
float32 on the CPUs that were measured (44 against 12 µs in a lecture network), for its kernels work on four and more.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecnn.card import Json
from edgecnn_training import screen
from edgecnn_training.export import timing
from edgecnn_training.export.quantize import Scheme, load, quantize, run
from edgecnn_training.pictures import Floats, Images

FEW_BITS = 4
"""Of the weights of large dense layers, in the one scheme whose times are compared beside float32 and int8."""

_FEW_CHANNELS = 4
_TIMES = ("float32_us", "int8_us", "few_bits_us")
_SLOWER = 1.05  # int8 must take this share of float32's time to count as slower: less is noise
_SHARE, _MOST = 0.5, 3  # layers left in float32 cause this share of the noise, and are at most so many
_NO_NOISE_DB = 120.0


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that computes with weights.

    Attributes:
        node: Its name in the marked graph, see `edgecnn_training.export.timing`.
        operator: ``"Conv"``, ``"Gemm"`` …
        weights: Shape of its weights.
        signal_to_noise_db: Of the scores when it alone is quantised, in dB; higher is better.
        float32_us: Microseconds for one picture, activation included; NaN where it was not measured.
        int8_us: Likewise, where all layers are int8, with the quantisation behind it.
        few_bits_us: Likewise, as a dense layer with weights of `FEW_BITS` bits; NaN for others.
    """

    node: str
    operator: str
    weights: tuple[int, ...]
    signal_to_noise_db: float
    float32_us: float = math.nan
    int8_us: float = math.nan
    few_bits_us: float = math.nan

    def to_record(self) -> dict[str, Json]:
        """As JSON; None for what was not measured."""
        values: dict[str, Json] = {"layer": timing.plain(self.node), "operator": self.operator}
        values["weights"] = list(self.weights)
        for name in ("signal_to_noise_db", *_TIMES):
            number = getattr(self, name)
            values[name] = None if math.isnan(number) else round(number, 2)
        return values


def report(exact: Path, folder: Path, found: object, images: Images) -> list[Layer]:
    """Quantise each layer alone and compare the scores.

    Args:
        exact: The folded and marked float32 file.
        folder: For temporary files.
        found: The ranges of its activations.
        images: Pictures of the network's size.

    Returns:
        One for each layer, in the order of the graph.
    """
    graph = load(exact).graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    before, path = run(exact, images), folder / "one-layer.onnx"
    layers: list[Layer] = []
    with screen.steps("quantising") as begins:
        for node in (node for node in graph.node if timing.is_layer(node, set(weights))):
            begins(f"layer {len(layers) + 1} alone")
            quantize(exact, path, found, Scheme("one layer", only_nodes=(node.name,)))
            noise = signal_to_noise_db(before, run(path, images))
            layers.append(Layer(node.name, node.op_type, weights[node.input[1]], noise))
    path.unlink(missing_ok=True)
    return layers


def timed(layers: Sequence[Layer], files: Sequence[Path], picture: Images) -> list[Layer]:
    """The layers with their times on this machine.

    Args:
        layers: What `report` gave.
        files: Marked graphs: in float32, in int8, and where there are large dense layers with these in few bits.
        picture: uint8 ``(1, H, W, C)``.
    """
    times = timing.microseconds(dict(zip(_TIMES, files, strict=False)), picture)

    own = [[times.get(kind, {}).get(number, math.nan) for kind in _TIMES] for number in range(len(layers))]
    return [
        dataclasses.replace(layer, float32_us=exact, int8_us=small, few_bits_us=few)
        for layer, (exact, small, few) in zip(layers, own, strict=True)
    ]


def slower_in_int8(layers: Sequence[Layer]) -> tuple[str, ...]:
    """The layers that take longer in int8 than in float32."""
    return tuple(layer.node for layer in layers if layer.int8_us > _SLOWER * layer.float32_us)


def faster_in_few_bits(layers: Sequence[Layer], dense: Sequence[str]) -> tuple[str, ...]:
    """Of some dense layers those that are fastest with weights of few bits."""
    return tuple(o.node for o in layers if o.node in dense and o.few_bits_us < min(o.int8_us, o.float32_us))


def table(layers: Sequence[Layer]) -> str:
    """For people: a line for each layer."""
    rows = [["", "weights", "alone in int8", "float32", "int8", f"{FEW_BITS}-bit weights"]]
    for layer in layers:
        times = [f"{time:.1f} µs" if time == time else "–" for time in (getattr(layer, name) for name in _TIMES)]
        shape = "×".join(map(str, layer.weights))
        rows.append([timing.plain(layer.node), shape, f"{layer.signal_to_noise_db:.0f} dB", *times])
    return screen.table(rows, indent="  ")


def as_csv(layers: Sequence[Layer]) -> str:
    """For other programs: a header, then a line for each layer."""
    text = io.StringIO()
    names = ("layer", "operator", "weights", "signal_to_noise_db", *_TIMES)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for record in map(Layer.to_record, layers):
        record["weights"] = "×".join(map(str, record["weights"]))  # type: ignore[arg-type]  # a list
        writer.writerow(["" if record[name] is None else record[name] for name in names])
    return text.getvalue()


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
