"""The files that might ship: made, then measured through the code that will run them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from edgecnn.classifier import Classifier
from edgecnn_training import screen
from edgecnn_training.accuracy import in_batches
from edgecnn_training.calibrate import calibration_rows
from edgecnn_training.export import container, dense, front, islands, layers, quantize, timing
from edgecnn_training.export.container import Identity
from edgecnn_training.export.convert import compact, half, tidy
from edgecnn_training.export.gate import FLOAT16, FLOAT32, Standing
from edgecnn_training.export.quantize import Scheme
from edgecnn_training.pictures import Floats, Images, Indices, Pictures

_LAYER_PICTURES = 64
_HISTOGRAM_PICTURES = 128  # more than enough for a quantile, and a histogram costs much
_ROUNDS, _CALLS = 9, 12  # of each candidate in turn, so that all share the machine's mood


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that might be the one that ships.

    Attributes:
        path: Where it lies, in a temporary folder.
        graph: Its content.
        network: The same without the part that brings pictures of any size to the network's.
        scheme: How it was made; for float32 and float16 only the name counts.
        validation: float32 ``(N, classes)``: what it says of the validation pictures.
    """

    path: Path
    graph: onnx.ModelProto
    network: onnx.ModelProto
    scheme: Scheme
    validation: Floats
    milliseconds: float = float("nan")

    @property
    def name(self) -> str:
        """Of its scheme."""
        return self.scheme.name

    @property
    def precision(self) -> str:
        """As the card names it: ``"float32"``, ``"float16"`` or ``"int8"``."""
        return self.name.split()[0]

    @property
    def size_bytes(self) -> int:
        """Size of the file, with a card that says the least."""
        return self.path.stat().st_size

    def scores(self, pictures: Pictures) -> Floats:
        """What the file says of pictures, float32 ``(N, classes)``."""
        if not len(pictures):
            return np.empty((0, self.validation.shape[1]), np.float32)
        with Classifier(self.path, device="cpu") as classifier:
            return in_batches(classifier.scores, pictures.images, pictures.rows)

    def float_operators(self) -> dict[str, int]:
        """What ONNX Runtime computes in float32 of a network of 8 bits; see `islands.float_operators`."""
        alone = self.path.with_suffix(".alone.onnx")
        onnx.save(self.network, str(alone))
        return islands.float_operators(alone, alone.parent)

    def standing(self, exact: Candidate, truth: Indices) -> Standing:
        """How it stands before the test split is looked at."""
        own, other = (float(np.mean(c.validation.argmax(1) == truth)) if len(truth) else 1.0 for c in (self, exact))
        return Standing(self.name, self.size_bytes, own, other - own, self.milliseconds)


