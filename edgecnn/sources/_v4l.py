"""Which webcams there are under Linux, asked of the kernel; none is opened for its pictures."""

from __future__ import annotations

import contextlib
import glob
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_QUERYCAP = 0x80685600  # VIDIOC_QUERYCAP of linux/videodev2.h: struct v4l2_capability, 104 bytes
_CAPABILITY = struct.Struct("16s32s32sIII12x")
_DEVICE_CAPS, _CAPTURE = 0x80000000, 0x00000001
_NOT_CAMERAS = ("bcm2835-codec", "bcm2835-isp", "pispbe", "rp1-cfe", "rpi-hevc-dec", "unicam")
"""Drivers of nodes that a Raspberry Pi has beside those of webcams; its own camera is read by ``pi:``."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A webcam.

    Attributes:
        path: Its device, by a name that stays where there is one.
        name: What the camera calls itself.
        driver: The kernel's.
    """

    path: str
    name: str
    driver: str


def cameras() -> list[Camera]:
    """All devices that give pictures; those that may not be opened are left out."""
    stable: dict[str, str] = {}
    for link in sorted(glob.glob("/dev/v4l/by-id/*")):
        stable.setdefault(os.path.realpath(link), link)
    found = []
    for path in sorted(glob.glob("/dev/video*"), key=lambda path: (len(path), path)):
        asked = _asked(path)
        if asked is not None and asked[1] not in _NOT_CAMERAS:
            found.append(Camera(stable.get(path, path), *asked))
    return found


def unreadable() -> list[str]:
    """Devices that this user may not open."""
    return [path for path in sorted(glob.glob("/dev/video*")) if not os.access(path, os.R_OK | os.W_OK)]


def holder(path: str) -> str:
    """The other program that has a device open, ``motion (process 812)``; empty where that is not to be found out."""
    for process in _holders(path, "[0-9]*"):
        with contextlib.suppress(OSError):
            if process != str(os.getpid()):
                name = Path(f"/proc/{process}/comm").read_text(encoding="utf-8", errors="replace").strip()
                return f"{name} (process {process})"
    return ""


def held_here(path: str) -> bool:
    """Whether this process has a device open."""
    return any(_holders(path, str(os.getpid())))


def _holders(path: str, processes: str) -> Iterator[str]:
    real = os.path.realpath(path)
    for link in glob.glob(f"/proc/{processes}/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(link) == real:
                yield link.split("/")[2]


def _asked(path: str) -> tuple[str, str] | None:
    """Name and driver of a device that gives pictures; None for another one."""
    import fcntl  # here: Windows has none

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        answer = fcntl.ioctl(descriptor, _QUERYCAP, bytes(_CAPABILITY.size))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return read_capability(answer)


def read_capability(answer: bytes) -> tuple[str, str] | None:
    """What the kernel says of a device: its name and driver; None where it gives no pictures."""
    driver, name, _bus, _version, capabilities, device = _CAPABILITY.unpack(answer)
    own = device if capabilities & _DEVICE_CAPS else capabilities
    if not own & _CAPTURE:
        return None
    return _text(name), _text(driver)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")
