"""What the card of an exported file claims: accuracy, confidence, self-test, how it was quantised, where it is from."""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.card import Json
from edgecnn.classifier import Classifier
from edgecnn.errors import printable
from edgecnn.self_test import SelfTest
from edgecnn_training import confidence, health
from edgecnn_training.accuracy import Evaluation, evaluate, in_batches
from edgecnn_training.confidence import Calibration, Rejection
from edgecnn_training.export import gate
from edgecnn_training.export.candidates import Candidate
from edgecnn_training.export.gate import Loss
from edgecnn_training.pictures import Floats
from edgecnn_training.run import versions

if TYPE_CHECKING:
    from edgecnn_training.export.exporter import Material

MIN_ONNXRUNTIME = "1.24"


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
    info = material.run.info
    chances, limit = _confidence(shipped, material)
    recipe: dict[str, Json] = {f.name: getattr(info.recipe, f.name) for f in dataclasses.fields(info.recipe)}
    recipe["options"] = dict(info.recipe.options)
    provenance: dict[str, Json] = {
        "recipe": recipe,
        "data": {"name": printable(Path(info.data_location).name), "hash": info.data_hash, "split": info.split},
        "versions": dict(versions()),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    scheme = shipped.candidate.scheme
    more: dict[str, Json] = {
        "accuracy": _accuracy(shipped, material),
        "calibration": {f.name: getattr(chances, f.name) for f in dataclasses.fields(chances)},
        "unknown": {f.name: getattr(limit, f.name) for f in dataclasses.fields(limit)},
        "self_test": shipped.test.to_json(),
        "parameters": info.complexity.parameters,
        "macs": info.complexity.macs,
        "min_onnxruntime": MIN_ONNXRUNTIME,
        "provenance": provenance,
    }
    if shipped.candidate.precision == "int8":
        more["quantization"] = {
            "scheme": scheme.name,
            "calibration": scheme.calibration,
            "activations": "int8" if scheme.signed else "uint8",
            "per_channel": scheme.per_channel,
            "float_layers": len(scheme.float_nodes),
        }
    return more


def float_result(shipped: Shipped, material: Material) -> Evaluation:
    """The float32 file on the held-out pictures."""
    return evaluate(material.run.info.labels, material.held_out.class_index, shipped.float_scores.argmax(1))


def result(shipped: Shipped, material: Material) -> Evaluation:
    """The file on the held-out pictures."""
    return evaluate(material.run.info.labels, material.held_out.class_index, shipped.scores.argmax(1))


def loss_values(loss: Loss | None) -> dict[str, Json] | None:
    """A loss as JSON; shares of the pictures."""
    if loss is None:
        return None
    counts: dict[str, Json] = {field.name: getattr(loss, field.name) for field in dataclasses.fields(loss)}
    return {"measured": loss.measured, **counts}


def _accuracy(shipped: Shipped, material: Material) -> dict[str, Json]:
    info, own = material.run.info, result(shipped, material)
    low, high = own.interval
    return {
        "top1": own.top1,
        "macro": own.macro,
        "n": own.n,
        "interval": [low, high],
        "split": material.split,
        "data_hash": info.data_hash,
        "leaked": health.known(material.run.path).get(material.split, 0),
        "float_top1": float_result(shipped, material).top1,
        "agreement": gate.agreement(shipped.float_scores, shipped.scores),
        "loss": loss_values(shipped.loss),
    }


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
