"""A network camera: ``rtsp://HOST/PATH``, with ``rtsp://USER:PASSWORD@HOST/PATH`` where it asks for that.

Options follow a ``#``, since what follows a ``?`` is the camera's: ``'rtsp://cam/live?channel=2#transport=udp'``.

=========  =====  ===========================================================================
transport  tcp    ``tcp``, which loses nothing, or ``udp``, for cameras that have nothing else
=========  =====  ===========================================================================
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

from edgecnn.errors import SourceError, UsageError, redacted
from edgecnn.frames import Item
from edgecnn.sources import _av
from edgecnn.sources._options import note_misplaced, refuse_unknown

SCHEMES = ("rtsp", "rtsps")
OPTIONS_AFTER = "#"
LIVE = True

_TRANSPORTS = ("tcp", "udp")
_QUICK = {"fflags": "nobuffer", "flags": "low_delay", "probesize": "500000", "analyzeduration": "500000"}


def open(uri: str, options: Mapping[str, str]) -> Stream:
    """Connect to a camera.

    Args:
        uri: Its address.
        options: The module lists them.

    Raises:
        UsageError: An unknown option, or a value that one cannot have.
        SourceError: It cannot be reached, or gives no pictures.
        MissingExtraError: PyAV is not installed.
    """
    refuse_unknown("the source rtsp:", options, ("transport",), live=True)
    transport = options.get("transport", "tcp")
    if transport not in _TRANSPORTS:
        raise UsageError(f"transport must be tcp or udp; received {transport!r}")
    note_misplaced(uri, ("transport",))
    name = redacted(uri)
    if not uri.partition("://")[2].strip("/"):
        raise UsageError(f"an rtsp address must name a host; received {name!r}: rtsp://192.168.1.20/stream1")
    wanted = {**_QUICK, "rtsp_transport": transport, "protocol_whitelist": _av.NETWORK}
    return Stream(_av.opened(uri, name, options=wanted), name)


class Stream:
    """A live source of a network stream's frames."""

    live = True

    def __init__(self, container: _av.Container, name: str) -> None:
        self._container, self._name = container, name
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        """Decode what comes.

        Raises:
            SourceError: The stream broke off, or was ended at the other side.
        """
        yield from _av.frames(self._container, self._name, live=True, closed=self._closed)
        if not self._closed.is_set():
            raise SourceError(f"{self._name} has ended the stream")

    def close(self) -> None:
        """End with the next frame, or a few seconds later; idempotent."""
        self._closed.set()
