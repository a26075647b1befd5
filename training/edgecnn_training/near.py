"""Pictures that are nearly the same: found by a perceptual hash, then compared pixel by pixel.

**Hash.** The picture as grey, shrunk to at most 32×32; the 63 lowest frequencies of its cosine transform (8×8 without
the mean), scaled to length 1, so that brightness and contrast do not count; a bit for each, set where it is above the
data set's own median by `_MARGIN`. The median lets each bit split the set in halves, also where all pictures are digits
in the middle of black; without the margin, frequencies that are zero in many pictures would give random bits (found of
the pairs of glyphs at 0.99: 71 % without it, 99.7 % with it).

**Search.** Pairs with at most 6 of 63 bits apart. The bits are cut into 9 blocks of 7, of which at least 3 are then
equal, so pictures are sorted once for each of the 84 choices of 3 blocks, and only those with 21 equal bits compared:
the method of Manku, Jain and Das Sarma, "Detecting near-duplicates for web crawling", WWW 2007. No pair is missed.

**Proof.** Normalised correlation of the grey pixels of at least `LIKENESS`, and of `COLOUR_LIKENESS` over all channels
together where there is colour. A picture of nearly one colour is like no other.

The thresholds were chosen by looking at sheets of ten pairs for each step of correlation from 0.6 to 1, at the size
that is trained in. CIFAR-10: above 0.8 nearly all are one photograph, cut or coloured otherwise; below, other planes in
the same sky. Sign-digits: up to 0.95 another take of the hand. MNIST: from 0.95 on slanted strokes of other people,
nearly all of them ones whatever the threshold. notMNIST, glyphs: I, H and J of fonts that are alike, and pictograms
that differ in one letter. So "nearly the same" is what can be said of them, not "leaked".

What it finds, and what it costs (CPU seconds of one core; memory beyond that of the process before), as measured by
``python benchmarks/health.py DATA… --made 500000``; a copy counts as found if it is paired with its picture, n 400:

==========  ========  ====  =======  =======  =======  ======  ========  =====  ======  =====
set         pictures     s      MiB  JPEG 75  JPEG 50  darker  brighter  noise  cut 1%  moved
==========  ========  ====  =======  =======  =======  ======  ========  =====  ======  =====
MNIST         70,000   3.7       94    100 %    100 %   100 %     100 %  100 %   100 %    0 %
CIFAR-10      60,000   1.2       89    100 %     92 %   100 %      97 %  100 %    99 %    1 %
notMNIST       8,039   0.5             100 %    100 %   100 %     100 %  100 %    97 %    0 %
sign-digits    1,631   0.1             100 %    100 %   100 %      90 %  100 %   100 %    2 %
glyphs        11,209   1.5             100 %    100 %   100 %     100 %  100 %    98 %    0 %
made         500,000    20      414
==========  ========  ====  =======  =======  =======  ======  ========  =====  ======  =====

A whole pixel of the size that is trained in is much of a picture of 28 of them; a pixel of a photograph is little.
Mirrored pictures are not found. Of all pairs at 0.97 (0.99), every one compared with every one, the hash finds:
CIFAR-10 90 % (100 %), notMNIST 87 % (99.7 %), glyphs 93 % (99.7 %), MNIST 65 % (100 %). A dHash is no alternative on
glyphs: of 64 bits of MNIST's, 2 or fewer differ in 1 of 1,000 random pairs, since black equals black, and noise of 4
levels flips 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import numpy.typing as npt

from edgecnn_training.pictures import Floats, Images, Indices

LIKENESS = 0.97
COLOUR_LIKENESS = 0.9
RADIUS = 6
"""Bits that may differ."""

Hashes = npt.NDArray[np.uint64]

_SIDE_PX = 32
_BITS, _BLOCKS, _CLEAN = 63, 9, 3
_MARGIN = 0.01
_FLAT = 2.0  # standard deviation in levels of 255, below which a picture is of one colour
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"
_CHUNK = 4096
_CHUNK_VALUES = 1 << 22
_COUNT_OF_ONES = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)


@dataclass(slots=True)
class Effort:
    """How much a search may do; what it leaves out where that is not enough.

    Many frames of one scene would otherwise take hours: with 100,000 frames of 100 scenes, and with seven copies of
    MNIST, each with noise of its own, it ends after 11 and 18 CPU seconds. Pictures that are neighbours in the data set
    are compared first.

    Attributes:
        window: With how many others of its bucket a picture is compared.
        comparisons: Of hashes, in total.
        candidates: Pairs compared by their pixels, in total.
        cut: Whether something was left out.
    """

    window: int = 1000
    comparisons: int = 10**9
    candidates: int = 5 * 10**6
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pictures that are nearly the same.

    Attributes:
        first: int64 ``(P,)``, rows of the cache.
        second: int64 ``(P,)``, larger ones.
        likeness: float32 ``(P,)``, correlation of the grey pixels, rounded to 4 digits.
    """

    first: Indices
    second: Indices
    likeness: Floats


