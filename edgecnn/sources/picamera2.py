"""The camera of a Raspberry Pi by Picamera2, for those who have it; ``pi:`` needs nothing of the kind.

======  =======  ===========================================================================
size    640x480  width and height of a frame
fps     30       frames per second, 1 to 240
======  =======  ===========================================================================
"""

from __future__ import annotations

import importlib
import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from edgecnn.errors import MissingProgramError, SourceError, UsageError
from edgecnn.frames import Frame, Item
from edgecnn.sources._options import refuse_unknown, size, whole

SCHEMES = ("picamera2",)
SKIP = 10  # frames, until exposure and white balance have settled
LIVE = True


def open(uri: str, options: Mapping[str, str]) -> Picamera2:
    """Find Picamera2; the camera is started when the source is iterated.

    Args:
        uri: ``picamera2:``, and the number of a camera.
        options: The module lists them.

    Raises:
        UsageError: An unknown option, or a value that one cannot have.
        SourceError: Picamera2 cannot be imported.
    """
    refuse_unknown("the source picamera2:", options, ("size", "fps"), live=True)
    number = uri.partition(":")[2] or "0"
    if not re.fullmatch("[0-9]{1,2}", number):
        raise UsageError(f"the source picamera2: takes the number of a camera; received {uri!r}: type picamera2:0")
    frame = size(options.get("size", "640x480"), 16, 8192, "640x480")
    fps = whole(options, "fps", 30, 1, 240)
    try:
        library = importlib.import_module("picamera2")
    except Exception as error:  # it breaks in many ways: no libcamera here, another NumPy than it was built for
        raise MissingProgramError(
            f"picamera2 cannot be imported here ({type(error).__name__}: {error}); it belongs to the system's Python. "
            "The source pi: works in any: edgecnn predict MODEL pi"
        ) from error
    return Picamera2(library, int(number), frame, fps)


class Picamera2:
    """A live source of a camera's frames."""

    live = True

    def __init__(self, library: Any, number: int, size: tuple[int, int], fps: int) -> None:
        self._library, self._number, self._size, self._fps = library, number, size, fps
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        """Start the camera and take its frames.

        Raises:
            SourceError: There is none, or it is busy.
        """
        try:
            camera = self._library.Picamera2(self._number)
        except (RuntimeError, IndexError) as error:
            raise SourceError(
                f"picamera2:{self._number} cannot be opened ({error}); edgecnn cameras lists those there are"
            ) from error
        try:
            # Picamera2 names formats from right to left: BGR888 lies in memory as R, G, B
            wanted = camera.create_video_configuration(
                main={"size": self._size, "format": "BGR888"}, controls={"FrameRate": self._fps}
            )
            camera.configure(wanted)
            camera.start()
            index = 0
            while not self._closed.is_set():
                yield self._frame(camera, index)
                index += 1
        except (RuntimeError, ValueError) as error:
            raise SourceError(f"picamera2:{self._number} stopped ({error}); end other programs that use it") from error
        finally:
            camera.close()

    def _frame(self, camera: Any, index: int) -> Frame:
        request = camera.capture_request()
        try:
            arrived_ns, began = time.monotonic_ns(), time.perf_counter()
            image = np.array(request.make_array("main"), np.uint8)
            exposed = request.get_metadata().get("SensorTimestamp")
        finally:
            request.release()
        taken_ms = (time.perf_counter() - began) * 1000
        name = f"picamera2:{self._number}"
        return Frame(
            image, name, index, taken_ms, arrived_ns, exposed if isinstance(exposed, int) else None, numbered=True
        )

    def close(self) -> None:
        """End with the next frame; idempotent."""
        self._closed.set()
