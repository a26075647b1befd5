"""From the path of a model to predictions: the file, its card and its session, checked against each other.

::

    model = Classifier("signs.onnx")
    prediction = model.predict("photo.jpg")
    print(prediction.label, prediction.score)
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeAlias, cast

import numpy as np
from PIL import Image as PILImage

from edgecnn import bundled, prescan
from edgecnn.card import KEY, ModelCard, graph_hash
from edgecnn.decode import decode_file, from_pillow
from edgecnn.errors import ImageError, ModelError, SourceError, UsageError
from edgecnn.frames import Image
from edgecnn.prediction import Explanation, Maps, Prediction, Region, Scores
from edgecnn.preprocess import fit_image, region_seen
from edgecnn.scan.contents import TensorInfo
from edgecnn.scan.outputs import without
from edgecnn.scan.sizes import FREE_SIDE, Room
from edgecnn.self_test import SelfTest, check
from edgecnn.session import Session, open_session

INPUT, OUTPUT = "image", "scores"
MAP = "activation_map"
"""The output that files of ``edgecnn export --explain`` have as well."""
_ROUNDING = 1e-3

Picture: TypeAlias = "str | os.PathLike[str] | PILImage.Image | Image"
"""What can be predicted: the path of a picture, a Pillow picture, or uint8 ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)``."""


class Classifier:
    """A model, ready to predict. A context manager; `close` is idempotent; predicting is thread-safe.

    Args:
        path: The ``.onnx`` file that ``edgecnn export`` wrote, or a name of ``edgecnn models``.
        device: ``"cpu"``, ``"cuda"``, ``"tensorrt"``, ``"openvino"``, ``"provider:NAME"`` with the name of one of ONNX
            Runtime's providers, or ``"auto"``: CUDA where it really starts, else the CPU.
        threads: Threads for one inference; 1 by default.
        self_test: Whether the file is asked, on the very device that will predict, what its card says it answers.
        allow_any_op: Also run operators that edgecnn does not know, with a warning; for a file you trust.

    Attributes:
        path: The file.
        card: What the file says of itself.
        device: Where it computes: ``"cpu"``, ``"cuda"`` …
        why: Where ``auto`` was asked for, why it computes there and not on what is tried before; else empty.
        explains: Whether the file can tell where it looked: ``edgecnn export --explain`` made it.

    Warns:
        UserWarning: With `allow_any_op`, the model has such operators.

    Raises:
        ModelError: No such file, one that is refused, or one that computes other scores here than where it was
            exported; the message says why and what to do.
        DeviceError: A device asked for by name did not start.
        MissingExtraError: ONNX Runtime is not installed.
        UsageError: `device` or `threads` has no meaning.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        device: str = "auto",
        threads: int | None = None,
        self_test: bool = True,
        allow_any_op: bool = False,
    ) -> None:
        self.path = bundled.find(path)
        try:
            model = prescan.read_file(self.path)
            graph = prescan.check(model, allow_any_op=allow_any_op).graph
            outputs = graph.outputs
            self.card = _read_card(model)
            self._room = Room(graph, strict=not allow_any_op) if self.card.input.sizes == "any" else None
            oldest = self.card.more.get("min_onnxruntime")
            self._open = functools.partial(
                open_session, threads=threads, min_onnxruntime=oldest if isinstance(oldest, str) else "0"
            )
            self._test = SelfTest.from_card(self.card) if self_test else None
            self.explains = any(output.name == MAP for output in outputs)
            self._session = self._open(without(model, MAP) if self.explains else model, device=device)
            _check_tensors(self._session, self.card)
            if self.explains:
                _check_map(outputs, self.card)
            self._check_itself(self._session)
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from error
        self.device, self.why = self._session.device, self._session.why
        self._whole = model if self.explains else b""
        self._explaining: Session | None = None
        self._lock = threading.Lock()

    def predict(self, image: Picture, *, explain: bool = False) -> Prediction:
        """Classify one picture.

        Args:
            image: A path, a Pillow picture, or a uint8 array ``(H, W)``, ``(H, W, 1)`` grey or ``(H, W, 3)`` RGB.
            explain: Whether to tell where the network looked, in the prediction's `explanation`.

        Raises:
            SourceError: A path that does not exist or cannot be read.
            ImageError: Not a picture, or a damaged one.
            UsageError: An array of another dtype or shape, or an explanation of a model that has none.
            ModelError: The model gave scores that are no numbers.
        """
        return self.predict_batch([image], explain=explain)[0]

    def predict_batch(self, images: Sequence[Picture], *, explain: bool = False) -> list[Prediction]:
        """Classify several pictures; `predict` says what each may be, and what it raises.

        It is one inference, unless the model takes pictures of any size and these differ in theirs.
        """
        if isinstance(images, (str, os.PathLike)):
            raise UsageError(f"predict_batch takes a list of pictures; received one path, {images!r}: use predict")
        if len(images) == 0:
            return []
        decoded = [_pixels(image) for image in images]
        fitted = [self.fit(image) for image in decoded]
        if not explain:
            return [self.judge(row) for row in self.scores_of(fitted)]
        each = zip(*self.explained_of(fitted), decoded, strict=True)
        return [self.judge(row, Explanation(maps, self.region(*image.shape[:2]))) for row, maps, image in each]

    def judge(self, scores: Scores, explanation: Explanation | None = None) -> Prediction:
        """What the card makes of one picture's scores, float32 ``(classes,)``: labels, and whether it is unknown."""
        unknown = bool(scores.max() < np.float32(self.card.unknown_below))
        return Prediction(scores, self.card.labels, unknown, explanation)

    def fit(self, image: Picture) -> Image:
        """Decode a picture if it is a file, and bring it to what the network takes.

        Returns:
            uint8 ``(H, W, C)`` of the card's `input`; the decoded picture as it is where that takes any size.

        Raises:
            ImageError: Beside what `predict` says: the picture takes more memory or work than a model may.
        """
        spec, pixels = self.card.input, _pixels(image)
        if self._room is None:
            return fit_image(pixels, spec.height, spec.width, spec.channels, spec.fit)
        self._room.check(pixels.shape)
        return pixels

    def scores_of(self, images: Sequence[Image]) -> Scores:
        """`scores` of pictures from `fit`, float32 ``(N, classes)``; in one inference if all have one shape."""
        if len({image.shape for image in images}) == 1:
            return self.scores(np.stack(images))
        return np.concatenate([self.scores(image[np.newaxis]) for image in images])

    def region(self, rows: int, columns: int) -> Region:
        """Which part of a picture of so many rows and columns `fit` shows to the network."""
        spec = self.card.input
        return region_seen(rows, columns, spec.height, spec.width, spec.fit)

    def scores(self, images: Image) -> Scores:
        """Run the network on pictures that `fit` has brought to its size.

        Args:
            images: uint8 ``(N, H, W, C)``, N at least 1; of any H and W, and C 1 or 3, where the card's `input` takes
                any size.

        Returns:
            float32 ``(N, classes)``, rows sum to 1.

        Raises:
            UsageError: Another dtype or shape.
            ImageError: Pictures that take more memory or work than a model may.
            ModelError: ONNX Runtime failed, or a score is no number.
        """
        return self._scores(self._session, images)[0]

    def check_explains(self) -> None:
        """Refuse to explain what the file does not tell.

        Raises:
            UsageError: It has no output for it; the message says how to make one that has.
        """
        if not self.explains:
            raise UsageError(
                f"to explain, a model must have the output {MAP}; {self.path} has none: export it again, with "
                "`edgecnn export RUN --explain`"
            )

    def explained(self, images: Image) -> tuple[Scores, Maps]:
        """`scores`, and where the network looked, of pictures that `fit` has brought to its size.

        The first call loads the model a second time, with this output: `scores` shall not pay for it.

        Args:
            images: uint8 ``(N, H, W, C)``, N at least 1.

        Returns:
            float32 ``(N, classes)``, and float32 ``(N, h, w, classes)``: see `edgecnn.prediction.Explanation`.

        Raises:
            UsageError: Another dtype or shape, or the file has no such output.
            ModelError: ONNX Runtime failed, or a score is no number.
        """
        scores, maps = self._scores(self._explaining or self._explaining_session(), images, MAP)
        if maps.ndim != 4 or maps.shape[::3] != scores.shape:
            raise ModelError(
                f"{self.path}: {MAP} must be (N, h, w, classes); the model gave {maps.shape}: export it again"
            )
        return scores, maps

    def explained_of(self, images: Sequence[Image]) -> tuple[Scores, Maps]:
        """`explained` of pictures from `fit`; in one inference if all have one shape."""
        if len({image.shape for image in images}) == 1:
            return self.explained(np.stack(images))
        scores, maps = zip(*(self.explained(image[np.newaxis]) for image in images), strict=True)
        return np.concatenate(scores), np.concatenate(maps)

    def _explaining_session(self) -> Session:
        self.check_explains()
        with self._lock:
            if self._explaining is None and self._whole:
                session = self._open(self._whole, device=self.device)
                self._check_itself(session)
                self._explaining = session
        return self._explaining or self._session

    def _scores(self, session: Session, images: Image, *more: str) -> list[Scores]:
        """The scores, and further outputs, of fitted pictures."""
        spec = self.card.input
        fixed = f"{spec.height}, {spec.width}, {spec.channels}"
        if self._room is None:
            fits = images.shape[1:] == (spec.height, spec.width, spec.channels)
        else:
            fits = images.ndim == 4 and images.shape[3] in (1, 3)
        if images.dtype != np.uint8 or not fits or images.size == 0:
            raise UsageError(
                f"scores takes uint8 (N, {fixed if self._room is None else 'H, W, 1 or 3'}); "
                f"received {images.dtype} {images.shape}: bring each picture to size with fit"
            )
        try:
            return self._run(session, np.ascontiguousarray(images), *more)
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from error

    def _run(self, session: Session, images: Image, *more: str) -> list[Scores]:
        if self._room is not None:
            self._room.check(images.shape[1:])
        found = cast("list[Scores]", session.run({INPUT: images}, [OUTPUT, *more]))
        scores = found[0]
        if scores.shape != (len(images), len(self.card.labels)):
            raise ModelError(
                f"a batch of {len(images)} must give scores {(len(images), len(self.card.labels))}; "
                f"it gave {scores.shape}: export the model again"
            )
        if not np.isfinite(scores).all():
            raise ModelError("the model gave scores that are no numbers (NaN); export it again")
        if scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING:
            worst = float(scores.max() if scores.max() > 1 else scores.min())
            raise ModelError(f"scores must be 0 to 1; the model gave {worst:g}: export it again")
        return found

    def _check_itself(self, session: Session) -> None:
        if self._test is not None:
            check(self._test, self.card, lambda images: self._run(session, images)[0], session.described)

    def close(self) -> None:
        """Give back the memory of the model."""
        self._session.close()
        with self._lock:
            if self._explaining is not None:
                self._explaining.close()
            self._whole = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read_card(model: bytes) -> ModelCard:
    """The card of a model, checked against the bytes it lies in."""
    text = prescan.read_metadata(model).get(KEY)
    if text is None:
        raise ModelError("it was not exported by edgecnn (it has no card); export it with `edgecnn export`")
    card = ModelCard.from_json(text)
    actual = graph_hash(model)
    if card.graph_sha256 != actual:
        raise ModelError(
            f"its card is of another file (graph_sha256 {card.graph_sha256[:12]}, but the graph has {actual[:12]}); "
            "it was changed after the export: export the model again"
        )
    return card


