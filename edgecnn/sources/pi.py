"""The camera of a Raspberry Pi, ``pi``, or ``pi:1`` for the second one: by ``rpicam-vid``, which its system brings.

It runs as a program of its own, so that nothing of libcamera must fit this Python, and a crash frees the camera.

======  =======  ===========================================================================
size    640x480  width and height of a frame; a small one may show only the middle of what the lens sees
fps     30       frames per second, 1 to 240
args    (none)   more words for ``rpicam-vid``, such as ``--hflip --mode 2304:1296``
======  =======  ===========================================================================
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping

from edgecnn.errors import MissingProgramError, SourceError, UsageError
from edgecnn.frames import Found, Item, Packet
from edgecnn.sources import _raw
from edgecnn.sources._options import refuse_unknown, size, whole
from edgecnn.sources._process import Program

SCHEMES = ("pi",)
SKIP = 10  # frames, until exposure and white balance have settled
LIVE = True
PROGRAMS = ("rpicam-vid", "libcamera-vid")

_OPTIONS = ("size", "fps", "args")
_LIST_S = 10.0
_MOMENT_S = 0.01  # that a frame waits for the time of its exposure, where that is the next to come
_ALIGNED = 64  # bytes of a row that rpicam-vid writes
_CHECKED_AFTER, _BEHIND = 30, 4  # frames, after which its own count must agree with ours but for so many
_WHY = (
    (
        "no cameras available",
        "no camera is connected: check the ribbon cable at both ends, and try rpicam-hello --list-cameras",
    ),
    (
        "busy|in use by another process|failed to acquire camera",
        "another program has the camera: end it, or wait; sudo fuser -v /dev/media* names it",
    ),
    (
        "cannot allocate memory|failed to allocate",
        "too little contiguous memory: add args=--buffer-count%202, or a smaller size",
    ),
    (
        "out of range|invalid camera|camera index",
        "there is no camera of that number: edgecnn cameras lists those there are",
    ),
)


def open(uri: str, options: Mapping[str, str]) -> PiCamera:
    """Find ``rpicam-vid``; it is started when the source is iterated.

    Args:
        uri: ``pi``, ``pi:`` or ``pi:N``.
        options: The module lists them.

    Raises:
        UsageError: An unknown option, or a value that one cannot have.
        SourceError: ``rpicam-vid`` is not installed.
    """
    refuse_unknown("the source pi:", options, _OPTIONS, live=True)
    number = uri.partition(":")[2] or "0"
    if not re.fullmatch("[0-9]{1,2}", number):
        raise UsageError(f"the source pi: takes the number of a camera; received {uri!r}: type pi:0")
    try:
        more = shlex.split(options.get("args", ""))
    except ValueError as error:
        raise UsageError(f"args must have its quotes in pairs ({error}); received {options['args']!r}") from error
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise MissingProgramError(
            "the source pi: needs rpicam-vid, which is not found; on Raspberry Pi OS type: sudo apt install "
            "rpicam-apps-lite. On another system, name usb:0 for a webcam"
        )
    frame = size(options.get("size", "640x480"), 16, 8192, "640x480")
    if frame[0] % 2 or frame[1] % 2:
        raise UsageError(f"size of the source pi: must have even sides; received {options['size']!r}")
    return PiCamera(program, int(number), frame, whole(options, "fps", 30, 1, 240), more)


def found() -> list[Found]:
    """The cameras that ``rpicam-hello`` lists; none where it is not installed."""
    program = next(filter(None, map(shutil.which, ("rpicam-hello", "libcamera-hello"))), None)
    if program is None:
        return []
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [program, "--list-cameras"], capture_output=True, text=True, errors="replace", timeout=_LIST_S, check=False
        )
        listed = re.findall(r"^\s*([0-9]+) : (\S+) \[([0-9]+x[0-9]+)", done.stdout, re.MULTILINE)
        return [Found(f"pi:{number}", f"{sensor}, {pixels}") for number, sensor, pixels in listed]
    return []


class PiCamera:
    """A live source of a camera's frames."""

    live = True

    def __init__(self, program: str, number: int, size: tuple[int, int], fps: int, more: list[str]) -> None:
        self._program, self._number, self._size, self._fps, self._more = program, number, size, fps, more
        self._running: Program | None = None
        self._closed = False

    def __iter__(self) -> Iterator[Item]:
        """Start the camera and take its frames.

        Raises:
            SourceError: There is none, it is busy, or it stopped.
        """
        reads, writes = os.pipe()
        os.set_blocking(reads, False)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, reads)
            try:
                running = self._running = Program(self._command(writes), [writes])
            finally:
                os.close(writes)
            stack.callback(running.close)
            if self._closed:
                return
            yield from self._frames(running, _Exposures(reads))
            code = running.wait(2.0)
            if not running.stopped:
                raise SourceError(_explained(code, running.said()))

    def close(self) -> None:
        """Stop the camera; idempotent."""
        self._closed = True
        if self._running is not None:
            self._running.stop()

    def _command(self, about: int) -> list[str]:
        width, height = map(str, self._size)
        own = [self._program, "-t", "0", "-n", "--camera", str(self._number), "--width", width, "--height", height]
        own += ["--framerate", str(self._fps), "--codec", "yuv420", "--flush"]
        own += [] if "--buffer-count" in self._more else ["--buffer-count", "4"]
        return [*own, "--metadata", f"/dev/fd/{about}", "--metadata-format", "txt", *self._more, "-o", "-"]

    def _frames(self, running: Program, exposures: _Exposures) -> Iterator[Item]:
        width, height = self._size
        stride = -(-width // _ALIGNED) * _ALIGNED
        frame_bytes = stride * height * 3 // 2
        decode = functools.partial(_raw.yuv_image, width=width, height=height, stride=stride)
        index = 0
        while len(data := _raw.exactly(running.output, frame_bytes)) == frame_bytes:
            arrived_ns = time.monotonic_ns()
            yield Packet(data, decode, f"pi:{self._number}", index, arrived_ns, exposures.of(index, arrived_ns))
            index += 1
            if index == _CHECKED_AFTER and exposures.count and abs(exposures.count - index) > _BEHIND:
                raise SourceError(
                    f"a frame of {width}x{height} must have {frame_bytes:,} bytes; {os.path.basename(self._program)} "
                    f"writes frames of another size ({exposures.count} for {index}): choose a width that is a multiple "
                    "of 128, such as 640"
                )


class _Exposures:
    """When each frame was exposed, as ``rpicam-vid`` tells beside the pictures, a moment after each."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._rest = descriptor, b""
        self._times: dict[int, int] = {}
        self.count = 0

    def of(self, index: int, now_ns: int) -> int | None:
        """The exposure of a frame by `time.monotonic_ns`; None where that is not known, or cannot be."""
        self._read()
        if self.count == index:  # it is the next one, and written this very moment
            select.select([self._descriptor], [], [], _MOMENT_S)
            self._read()
        found = self._times.pop(index, None)
        for old in [number for number in self._times if number < index]:
            del self._times[old]
        return found if found is not None and 0 <= now_ns - found < 10_000_000_000 else None

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._descriptor, 1 << 16):
                self._add(chunk)

    def _add(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.partition(b"=")
            if name == b"SensorTimestamp" and value.strip().isdigit():
                self._times[self.count] = int(value)
                self.count += 1


def _explained(code: int | None, said: list[str]) -> str:
    """Why ``rpicam-vid`` ended, with what to do."""
    text = " ".join(said)
    for pattern, remedy in _WHY:
        if re.search(pattern, text, re.IGNORECASE):
            return f"the camera gives no frame: {remedy}"
    last = next((line for line in reversed(said) if "ERROR" in line), said[-1] if said else "it says nothing")
    return f"rpicam-vid ended with exit code {code}: {last}; try rpicam-hello"