@dataclass(slots=True)
class Search:
    """All pairs of pictures that are nearly the same, a few thousand at a time; takes 1 KB of memory for a picture.

    Attributes:
        images: uint8 ``(M, H, W, C)``, at least 8 pixels a side.
        rows: int64, ascending: which of them to compare.
        effort: Its limits.
    """

    images: Images
    rows: Indices
    effort: Effort = field(default_factory=Effort)

    def pairs(self) -> Iterator[Pairs]:
        """Each pair once, in an order that depends on the pictures only."""
        rows, small = shrink(self.images, self.rows)
        if len(rows) < 2:
            return
        for first, second in candidates(hashes(small), self.effort):
            alike = likeness(small, first, second)
            kept = alike >= LIKENESS
            i, j, alike = rows[first[kept]], rows[second[kept]], alike[kept]
            if self.images.shape[3] > 1:
                same = likeness(self.images, i, j) >= COLOUR_LIKENESS
                i, j, alike = i[same], j[same], alike[same]
            yield Pairs(i, j, alike)


def shrink(images: Images, rows: Indices) -> tuple[Indices, npt.NDArray[np.uint8]]:
    """Pictures as grey, in means of whole squares of pixels; those of nearly one colour are left out.

    Returns:
        Rows of the pictures that are left, and the pictures: uint8 ``(N, h, w)``, at most 32 pixels a side.
    """
    height, width, channels = images.shape[1:]
    down, across = math.ceil(height / _SIDE_PX), math.ceil(width / _SIDE_PX)
    h, w = height // down, width // across
    kept, small, count = np.empty_like(rows), np.empty((len(rows), h, w), np.uint8), 0
    step = max(1, _CHUNK_VALUES // (height * width * channels))
    for start in range(0, len(rows), step):
        chosen = rows[start : start + step]
        pixels = images[chosen, : h * down, : w * across]
        grey = pixels[..., 0] if channels == 1 else pixels @ _GREY
        means = np.rint(grey.reshape(len(grey), h, down, w, across).mean((2, 4), dtype=np.float32))
        varied = means.std((1, 2)) >= _FLAT
        end = count + int(varied.sum())
        kept[count:end], small[count:end] = chosen[varied], means[varied]
        count = end
    return kept[:count], small[:count]


def hashes(small: npt.NDArray[np.uint8]) -> Hashes:
    """63 bits of each picture; alike pictures differ in few of them.

    Args:
        small: Grey pictures ``(N, h, w)``, not all pixels of one equal.
    """
    down, across = _cosines(small.shape[1]), _cosines(small.shape[2])
    values = np.empty((len(small), _BITS), np.float32)
    for start in range(0, len(small), _CHUNK):
        waves = down @ small[start : start + _CHUNK].astype(np.float32) @ across.T
        values[start : start + _CHUNK] = waves.reshape(-1, _BITS + 1)[:, 1:]
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    bits = np.zeros((len(small), _BITS + 1), bool)
    medians = np.array([np.median(column) for column in values.T], np.float32)  # a column at a time: it is copied
    bits[:, :_BITS] = values > medians + np.float32(_MARGIN)
    packed: Hashes = np.packbits(bits, axis=1, bitorder="little").view("<u8")[:, 0].astype(np.uint64)
    return packed


def candidates(hashes: Hashes, effort: Effort) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of positions whose hashes differ in at most `RADIUS` bits, each pair once, a few thousand at a time."""
    waiting: list[tuple[Indices, Indices]] = []
    size = 0
    for first, second in _close(hashes, effort):
        first, second = first[: effort.candidates], second[: effort.candidates]
        effort.candidates -= len(first)
        effort.cut |= effort.candidates == 0
        waiting.append((first, second))
        size += len(first)
        if size >= _CHUNK or effort.candidates == 0:
            yield _joined(waiting)
            waiting, size = [], 0
        if effort.candidates == 0:
            return
    if waiting:
        yield _joined(waiting)


def _joined(waiting: list[tuple[Indices, Indices]]) -> tuple[Indices, Indices]:
    first, second = (np.concatenate(column) for column in zip(*waiting, strict=True))
    return first, second


def _close(hashes: Hashes, effort: Effort) -> Iterator[tuple[Indices, Indices]]:
    """Pairs that are close, as they are met."""
    masks = np.array([sum(1 << bit for bit in range(block, _BITS, _BLOCKS)) for block in range(_BLOCKS)], np.uint64)
    choices = list(combinations(range(_BLOCKS), _CLEAN))
    own = _first_choice(choices)
    for number, choice in enumerate(choices):
        for first, second in _in_one_bucket(hashes & np.bitwise_or.reduce(masks[list(choice)]), effort):
            apart = hashes[first] ^ hashes[second]
            close = np.flatnonzero(ones(apart) <= RADIUS)
            # a pair meets once for each choice of blocks that are equal in both: it counts at the first one
            equal = ((apart[close, None] & masks) == 0) @ (1 << np.arange(_BLOCKS))
            new = close[own[equal] == number]
            if len(new):
                yield first[new], second[new]


def likeness(images: Images | npt.NDArray[np.uint8], first: Indices, second: Indices) -> Floats:
    """Normalised correlation of the pixels of pairs, over all channels: −1 to 1, 0 where one is of a single colour."""
    result = np.empty(len(first), np.float32)
    size = math.prod(images.shape[1:])
    step = max(1, _CHUNK_VALUES // size)
    for start in range(0, len(first), step):
        a, b = (_centred(images[rows[start : start + step]].reshape(-1, size)) for rows in (first, second))
        lengths = np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
        result[start : start + step] = np.einsum("ij,ij->i", a, b) / np.maximum(lengths, 1e-6)
    return result.round(4)


def ones(hashes: Hashes) -> npt.NDArray[np.int64]:
    """How many bits are set in each."""
    counts: npt.NDArray[np.int64] = _COUNT_OF_ONES[hashes.view(np.uint16)].reshape(-1, 4).sum(1, dtype=np.int64)
    return counts


def _in_one_bucket(keys: Hashes, effort: Effort) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of positions with equal keys, those nearest to each other in the data set first."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = np.arange(len(keys) - 1)
    for distance in range(1, len(keys)):
        first = first[: np.searchsorted(first, len(keys) - distance)]
        first = first[ordered[first] == ordered[first + distance]]
        if not len(first):
            return
        if distance > effort.window or len(first) > effort.comparisons:
            effort.cut = True
            return
        effort.comparisons -= len(first)
        yield order[first], order[first + distance]


def _first_choice(choices: list[tuple[int, ...]]) -> Indices:
    """For each set of equal blocks, as bits of a number, which choice of blocks comes first; -1 for too few blocks."""
    first = np.full(1 << _BLOCKS, -1)
    for equal in range(1 << _BLOCKS):
        blocks = [block for block in range(_BLOCKS) if equal >> block & 1]
        if len(blocks) >= _CLEAN:
            first[equal] = choices.index(tuple(blocks[:_CLEAN]))
    return first


def _cosines(side: int) -> Floats:
    """The 8 lowest frequencies of the cosine transform of `side` values: float32 ``(8, side)``."""
    waves = np.cos(np.pi / side * np.outer(np.arange(8), np.arange(side) + 0.5))
    return waves.astype(np.float32)


def _centred(pixels: npt.NDArray[np.uint8]) -> Floats:
    values = pixels.astype(np.float32)
    values -= values.mean(1, keepdims=True)
    return values
