"""What PyAV (FFmpeg) reads: video files, webcams, network streams. The only place that imports it.

Its errors are told in words of ours, since its own name neither the cause nor the remedy and hold passwords.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edgecnn.decode import MAX_PIXELS
from edgecnn.errors import ImageError, SourceError, needs, redacted
from edgecnn.frames import Failure, Frame, Image

if TYPE_CHECKING:
    import av.container
    import av.video

Container: TypeAlias = "av.container.InputContainer"

FILES = "file,crypto,data"
"""What a file may open besides itself: nothing on the network."""
NETWORK = "tcp,udp,rtp,rtsp,rtsps,http,https,tls,crypto,data,hls,httpproxy"

_ENDINGS = "3gp avi flv h264 h265 hevc m2ts m4v mjpeg mjpg mkv mov mp4 mpeg mpg mts ogv ts webm wmv y4m"
VIDEO_ENDINGS = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""How the name of a file ends that is read as a video."""

NO_DATA = "gives nothing that can be read: check the address; is it a video at all?"
OPEN_S, READ_S = 10.0, 5.0
_DRIFT_S = 30.0


def load() -> Any:
    """PyAV, silent.

    Raises:
        MissingExtraError: It is not installed.
    """
    found = needs("av", "video", "to read videos, webcams and network streams")
    found.logging.set_level(None)
    return found


def _failures() -> tuple[type[Exception], ...]:
    """What PyAV raises; not all of its errors are OSErrors or ValueErrors."""
    return (OSError, ValueError, load().error.FFmpegError)


def opened(
    url: str, name: str, *, options: Mapping[str, str], format: str | None = None, timeout: bool = True
) -> Container:
    """Open something that has a picture stream.

    Args:
        url: What FFmpeg opens.
        name: For messages, without passwords.
        options: Of FFmpeg.
        format: Of FFmpeg; None is found out.
        timeout: Whether to give up after `OPEN_S` and `READ_S`.

    Raises:
        SourceError: It cannot be opened, or has no pictures.
    """
    library = load()
    try:
        container: Container = library.open(
            url, options=dict(options), format=format, timeout=(OPEN_S, READ_S) if timeout else None
        )
    except _failures() as error:
        raise SourceError(f"{name} {told(error)}") from error
    if not container.streams.video:
        kinds = " and ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        container.close()
        raise SourceError(f"{name} has no pictures, only {kinds}: name a video")
    return container


def frames(
    container: Container, name: str, *, live: bool, closed: threading.Event | None = None
) -> Iterator[Frame | Failure]:
    """Decode all frames of the first picture stream, and close the container.

    Args:
        container: From `opened`.
        name: The frames' source.
        live: Whether the frames come as they are taken; then they get the time of their arrival.
        closed: Ends the iteration.

    Raises:
        SourceError: The stream broke off.
    """
    stream = container.streams.video[0]
    stream.thread_type = "SLICE" if live else "AUTO"  # frame threads would keep a frame back for each core
    clock, index = Arrivals(), 0
    try:
        with contextlib.closing(container):
            began = time.perf_counter()
            for frame in container.decode(stream):
                if closed is not None and closed.is_set():
                    return
                item = _read(frame, name, index, began)
                if isinstance(item, Frame) and live:
                    item = Frame(item.image, name, index, item.decode_ms, clock.of(frame.time), None, numbered=True)
                yield item
                index += 1
                began = time.perf_counter()
    except _failures() as error:
        if closed is not None and closed.is_set():
            return
        raise SourceError(f"{name} {told(error)}") from error


def packets(container: Container, name: str, closed: threading.Event) -> Iterator[bytes]:
    """The compressed frames of the first picture stream, undecoded; closes the container.

    Raises:
        SourceError: The stream broke off.
    """
    try:
        with contextlib.closing(container):
            for packet in container.demux(container.streams.video[0]):
                if closed.is_set():
                    return
                if packet.size:
                    yield bytes(packet)
    except _failures() as error:
        if not closed.is_set():
            raise SourceError(f"{name} {told(error)}") from error


