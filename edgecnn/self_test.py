"""A model's self-test: pictures made from numbers, and what its file must say of them wherever it runs.

A file can compute other scores on another CPU or provider than where it was measured: 8-bit products that saturate
without VNNI, a fault in one version of ONNX Runtime, a graph somebody changed. So the card keeps what the shipped file
said of some pictures, and `check` asks again at load. No picture lies in the file: each is made anew from its seed, by
integer arithmetic that gives the same bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from edgecnn.card import InputSpec, Json, ModelCard
from edgecnn.errors import ModelError
from edgecnn.frames import Image
from edgecnn.prediction import Scores

SHOWN_CLASSES = 5
"""Of each picture the card keeps so many of the highest scores."""
TOLERANCE = 0.01
"""A score may differ by this much; a changed weight byte moves one by 0.03, saturation by 0.37 and more."""
MAX_SEEDS = 64
FULL_BITS = 8
"""Of the weights of a file that is not for every CPU; the card's ``quantization`` says so."""

_NUMBERS = 512  # drawn for each picture
_FIXED = 8  # bits behind the point
_GRIDS = 5, 9  # fewest and most coarse cells along a side
_STROKES = 5


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What a card asks of the machine that runs its model.

    Attributes:
        seeds: One for each picture.
        expected: For each picture the highest scores, as (class index, score).
        tolerance: How far a score may be from what is expected.
    """

    seeds: tuple[int, ...]
    expected: tuple[tuple[tuple[int, float], ...], ...]
    tolerance: float = TOLERANCE

    @classmethod
    def of(cls, seeds: Sequence[int], scores: Scores) -> SelfTest:
        """The test that a file passes which gives these scores, float32 ``(N, classes)``, for these seeds."""
        best = np.argsort(-scores, axis=1, kind="stable")[:, :SHOWN_CLASSES]
        expected = tuple(
            tuple((int(index), round(float(row[index]), 5)) for index in own)
            for own, row in zip(best, scores, strict=True)
        )
        return cls(tuple(int(seed) for seed in seeds), expected)

    @classmethod
    def from_card(cls, card: ModelCard) -> SelfTest | None:
        """The card's ``self_test``; None where it has none.

        Raises:
            ModelError: It has no meaning.
        """
        values = card.more.get("self_test")
        if values is None:
            return None
        try:
            return _read(values, len(card.labels))
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise ModelError(
                f"the model's card: self_test must hold seeds, expected scores and a tolerance; received "
                f"{str(values)[:100]!r}: export the model again"
            ) from error

    def to_json(self) -> dict[str, Json]:
        """What the card keeps."""
        expected: list[Json] = [[[index, score] for index, score in own] for own in self.expected]
        return {"seeds": list(self.seeds), "expected": expected, "tolerance": self.tolerance}


def check(test: SelfTest, card: ModelCard, scores: Callable[[Image], Scores], where: str) -> None:
    """Ask a loaded model what it says of the test's pictures, one at a time, as it will predict.

    Args:
        test: What its card expects.
        card: Size of the pictures, and labels.
        scores: uint8 ``(1, H, W, C)`` → float32 ``(1, classes)``.
        where: Who computes, for the message.

    Raises:
        ModelError: A score is further from what the card expects than the tolerance; the message says by how much, and
            who disagrees.
    """
    spec = card.input
    wrong, worst = 0, (0.0, 0, 0, 0.0, 0.0)
    for seed, expected in zip(test.seeds, test.expected, strict=True):
        row = scores(picture_of(seed, spec)[np.newaxis])[0]
        apart = [(abs(float(row[index]) - score), seed, index, score, float(row[index])) for index, score in expected]
        wrong += max(apart)[0] > test.tolerance
        worst = max(worst, *apart)
    if wrong:
        _, seed, index, score, received = worst
        raise ModelError(
            f"it must compute here what it computed where it was exported; {where} disagrees with the card about "
            f"{wrong} of {len(test.seeds)} test pictures, most about number {seed}: {card.labels[index]!r} "
            f"{received:.3f} instead of {score:.3f}. Its accuracy does not hold here: {_remedy(card)}"
        )


def _remedy(card: ModelCard) -> str:
    """What to do where a file computes otherwise."""
    how = card.more.get("quantization")
    if isinstance(how, dict) and (how.get("weight_bits") == FULL_BITS or how.get("dense_bits")):
        why = "its weights use all 8 bits, whose products overflow on an x86 processor without VNNI"
        if how.get("weight_bits") != FULL_BITS:
            why = (
                f"dense layers with weights of {how['dense_bits']} bits may be computed otherwise on another processor"
            )
        return f"it was made for one machine only (--target host), and {why}: export it again with --target any"
    return "copy the file anew, use another version of ONNX Runtime or --device cpu, or export it with --quantize none"


def picture_of(seed: int, spec: InputSpec) -> Image:
    """A test picture for a network: of its own size, or where it takes any, also of another one.

    Then even seeds make RGB, 1.5 times as high and 0.8 times as wide as the network's, so that scaling is tried both
    ways, and the mixing of grey. Two sizes are enough, since each costs a check of how much memory it takes.
    """
    if spec.sizes == "any" and seed % 2 == 0:
        return picture(seed, spec.height * 3 // 2 + 1, spec.width * 4 // 5 + 1, 3)
    return picture(seed, spec.height, spec.width, spec.channels)


def picture(seed: int, height: int, width: int, channels: int) -> Image:
    """A picture made from a number: light and dark areas, then strokes or blobs over them.

    All arithmetic is on integers, so the same seed gives the same bytes on every machine and with every NumPy.

    Args:
        seed: 0 to 2⁶⁴ - 1.
        height: Rows.
        width: Columns.
        channels: 1 or 3.

    Returns:
        uint8 ``(height, width, channels)``.
    """
    drawn = _random(seed, _NUMBERS)
    kind = int(drawn[0] % 3)
    low, high = _GRIDS
    cells = low + int(drawn[1]) % (high - low + 1) if kind else 2
    grid = (drawn[8 : 8 + cells * cells * channels] & 0xFF).reshape(cells, cells, channels)
    if kind == 1:  # something bright on something dark, as letters and digits are
        grid >>= 3
    image = _enlarged(grid, height, width)
    if kind == 2:
        return image.astype(np.uint8)
    y, x = np.arange(height)[:, np.newaxis], np.arange(width)[np.newaxis]
    for number in range(1 + int(drawn[2]) % _STROKES):
        own = drawn[400 + 16 * number :][:16]
        on = _blob(own, y, x) if own[0] % 4 == 0 else _stroke(own, y, x)
        colour = own[8 : 8 + channels] & 0xFF
        image[on] = colour | 0x80 if kind == 1 else colour
    return image.astype(np.uint8)


def _stroke(own: npt.NDArray[np.int64], y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which pixels lie near the line between two points, bool ``(H, W)``."""
    height, width = len(y), x.shape[1]
    top, left, bottom, right = (int(v) % side for v, side in zip(own[1:5], (height, width) * 2, strict=True))
    thick = 1 + int(own[5]) % max(2, min(height, width) // 10)
    down, across = bottom - top, right - left
    length = max(1, down * down + across * across)
    dy, dx = y - top, x - left
    along = np.clip(dy * down + dx * across, 0, length)
    # squared distance from the line, times its squared length
    near: npt.NDArray[np.bool_] = (dy * dy + dx * dx) * length - 2 * along * (
        dy * down + dx * across
    ) + along * along <= thick * thick * length
    return near


def _blob(own: npt.NDArray[np.int64], y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which pixels lie in an ellipse, bool ``(H, W)``."""
    height, width = len(y), x.shape[1]
    dy, dx = y - int(own[1]) % height, x - int(own[2]) % width
    tall, wide = (
        1 + side // 12 + int(v) % max(1, side // 4) for v, side in zip(own[3:5], (height, width), strict=True)
    )
    inside: npt.NDArray[np.bool_] = dy * dy * (wide * wide) + dx * dx * (tall * tall) <= tall * tall * wide * wide
    return inside


def _enlarged(grid: npt.NDArray[np.int64], height: int, width: int) -> npt.NDArray[np.int64]:
    """A coarse grid ``(h, w, C)`` drawn large, bilinear in fixed point."""
    rows, columns = (_places(len(grid), side) for side in (height, width))
    tall = _mixed(grid, *rows)
    return _mixed(tall.swapaxes(0, 1), *columns).swapaxes(0, 1)


def _places(cells: int, side: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each pixel along a side the cell before it, and how far it lies behind that cell's centre."""
    at = np.arange(side, dtype=np.int64) * ((cells - 1) << _FIXED) // max(1, side - 1)
    return np.minimum(at >> _FIXED, cells - 2), at - (np.minimum(at >> _FIXED, cells - 2) << _FIXED)


def _mixed(
    values: npt.NDArray[np.int64], cell: npt.NDArray[np.int64], part: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    weight = part[:, np.newaxis, np.newaxis]
    mixed: npt.NDArray[np.int64] = (values[cell] * ((1 << _FIXED) - weight) + values[cell + 1] * weight) >> _FIXED
    return mixed


def _random(seed: int, count: int) -> npt.NDArray[np.int64]:
    """So many numbers from 0 to 2⁶² - 1.

    Source: splitmix64, Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
    """
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((state ^ (state >> np.uint64(31))) >> np.uint64(2)).astype(np.int64)


def _read(values: object, classes: int) -> SelfTest:
    fields = cast("dict[str, object]", values)
    seeds, expected = cast("list[int]", fields["seeds"]), cast("list[list[list[float]]]", fields["expected"])
    tolerance = float(cast(float, fields["tolerance"]))
    read = tuple(tuple((int(index), float(score)) for index, score in own) for own in expected)
    whole = all(type(seed) is int and 0 <= seed < 1 << 64 for seed in seeds)
    known = all(own and all(0 <= index < classes and 0 <= score <= 1.001 for index, score in own) for own in read)
    if not (whole and known and 0 < len(seeds) == len(read) <= MAX_SEEDS and 0 < tolerance <= 0.5):
        raise ValueError
    return SelfTest(tuple(seeds), read, tolerance)