def _check_tensors(session: Session, card: ModelCard) -> None:
    spec = card.input
    if spec.sizes == "any":
        _check_free(session.inputs)
    else:
        _check_tensor("input", session.inputs, INPUT, "uint8", (spec.height, spec.width, spec.channels))
    outputs = [output for output in session.outputs if output.name != MAP]  # it is there where all had to be loaded
    _check_tensor("output", outputs, OUTPUT, "float32", (len(card.labels),))


def _check_map(outputs: Sequence[TensorInfo], card: ModelCard) -> None:
    for found in outputs:
        places = all(isinstance(axis, int) and axis > 0 for axis in found.shape[1:])
        fits = found.dtype == "float32" and len(found.shape) == 4 and places and found.shape[3] == len(card.labels)
        if found.name == MAP and not fits:
            raise ModelError(
                f"the output {MAP!r} must be float32 (N, h, w, {len(card.labels)}); it is {found.dtype} "
                f"({', '.join(map(str, found.shape))}): export the model again"
            )


def _check_free(found: Sequence[TensorInfo]) -> None:
    """The one input takes pictures of any size."""
    free = len(found) == 1 and len(found[0].shape) == 4 and all(isinstance(axis, str) for axis in found[0].shape)
    if not free or found[0].name != INPUT or found[0].dtype != "uint8":
        raise ModelError(
            f"by its card it must have one input named {INPUT!r}, uint8 (N, H, W, C) of any size; it has "
            f"{_told(found)}: export the model again"
        )


