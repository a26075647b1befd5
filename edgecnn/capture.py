"""Pictures for training, taken by the very camera that will predict."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from edgecnn.decode import decode_file
from edgecnn.errors import ImageError, SinkError, SourceError, UsageError
from edgecnn.files import write_whole
from edgecnn.frames import Failure, Image, Packet, Source

NEAR_BITS = 3
"""Pictures whose difference hashes differ in at most so many of 64 bits count as nearly the same."""

_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_MOST_THERE = 2_000
_ROWS, _COLUMNS = 8, 9
_QUALITY = 95


@dataclass(slots=True)
class Taken:
    """What came of it so far.

    Attributes:
        saved: Pictures that were written.
        alike: Those left out since a picture like them is there.
        damaged: Frames and files that could not be read.
        why: Of the last of those, what and why.
    """

    saved: int = 0
    alike: int = 0
    damaged: int = 0
    why: str = ""


def capture(
    source: Source,
    folder: Path,
    *,
    every_s: float,
    count: int,
    taken: Taken | None = None,
    show: Callable[[Taken], None] = lambda taken: None,
) -> Taken:
    """Save pictures of a source until there are enough, it ends, or Ctrl-C.

    Args:
        source: Where from; closed at the end.
        folder: The class folder, made with its first picture where it is not there; older pictures in it stay, and
            count as taken already.
        every_s: Seconds between two pictures of a live feed at least.
        count: How many to save.
        taken: Where to count; None for a new one.
        show: Is told after each frame that was looked at.

    Raises:
        UsageError: `every_s` below 0, or `count` below 1.
        SinkError: A picture cannot be written.
        SourceError: The source cannot be read.
    """
    if every_s < 0 or count < 1:
        raise UsageError(f"every must be 0 or more and count 1 or more; received {every_s:g} and {count}")
    taken, due = taken or Taken(), 0.0
    try:
        hashes = _there(folder)
        for item in source:
            if source.live and time.monotonic() < due:
                continue
            frame = item.decoded() if isinstance(item, Packet) else item
            if isinstance(frame, Failure):
                taken.damaged += 1
                taken.why = f"{frame.source}: {frame.error}"
                show(taken)
                continue
            own = difference_hash(frame.image)
            if any((own ^ other).bit_count() <= NEAR_BITS for other in hashes):
                taken.alike += 1
            else:
                _save(frame.image, folder)
                hashes.append(own)
                taken.saved += 1
                due = time.monotonic() + every_s
            show(taken)
            if taken.saved >= count:
                break
    except KeyboardInterrupt:
        if not source.live:
            raise
    except OSError as error:
        if isinstance(error, SinkError) or error.filename is None:
            raise
        raise SinkError(f"pictures must be written to {folder} ({error.strerror}); name another folder") from error
    finally:
        source.close()
    return taken


def difference_hash(image: Image) -> int:
    """64 bits: whether each of 8×8 places is brighter than the one to its left. Noise and light hardly change it."""
    grey = PILImage.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).convert("L")
    small = np.asarray(grey.resize((_COLUMNS, _ROWS), PILImage.Resampling.BOX), np.int16)
    bits = small[:, 1:] > small[:, :-1] + 1  # flat areas are 0 whatever their noise
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _there(folder: Path) -> list[int]:
    """Hashes of the pictures that lie in a folder, the newest of them where there are very many."""
    files = sorted(path for path in (folder.iterdir() if folder.exists() else ()) if path.suffix.lower() in _ENDINGS)
    hashes = []
    for path in files[-_MOST_THERE:]:
        with contextlib.suppress(ImageError, SourceError):
            hashes.append(difference_hash(decode_file(str(path))))
    return hashes


def _save(image: Image, folder: Path) -> None:
    """Write a JPEG whose name sorts by the time it was taken, as a split by name needs it."""
    folder.mkdir(parents=True, exist_ok=True)
    now_us = time.time_ns() // 1_000
    while (path := folder / f"{_stamp(now_us)}.jpg").exists():
        now_us += 1  # a name with something appended, cat-1.jpg, would sort before cat.jpg
    picture = PILImage.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=_QUALITY)
    try:
        write_whole(path, data.getvalue())
    except OSError as error:
        raise SinkError(
            f"a picture must be written to {path}: {error.strerror or error}; free some space, or name another folder"
        ) from error


def _stamp(time_us: int) -> str:
    seconds, micro = divmod(time_us, 1_000_000)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(seconds))}-{micro:06}"
