"""What the card of an exported file claims: accuracy, confidence, self-test, how it was quantised, where it is from."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.card import Json
from edgecnn.classifier import Classifier
from edgecnn.errors import printable
from edgecnn.self_test import SelfTest
from edgecnn_training import confidence, health
from edgecnn_training.accuracy import Evaluation, evaluate, in_batches
from edgecnn_training.complexity import Complexity
from edgecnn_training.confidence import Calibration, Rejection
from edgecnn_training.export import gate
from edgecnn_training.export.candidates import Candidate
from edgecnn_training.export.gate import Loss
from edgecnn_training.pictures import Floats, Normalization
from edgecnn_training.run import Run, versions

if TYPE_CHECKING:
    from edgecnn_training.export.material import Material

MIN_ONNXRUNTIME = "1.24"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a network is from: a run, or a file of Keras.

    Attributes:
        normalization: What is done to the pixels before it.
        complexity: Its parameters and MACs.
        provenance: What the card says of where it is from, beside versions and date.
        data_hash: Of the data it is measured on; empty where there is none.
        leaked: How many of the held-out pictures it has learned from; None where nobody knows.
        run: The run; None for a file of Keras.
    """

    normalization: Normalization
    complexity: Complexity
    provenance: Mapping[str, Json]
    data_hash: str
    leaked: int | None
    run: Run | None = None

    @classmethod
    def of_run(cls, run: Run, split: str) -> Source:
        """A run, measured on this split."""
        info = run.info
        recipe: dict[str, Json] = {f.name: getattr(info.recipe, f.name) for f in dataclasses.fields(info.recipe)}
        recipe["options"] = dict(info.recipe.options)
        data: dict[str, Json] = {
            "name": printable(Path(info.data_location).name),
            "hash": info.data_hash,
            "split": info.split,
        }
        provenance: dict[str, Json] = {"recipe": recipe, "data": data}
        leaked = health.known(run.path).get(split, 0)
        return cls(info.normalization, info.complexity, provenance, info.data_hash, leaked, run)


@dataclass(frozen=True, slots=True)
class Shipped:
    """The file that is written, and what was measured of it on the held-out pictures.

    Attributes:
        candidate: The file.
        scores: float32 ``(N, classes)``: what it says of each held-out picture.
        float_scores: What the float32 file says of them.
        test: Its self-test.
        loss: What it loses against float32; None for float32 itself.
    """

    candidate: Candidate
    scores: Floats
    float_scores: Floats
    test: SelfTest
    loss: Loss | None


def of(shipped: Shipped, material: Material) -> dict[str, Json]:
    """The card's keys beside those that are mandatory."""
    source = material.source
    more: dict[str, Json] = _measured(shipped, material) if len(material.held_out) else {}
    more |= {
        "self_test": shipped.test.to_json(),
        "parameters": source.complexity.parameters,
        "macs": source.complexity.macs,
        "min_onnxruntime": MIN_ONNXRUNTIME,
        "provenance": {
            **source.provenance,
            "versions": dict(versions()),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
    }
    scheme = shipped.candidate.scheme
    if shipped.candidate.precision == "int8":
        how: dict[str, Json] = {
            "scheme": scheme.name,
            "calibration": scheme.calibration,
            "activations": "int8" if scheme.signed else "uint8",
            "per_channel": scheme.per_channel,
            "weight_bits": scheme.weight_bits,
            "float_layers": len(scheme.float_nodes),
            "float_operators": dict(shipped.candidate.float_operators()),
        }
        if scheme.dense_nodes:
            how |= {"dense_layers": len(scheme.dense_nodes), "dense_bits": scheme.dense_bits}
        more["quantization"] = how
    return more


def _measured(shipped: Shipped, material: Material) -> dict[str, Json]:
    """What only labelled pictures tell."""
    chances, limit = _confidence(shipped, material)
    return {
        "accuracy": _accuracy(shipped, material),
        "calibration": {f.name: getattr(chances, f.name) for f in dataclasses.fields(chances)},
        "unknown": {f.name: getattr(limit, f.name) for f in dataclasses.fields(limit)},
    }


def float_result(shipped: Shipped, material: Material) -> Evaluation:
    """The float32 file on the held-out pictures."""
    return evaluate(material.identity.labels, material.held_out.class_index, shipped.float_scores.argmax(1))


def result(shipped: Shipped, material: Material) -> Evaluation:
    """The file on the held-out pictures."""
    return evaluate(material.identity.labels, material.held_out.class_index, shipped.scores.argmax(1))


def loss_values(loss: Loss | None) -> dict[str, Json] | None:
    """A loss as JSON; shares of the pictures."""
    if loss is None:
        return None
    counts: dict[str, Json] = {field.name: getattr(loss, field.name) for field in dataclasses.fields(loss)}
    return {"measured": loss.measured, **counts}


def _accuracy(shipped: Shipped, material: Material) -> dict[str, Json]:
    source, own = material.source, result(shipped, material)
    low, high = own.interval
    values: dict[str, Json] = {
        "top1": own.top1,
        "macro": own.macro,
        "n": own.n,
        "interval": [low, high],
        "split": material.split,
        "data_hash": source.data_hash,
        "float_top1": float_result(shipped, material).top1,
        "agreement": gate.agreement(shipped.float_scores, shipped.scores),
        "loss": loss_values(shipped.loss),
    }
    return values if source.leaked is None else values | {"leaked": source.leaked}


def _confidence(shipped: Shipped, material: Material) -> tuple[Calibration, Rejection]:
    """Calibration and threshold of the file: the threshold by its scores on validation, all figures on held-out."""
    validation, truth = material.validation, material.held_out.class_index
    with Classifier(shipped.candidate.path, device="cpu") as classifier:
        limit = confidence.threshold(in_batches(classifier.scores, validation.images, validation.rows))
    error = confidence.ece(shipped.scores, truth)
    return (
        Calibration(material.temperature, material.ece_before, error, len(truth)),
        confidence.rejection(limit, shipped.scores, truth),
    )