def _told(tensors: Sequence[TensorInfo]) -> str:
    return "; ".join(f"{t.name!r}, {t.dtype} ({', '.join(map(str, t.shape))})" for t in tensors) or "none"


def _check_tensor(what: str, found: Sequence[TensorInfo], name: str, dtype: str, shape: tuple[int, ...]) -> None:
    """One tensor of this name and dtype whose axes after the batch are `shape`, as far as the graph tells them."""
    if not found:
        raise ModelError(f"a model must have one {what} named {name!r}; it has none: export the model again")
    tensor = found[0]
    fits = len(tensor.shape) == len(shape) + 1 and all(
        length <= FREE_SIDE if isinstance(axis, str) else axis == length
        for axis, length in zip(tensor.shape[1:], shape, strict=True)
    )
    if len(found) != 1 or tensor.name != name or tensor.dtype != dtype or not fits:
        rule = f"one {what} named {name!r}, {dtype} (N, {', '.join(map(str, shape))})"
        raise ModelError(f"by its card it must have {rule}; it has {_told(found)}: export the model again")


def _pixels(image: Picture) -> Image:
    """Any picture → uint8 ``(H, W, 1 or 3)``."""
    if isinstance(image, np.ndarray):
        return _checked_array(image)
    if isinstance(image, PILImage.Image):
        return from_pillow(image)
    if not isinstance(image, (str, os.PathLike)):
        raise UsageError(f"a picture must be a path, a Pillow picture or a uint8 array; received {type(image)!r}")
    try:
        return decode_file(image)
    except (ImageError, SourceError) as error:
        raise type(error)(f"{os.fspath(image)}: {error}") from error


def _checked_array(image: Image) -> Image:
    if image.dtype != np.uint8:
        raise UsageError(f"an array must be uint8, 0 to 255; received {image.dtype}: scale and convert it yourself")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)) or image.size == 0:
        raise UsageError(f"an array must be (H, W), (H, W, 1) grey or (H, W, 3) RGB; received {image.shape}")
    return image if image.ndim == 3 else image[:, :, np.newaxis]