class Workshop:
    """Makes candidates in a temporary folder.

    Args:
        folder: The folder.
        identity: Name, labels and input of the model.
        train: The training split, to calibrate on.
        validation: The validation split, to measure on.
    """

    def __init__(self, folder: Path, identity: Identity, train: Pictures, validation: Pictures) -> None:
        self.folder, self.identity, self.train, self.validation = folder, identity, train, validation
        self.layers: list[layers.Layer] = []
        self._dense: tuple[str, ...] = ()
        self._rows = calibration_rows(train)
        self._ranges: dict[str, object] = {}

    def exact(self, graph: onnx.ModelProto) -> Candidate:
        """The float32 file."""
        marked = timing.marked(graph)
        self._dense = dense.large(marked.graph)
        onnx.save(marked, str(self._folded))
        return self._measured(graph, Scheme(FLOAT32))

    def examine(self, picture: Images, *, times: bool) -> None:
        """Fill `layers`.

        Args:
            picture: uint8 ``(1, H, W, C)``: what the times are measured on.
            times: Whether they are measured.
        """
        found = self._range("minmax")
        pictures: Images = np.asarray(self.train.images[self._rows[:_LAYER_PICTURES]])
        self.layers = layers.report(self._folded, self.folder, found, pictures)
        if not times:
            return
        files, few = [self._folded], Scheme("few bits", dense_nodes=self._dense, dense_bits=layers.FEW_BITS)
        for scheme in (Scheme("int8"), *([few] if self._dense else [])):
            files.append(self.folder / f"timed-{scheme.name.replace(' ', '-')}.onnx")
            quantize.quantize(self._folded, files[-1], found, scheme)
        self.layers = layers.timed(self.layers, files, picture)

    def others(self, exact: Candidate, *, here: bool = False) -> list[Candidate]:
        """All other candidates; `examine` comes first.

        Args:
            exact: What `exact` made.
            here: Also those that are made for this machine only, from the times of its layers.
        """
        noisy, first = layers.noisiest(self.layers), layers.first_convolution(self.layers)
        schemes = [Scheme("int8"), Scheme("int8 percentile", "percentile"), Scheme("int8 entropy", "entropy")]
        schemes += [Scheme("int8 signed", signed=True), Scheme("int8 tensor", per_channel=False)]
        if len(noisy) < len(self.layers):
            schemes.append(Scheme("int8 mixed", float_nodes=noisy))
        if first and first != noisy:
            schemes.append(Scheme("int8 first float", float_nodes=first))
        if here:
            schemes += self._for_here(first)
        made = [self.half(exact)]
        with screen.steps("measuring") as begins:
            for scheme in unlike(schemes):
                begins(scheme.name)
                made.append(self.quantized(scheme))
        return made

    def _for_here(self, first: tuple[str, ...]) -> list[Scheme]:
        """Schemes that nothing but a measurement on the machine itself speaks for."""
        few = layers.faster_in_few_bits(self.layers, self._dense)
        slow = tuple(node for node in layers.slower_in_int8(self.layers) if node not in few)
        schemes = [
            Scheme(f"int8 dense {bits}", float_nodes=first, dense_nodes=self._dense, dense_bits=bits)
            for bits in dense.BITS
            if self._dense
        ]
        schemes.append(Scheme("int8 fast", float_nodes=slow, dense_nodes=few, dense_bits=layers.FEW_BITS if few else 0))
        return [*schemes, Scheme("int8 full", full_range=True)]

    def half(self, exact: Candidate) -> Candidate:
        """A candidate whose weights are kept as float16."""
        return self._measured(half(exact.network), Scheme(FLOAT16))

    def quantized(self, scheme: Scheme) -> Candidate:
        """A candidate in int8."""
        path = self.folder / "quantized.onnx"
        graph = quantize.quantize(self._folded, path, self._range(scheme.calibration), scheme)
        return self._measured(tidy(graph), scheme)

    @property
    def _folded(self) -> Path:
        return self.folder / "folded.onnx"

    def _range(self, calibration: str) -> object:
        if calibration not in self._ranges:
            rows = self._rows if calibration == "minmax" else self._rows[:_HISTOGRAM_PICTURES]
            self._ranges[calibration] = quantize.ranges(self._folded, self.train.images, rows, calibration)
        return self._ranges[calibration]

    def _measured(self, graph: onnx.ModelProto, scheme: Scheme) -> Candidate:
        """Write a graph with a provisional card and measure it on the validation pictures."""
        path = self.folder / f"{scheme.name.replace(' ', '-')}.onnx"
        spec, network = self.identity.input, compact(graph)
        whole = compact(front.graft(network, spec)) if spec.sizes == "any" else network
        container.write(path, whole, self.identity, scheme.name.split()[0], {})
        made = Candidate(path, whole, network, scheme, np.empty((0, len(self.identity.labels)), np.float32))
        return replace(made, validation=made.scores(self.validation))


def unlike(schemes: Sequence[Scheme]) -> list[Scheme]:
    """The schemes without those that another one before them already is, under its own name."""
    kept: dict[Scheme, Scheme] = {}
    for scheme in schemes:
        kept.setdefault(replace(scheme, name=""), scheme)
    return list(kept.values())


def timed(candidates: Sequence[Candidate], picture: Images) -> list[Candidate]:
    """The candidates with the time of one picture, one thread, measured in turns.

    Args:
        candidates: What to measure.
        picture: uint8 ``(1, H, W, C)``.
    """
    opened = [Classifier(candidate.path, device="cpu", threads=1) for candidate in candidates]
    times: list[list[float]] = [[] for _ in candidates]
    try:
        for _ in range(_ROUNDS):
            for classifier, own in zip(opened, times, strict=True):
                classifier.scores(picture)
                for _ in range(_CALLS):
                    began = time.perf_counter()
                    classifier.scores(picture)
                    own.append(time.perf_counter() - began)
    finally:
        for classifier in opened:
            classifier.close()
    return [
        replace(candidate, milliseconds=statistics.median(own) * 1000)
        for candidate, own in zip(candidates, times, strict=True)
    ]