class Arrivals:
    """When a frame arrived: now, less how long it has waited behind others.

    A camera's own clock tells how frames follow each other. The quickest one of the last minute waited for nothing; one
    that is later by that clock has lain somewhere, in a decoder or in the network.
    """

    def __init__(self) -> None:
        self._quickest: deque[tuple[float, float]] = deque(maxlen=2)  # of this half minute and of the one before

    def of(self, camera_s: float | None) -> int:
        """Of a frame that is there now, by `time.monotonic_ns`; `camera_s` is its time by the camera's clock."""
        now_ns = time.monotonic_ns()
        if camera_s is None:
            return now_ns
        now = now_ns / 1e9
        apart = now - camera_s
        if not self._quickest or now - self._quickest[-1][0] > _DRIFT_S:
            self._quickest.append((now, apart))
        elif apart < self._quickest[-1][1]:
            self._quickest[-1] = self._quickest[-1][0], apart
        waited = apart - min(value for _, value in self._quickest)
        return now_ns - round(max(0.0, waited) * 1e9)


def upright(image: Image, rotation: int) -> Image:
    """A picture turned as its video says: `rotation` in degrees, counterclockwise as FFmpeg counts."""
    turns = round(rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def told(error: BaseException) -> str:
    """What goes on behind the name of a source: why it cannot be read, and what to check."""
    text = redacted(" ".join(str(error).split()))
    for pattern, words in (
        ("Immediate exit", f"gives nothing any more for {READ_S:g} s"),
        ("Connection refused", "refuses the connection: check host and port, and whether it is switched on"),
        ("401|Unauthorized", told_status(401, "")),
        ("403|Forbidden", told_status(403, "")),
        ("404|Not Found", told_status(404, "")),
        ("timed out", "does not answer: check the address, and whether it is switched on"),
        ("No route", "cannot be reached: check the address and the network"),
        ("Name or service|resolve|nodename", "has a host name that is not known: check it"),
        ("Permission denied", "may not be opened: sudo usermod -aG video $USER, then log in again"),
        ("Device or resource busy", "is in use by another program: end that one first"),
        ("No such device", "is no camera, or was unplugged"),
        ("No such file", "does not exist: check it"),
        ("Inappropriate ioctl", "is no camera: edgecnn cameras lists those there are"),
        ("Invalid data", NO_DATA),
    ):
        if any(part.lower() in text.lower() for part in pattern.split("|")):
            return words
    return f"cannot be read ({text[:200] or type(error).__name__}): check it"


def told_status(status: int, reason: str) -> str:
    """The same for what a server answers, by the number of HTTP and RTSP."""
    known = {
        401: "asks for another user or password: put USER:PASSWORD@ before the host",
        403: "forbids it: check user and password",
        404: "has no such stream: check the path behind the host",
    }
    return known.get(status, f"refuses with {status} {reason}: check the address")


def _read(frame: av.video.VideoFrame, name: str, index: int, began: float) -> Frame | Failure:
    if frame.is_corrupt:
        return Failure(name, ImageError(f"frame {index:,} is damaged"))
    if frame.width * frame.height > MAX_PIXELS:
        return Failure(name, ImageError(f"a frame must have at most {MAX_PIXELS:,} pixels"))
    grey = frame.format.name in ("gray", "gray10le", "gray12le", "gray16le", "ya8")
    # chroma is scaled up at full size; Pillow then does what scaling there is, as for every picture
    pixels = frame.to_ndarray(format="gray" if grey else "rgb24", interpolation="BILINEAR")
    image = upright(np.asarray(pixels, np.uint8).reshape(frame.height, frame.width, -1), int(frame.rotation))
    return Frame(image, name, index, (time.perf_counter() - began) * 1000, numbered=True)
