"""Proof that a file which takes pictures of any size says what it would say of the same pictures brought to its size.

The pictures are those of the held-out split as they lie in the data, decoded and not yet scaled; generated ones where
there is no data. Each goes both ways: through `edgecnn.preprocess.fit_image` into the network alone, and as it is into
the file that ships.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from PIL import Image as PILImage

from edgecnn import session
from edgecnn.card import InputSpec, Json
from edgecnn.classifier import INPUT, OUTPUT, Classifier
from edgecnn.decode import decode
from edgecnn.errors import ImageError, ModelError
from edgecnn.frames import Image
from edgecnn.preprocess import fit_image
from edgecnn_training import screen
from edgecnn_training.dataset import content_hash, read
from edgecnn_training.examples import Example
from edgecnn_training.export import container, front
from edgecnn_training.export.candidates import Candidate
from edgecnn_training.export.convert import IR_VERSION, OPSET

if TYPE_CHECKING:
    from edgecnn_training.export.material import Material

PICTURES = 512
MOST_FLIPS, MOST_MARGIN, MOST_LEVELS = 0.001, 0.02, 1
"""A share of the pictures may get another label, where the two highest scores are so close; a pixel may be off by 1."""


@dataclass(frozen=True, slots=True)
class AnySize:
    """What was found.

    Attributes:
        n: Pictures.
        sizes: How many different sizes they have.
        generated: Those of them that were scaled for this proof, since all of the data have the network's size.
        levels: By how many grey levels a pixel is off at most.
        difference: By how much a score is off at most.
        margins: Of each picture whose label is another: its two highest scores' distance, in the network alone.
    """

    n: int
    sizes: int
    generated: int
    levels: int
    difference: float
    margins: tuple[float, ...]

    def to_json(self) -> dict[str, Json]:
        """What the card keeps."""
        return {**dataclasses.asdict(self), "margins": list(self.margins)}

    def told(self, kind: str) -> str:
        """In words; `kind` says what the pictures are."""
        sizes = f"{self.sizes:,} sizes" if self.sizes != 1 else "one size"
        made = f" ({self.generated:,} scaled for this, since all have the network's)" if self.generated else ""
        flips = f"{len(self.margins)} labels changed"
        flips += f" (margins up to {max(self.margins):.3f})" if self.margins else ""
        return (
            f"{self.n:,} {kind} of {sizes}{made}, largest difference {self.levels} of 255 in a pixel, "
            f"{self.difference:.1e} in a score, {flips}"
        )


def prove(candidate: Candidate, material: Material, folder: Path) -> AnySize:
    """Compare both ways on up to `PICTURES` pictures, and tell of it.

    Args:
        candidate: The file, in a temporary folder.
        material: The network and its pictures.
        folder: For the network alone.

    Raises:
        ModelError: They differ by more than is allowed.
    """
    spec = dataclasses.replace(material.identity.input, sizes="fixed")
    alone = folder / "network-alone.onnx"
    identity = dataclasses.replace(material.identity, input=spec)
    container.write(alone, candidate.network, identity, candidate.precision, {})
    pictures = list(material.as_they_lie())
    own = sum(picture.shape[:2] == (spec.height, spec.width) for picture in pictures)
    generated = [_scaled(picture, seed) for seed, picture in enumerate(pictures)] if own == len(pictures) else []
    proof = _compared(alone, candidate.path, [*pictures, *generated], spec)
    proof = dataclasses.replace(proof, generated=len(generated))
    told = proof.told("pictures" if len(material.held_out) else "generated pictures")
    if proof.levels > MOST_LEVELS or len(proof.margins) > max(1, MOST_FLIPS * proof.n) or _worst(proof) >= MOST_MARGIN:
        raise ModelError(
            f"pictures scaled in the file must be within {MOST_LEVELS} grey level of Pillow's, and only labels whose "
            f"scores are within {MOST_MARGIN:g} may change; {told}: nothing was written. Export with "
            "--input fixed, and please report this with the versions of Pillow and ONNX Runtime"
        )
    screen.say(f"any size: {told}")
    return proof


def _worst(proof: AnySize) -> float:
    return max(proof.margins, default=0.0)


def _compared(alone: Path, whole: Path, pictures: list[Image], spec: InputSpec) -> AnySize:
    levels, difference, margins = 0, 0.0, list[float]()
    alike = session.open_session(scaler(spec), device="cpu")
    with Classifier(alone, device="cpu") as network, Classifier(whole, device="cpu") as file:
        for picture in pictures:
            fitted = fit_image(picture, spec.height, spec.width, spec.channels, spec.fit)
            inside = alike.run({INPUT: np.ascontiguousarray(picture[np.newaxis])})[0][0]
            levels = max(levels, int(np.abs(inside.astype(np.int64) - fitted).max()))
            ours, theirs = file.scores(picture[np.newaxis])[0], network.scores(fitted[np.newaxis])[0]
            difference = max(difference, float(np.abs(ours - theirs).max()))
            if ours.argmax() != theirs.argmax():
                best = np.sort(theirs)
                margins.append(float(best[-1] - best[-2]))
    alike.close()
    return AnySize(len(pictures), len({p.shape[:2] for p in pictures}), 0, levels, difference, tuple(margins))


def scaler(spec: InputSpec) -> bytes:
    """The front part of a file by itself: uint8 of any size → uint8 of the network's."""
    helper, kind = onnx.helper, onnx.TensorProto.UINT8
    shape = ("N", spec.height, spec.width, spec.channels)
    given, made = (helper.make_tensor_value_info(name, kind, shape) for name in (INPUT, OUTPUT))
    graph = helper.make_graph([helper.make_node("Identity", [INPUT], [OUTPUT])], "scaler", [given], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    written: bytes = front.graft(model, spec).SerializeToString()
    return written


def as_they_lie(location: str, wanted: Container[bytes]) -> Iterator[Image]:
    """Up to `PICTURES` different pictures of a data set, decoded and not scaled.

    Args:
        location: Of the data set.
        wanted: The content hashes of the pictures that may be taken.
    """
    seen = set[bytes]()
    for item in read(location):
        if len(seen) == PICTURES:
            return
        if not isinstance(item, Example):
            continue
        digest = content_hash(item.image)
        if digest not in wanted or digest in seen:
            continue
        try:
            picture = decode(item.image) if isinstance(item.image, bytes) else item.image
        except ImageError:
            continue  # it has changed since
        seen.add(digest)
        yield picture


def _scaled(picture: Image, seed: int) -> Image:
    """A picture in another size and shape: half to three times as high, and as wide."""
    high, wide = np.random.default_rng(seed).uniform(0.5, 3, 2)
    height, width, channels = picture.shape
    rows, columns = max(1, round(height * high)), max(1, round(width * wide))
    plain = PILImage.fromarray(picture[:, :, 0] if channels == 1 else picture)
    made = plain.resize((columns, rows), PILImage.Resampling.BICUBIC)
    return np.asarray(made, np.uint8).reshape(rows, columns, channels)
