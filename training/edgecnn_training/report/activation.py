"""The section on where in a picture the network saw what spoke for its answer: class activation maps."""

from __future__ import annotations

import numpy as np
from PIL import Image as PILImage

from edgecnn_training.class_maps import Head, maps, pooled_head
from edgecnn_training.pictures import Floats, Images, Indices
from edgecnn_training.report import tiles
from edgecnn_training.report.markup import Html, heading, note, prose, section, text
from edgecnn_training.report.subject import Subject

_MISTAKES = 8
_HEAT = (255.0, 96.0, 0.0)  # orange: no picture of the report's grey and blue is taken for it
_TITLE = "Where it looks"


def overlay(image: Images, evidence: Floats) -> Images:
    """A picture in pale grey, orange where a map is above zero: the more, the larger its value.

    Args:
        image: uint8 (H, W, C).
        evidence: float32 (h, w); its largest value is the strongest orange.

    Returns:
        uint8 (k·H, k·W, 3): small pictures are enlarged, so that the map is smooth.
    """
    plain = PILImage.fromarray(image[:, :, 0] if image.shape[2] == 1 else np.ascontiguousarray(image)).convert("L")
    times = max(1, tiles.LARGEST_PX // max(plain.size))
    size = plain.width * times, plain.height * times
    small = PILImage.fromarray(np.maximum(evidence, 0) / max(float(evidence.max()), 1e-12))
    heat = 0.8 * np.asarray(small.resize(size, PILImage.Resampling.BILINEAR), np.float32)[..., None]
    grey = np.asarray(plain.resize(size, PILImage.Resampling.NEAREST), np.float32)[..., None]
    pale = 40 + grey * (175 / 255)  # so that orange shows on black and on white
    shown: Images = np.rint(pale * (1 - heat) + np.array(_HEAT, np.float32) * heat).astype(np.uint8)
    return shown


def activation(subject: Subject) -> Html:
    """The section."""
    head = pooled_head(subject.network)
    if head is None:
        line = (
            f"The network {subject.run.info.recipe.arch} does not end in global average pooling and one dense layer, "
            "which these maps need; the network small, for one, does."
        )
        return section("activation", _TITLE, note(line))
    height, width = head.body.output_shape[1:3]
    right, wrong = _surest_right(subject), subject.mistakes[:_MISTAKES]
    parts = [
        prose(
            "The orange places spoke most for the answer that was given (class activation maps). They should lie on "
            "the thing itself: if they lie on the background or at the edge, the network has learned where the "
            f"pictures were taken and not what is on them. The last layers tell {width}×{height} places apart; between "
            "them the colour is smoothed, and all over orange means that no place counted more than another."
        )
    ]
    for title, those in (("Right answers", right), ("Mistakes", wrong)):
        if len(those):
            parts += [heading(title), tiles.gallery(_tiles(subject, head, those))]
    return section("activation", _TITLE, *parts)


def _surest_right(subject: Subject) -> Indices:
    """For each class that is shown the picture that was recognised with the highest score."""
    chosen = []
    for label in subject.shown_classes:
        own = np.flatnonzero((subject.truth == label) & (subject.given == label))
        if len(own):
            chosen.append(own[subject.sure[own].argmax()])
    return np.array(chosen, np.int64)


def _tiles(subject: Subject, head: Head, chosen: Indices) -> list[Html]:
    images = subject.pictures.take(chosen)
    evidence = maps(head, subject.run.info.normalization(images), subject.given[chosen])
    shown = []
    for i, image, own in zip(chosen, images, evidence, strict=True):
        truth, given = subject.labels[subject.truth[i]], subject.labels[subject.given[i]]
        pair = [
            tiles.picture(image, f"a picture of {truth}"),
            tiles.picture(overlay(image, own), f"what spoke for {given}"),
        ]
        lines = [tiles.named("is", truth), tiles.named("given", given)] if truth != given else [tiles.named("", given)]
        shown.append(tiles.tile(pair, *lines, text(f"score {subject.sure[i]:.2f}")))
    return shown
