"""A webcam under Linux: ``usb:0``, ``/dev/video0``, or a name that stays, ``usb:/dev/v4l/by-id/…``.

======  =======  ===========================================================================
size    640x480  width and height of a frame; a camera takes the nearest that it has
fps     30       frames per second, 1 to 240
format  mjpeg    how the camera sends them: ``mjpeg``, or ``yuyv422``, which is slow above 640x480
======  =======  ===========================================================================
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Mapping

from edgecnn.decode import decode
from edgecnn.errors import SourceError, UsageError
from edgecnn.frames import Found, Item, Packet
from edgecnn.sources import _av, _v4l
from edgecnn.sources._options import refuse_unknown, size, whole

SCHEMES = ("usb",)
SKIP = 10  # frames, until exposure and white balance have settled
LIVE = True

_OPTIONS = ("size", "fps", "format")
_FORMATS = ("mjpeg", "yuyv422")


def open(uri: str, options: Mapping[str, str]) -> Webcam:
    """Find the camera; it is opened when the source is iterated.

    Args:
        uri: ``usb:``, then a number or the path of a device.
        options: The module lists them.

    Raises:
        UsageError: An unknown option, or a value that one cannot have.
        SourceError: There is no such camera.
        MissingExtraError: PyAV is not installed.
    """
    refuse_unknown("the source usb:", options, _OPTIONS, live=True)
    place = uri.partition(":")[2] if uri.startswith("usb") else uri
    path = f"/dev/video{place or 0}" if re.fullmatch("[0-9]{0,3}", place) else place
    if not path.startswith("/dev/"):
        raise UsageError(f"the source usb: takes a number or a device; received {uri!r}: type usb:0")
    format = options.get("format", "mjpeg")
    if format not in _FORMATS:
        raise UsageError(f"format of the source usb: must be one of {', '.join(_FORMATS)}; received {format!r}")
    width, height = size(options.get("size", "640x480"), 16, 8192, "640x480")
    wanted = {"input_format": format, "video_size": f"{width}x{height}"}
    wanted["framerate"] = str(whole(options, "fps", 30, 1, 240))
    _av.load()
    if not os.path.exists(path):
        there = ", ".join(camera.source for camera in found()) or "none; plug one in"
        raise SourceError(f"no camera {path}; those there are: {there}")
    return Webcam(uri if uri.startswith("usb") else f"usb:{path}", path, wanted)


def found() -> list[Found]:
    """The webcams that there are."""
    return [
        Found(f"usb:{camera.path.removeprefix('/dev/video')}", f"{camera.name} ({camera.driver})")
        for camera in _v4l.cameras()
    ]


class Webcam:
    """A live source of a webcam's frames."""

    live = True

    def __init__(self, name: str, path: str, wanted: Mapping[str, str]) -> None:
        self._name, self._path, self._wanted = name, path, wanted
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        """Open the camera and take its frames; JPEGs are decoded only where they are wanted.

        Raises:
            SourceError: It is busy, was unplugged, or is no camera.
        """
        try:
            container = _av.opened(self._path, self._name, options=self._wanted, format="video4linux2")
        except SourceError as error:
            raise SourceError(self._explained(str(error))) from error
        if self._wanted["input_format"] != "mjpeg":
            yield from _av.frames(container, self._name, live=True, closed=self._closed)
        else:
            yield from self._packets(container)
        if not self._closed.is_set():
            raise SourceError(f"{self._name} gives nothing any more: was it unplugged?")

    def _explained(self, text: str) -> str:
        """What PyAV says of a camera that cannot be opened, and what more can be found out."""
        if "Invalid argument" in text:
            other = next(one for one in _FORMATS if one != self._wanted["input_format"])
            sends = f"must send {self._wanted['input_format']}; it does not"
            return f"{self._name} {sends}: add ?format={other}"
        if "in use" in text and _v4l.held_here(self._path):
            return f"{self._name} is in use by this very run: it is named twice, or hangs"
        holder = _v4l.holder(self._path)
        return f"{text}{holder and f' ({holder} has it)'}"

    def _packets(self, container: _av.Container) -> Iterator[Item]:
        for index, data in enumerate(_av.packets(container, self._name, self._closed)):
            yield Packet(data, decode, self._name, index, time.monotonic_ns())

    def close(self) -> None:
        """End with the next frame, or a few seconds later; idempotent."""
        self._closed.set()
