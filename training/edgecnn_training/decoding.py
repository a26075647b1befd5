"""The second pass over a data set: every different picture decoded and brought to one size, by several threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecnn.decode import decode
from edgecnn.errors import ImageError
from edgecnn.frames import Image
from edgecnn.preprocess import fit_image
from edgecnn_training.dataset import Progress, Survey, content_hash, read
from edgecnn_training.examples import Example

Decoded = tuple[bytes, Image | str]
"""A content hash with the picture, or with the reason why it cannot be decoded."""

_CHUNK = 64
_CHUNK_BYTES = 8 << 20
_MAX_THREADS = 8
_MEMORY_BYTES = 2 << 30
_BYTES_PER_PIXEL = 12  # measured: 7 for a plain JPEG, 11 for CMYK, or one that is turned

_Encoded = tuple[bytes, bytes | npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Shape:
    """What pictures are brought to: rows, columns, 1 or 3 channels, and how."""

    height: int
    width: int
    channels: int
    fit: str

    @property
    def size_bytes(self) -> int:
        """Bytes of one picture."""
        return self.height * self.width * self.channels


def decoded(survey: Survey, shape: Shape, progress: Progress | None = None) -> Generator[Decoded, None, None]:
    """Each different picture of a surveyed data set once, in the data set's order.

    At most two chunks of pictures for each thread are in memory. Pictures that came after the survey are left out.
    """
    threads = _threads(_cores(), survey.sizes)
    window: deque[Future[list[Decoded]]] = deque()
    pool = ThreadPoolExecutor(threads, "decode")
    try:
        for chunk in _chunks(_wanted(survey, progress)):
            window.append(pool.submit(_decode_all, chunk, shape))
            if len(window) > 2 * threads:
                yield from window.popleft().result()
        while window:
            yield from window.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _threads(cores: int, sizes: Iterable[tuple[int, int]]) -> int:
    """One for each core, as long as as many of the largest pictures fit into `_MEMORY_BYTES`."""
    largest = max((height * width for height, width in sizes), default=0)
    return max(1, min(_MAX_THREADS, cores, _MEMORY_BYTES // max(1, largest * _BYTES_PER_PIXEL)))


def _cores() -> int:
    """Cores this process may use, where the system tells; all of them elsewhere."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _wanted(survey: Survey, progress: Progress | None) -> Iterator[_Encoded]:
    """The first picture of each content that the survey knows."""
    missing = {record.content_hash for record in survey.records}
    for count, item in enumerate(read(survey.location), 1):
        if progress is not None and count % _CHUNK == 0:
            progress(count)
        if isinstance(item, Example):
            digest = content_hash(item.image)
            if digest in missing:
                missing.discard(digest)
                yield digest, item.image
    if progress is not None:
        progress(len(survey.records) + len(survey.rejected))


def _chunks(pictures: Iterator[_Encoded]) -> Iterator[list[_Encoded]]:
    """Lists of pictures, limited in number and in bytes: handing over single small ones costs more than decoding."""
    chunk: list[_Encoded] = []
    size_bytes = 0
    for digest, image in pictures:
        chunk.append((digest, image))
        size_bytes += len(image) if isinstance(image, bytes) else image.nbytes
        if len(chunk) == _CHUNK or size_bytes > _CHUNK_BYTES:
            yield chunk
            chunk, size_bytes = [], 0
    if chunk:
        yield chunk


def _decode_all(chunk: list[_Encoded], shape: Shape) -> list[Decoded]:
    return [(digest, _decode_one(image, shape)) for digest, image in chunk]


def _decode_one(image: bytes | npt.NDArray[np.uint8], shape: Shape) -> Image | str:
    try:
        pixels = decode(image) if isinstance(image, bytes) else image
        return fit_image(pixels, shape.height, shape.width, shape.channels, shape.fit)
    except ImageError as error:
        return str(error)
    except MemoryError:
        return "too narrow a strip to be brought to the size in memory; cut it into squares"
