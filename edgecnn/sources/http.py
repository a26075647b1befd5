"""Pictures over HTTP: the MJPEG stream of a camera, a single picture asked for again and again, HLS or another video.

Which of them it is, the server says. Options follow a ``#``: ``'http://cam/snap.jpg?channel=2#interval=0.5'``.

========  ===  ===========================================================================
interval  1    seconds between two requests for a single picture, 0.05 to 3600
========  ===  ===========================================================================
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, cast

from edgecnn.decode import decode
from edgecnn.errors import SourceError, UsageError, redacted
from edgecnn.frames import Item, Packet
from edgecnn.sources import _av, _raw
from edgecnn.sources._options import note_misplaced, refuse_unknown

SCHEMES = ("http", "https")
OPTIONS_AFTER = "#"
LIVE = True

_PATIENCE_S, _ANSWER_S = 5.0, 15.0
_AS_IT_IS = "%/:=&?~#+!$,;'@()*[]"  # of an address; the rest is percent-encoded
_STREAM, _PICTURE = re.compile(r"multipart/"), re.compile(r"image/")


def open(uri: str, options: Mapping[str, str]) -> Stream | Snapshots | Video:
    """Ask a server for pictures.

    Args:
        uri: The address; user and password in it are used as the server asks for them.
        options: The module lists them.

    Raises:
        UsageError: An unknown option, a value that one cannot have, or no address.
        SourceError: The server cannot be reached, refuses, or sends something else.
        MissingExtraError: It is a video, and PyAV is not installed.
    """
    refuse_unknown("the source http:", options, ("interval",), live=True)
    text = options.get("interval", "1")
    if not (re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text) and 0.05 <= float(text) <= 3600):
        raise UsageError(f"interval must be a number of seconds from 0.05 to 3600; received {text!r}")
    note_misplaced(uri, ("interval",))
    name, server = redacted(uri), Server(uri)
    answer = server.ask()
    kind = answer.headers.get_content_type()
    if _STREAM.match(kind):
        return Stream(server, answer, name)
    if _PICTURE.match(kind):
        answer.close()
        return Snapshots(server, name, float(text))
    answer.close()
    if kind in ("text/html", "text/plain", "application/json"):
        raise SourceError(
            f"{name} sends {kind}, no pictures: look in it, or in the camera's manual, for the address of its stream"
        )
    wanted = {"protocol_whitelist": _av.NETWORK}
    return Video(_av.opened(uri, name, options=wanted), name)


class Server:
    """Where pictures are asked for: connections end when it is closed, whatever waits on them.

    Args:
        uri: The address.

    Raises:
        UsageError: It is none.
    """

    def __init__(self, uri: str) -> None:
        self.name = redacted(uri)
        try:
            parts = urllib.parse.urlsplit(uri)
            host, port, user = parts.hostname, parts.port, parts.username
        except ValueError as error:
            raise UsageError(f"an address must name a host; received {self.name!r} ({error})") from error
        if not host:
            raise UsageError(f"an address must name a host; received {self.name!r}: http://192.168.1.20/stream")
        place = (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")
        path, query = (urllib.parse.quote(part, safe=_AS_IT_IS) for part in (parts.path or "/", parts.query))
        self._url = urllib.parse.urlunsplit((parts.scheme, place, path, query, ""))
        self._sockets: list[socket.socket] = []
        request = urllib.request
        handlers: list[Any] = [_Http(self._sockets), _Https(self._sockets), request.HTTPErrorProcessor()]
        handlers += [request.HTTPRedirectHandler(), request.HTTPDefaultErrorHandler(), request.UnknownHandler()]
        if user is not None:
            known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
            unquote = urllib.parse.unquote
            known.add_password(None, f"{parts.scheme}://{place}/", unquote(user), unquote(parts.password or ""))
            kinds = (urllib.request.HTTPBasicAuthHandler, urllib.request.HTTPDigestAuthHandler)
            handlers += [_asked_once_more(kind, known) for kind in kinds]
        self._opener = urllib.request.OpenerDirector()  # no FTP, no files
        for handler in handlers:
            self._opener.add_handler(handler)
        self.closed = threading.Event()

    def ask(self) -> http.client.HTTPResponse:
        """Ask once.

        Raises:
            SourceError: It cannot be reached, or refuses.
        """
        self._sockets.clear()
        request = urllib.request.Request(self._url, headers={"User-Agent": "edgecnn"})
        slow = threading.Timer(_ANSWER_S, self._break_off)  # the patience of a socket begins anew with each byte
        slow.daemon = True
        slow.start()
        try:
            return cast(http.client.HTTPResponse, self._opener.open(request, timeout=_PATIENCE_S))
        except urllib.error.HTTPError as error:
            error.close()
            raise SourceError(f"{self.name} {_av.told_status(error.code, error.reason)}") from error
        except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
            why = getattr(error, "reason", error)
            raise SourceError(f"{self.name} {_av.told(why if isinstance(why, BaseException) else error)}") from error
        finally:
            slow.cancel()

    def close(self) -> None:
        """Break off what is under way; idempotent."""
        self.closed.set()
        self._break_off()

    def _break_off(self) -> None:
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Stream:
    """A live source of the JPEG pictures in an answer without an end."""

    live = True

    def __init__(self, server: Server, answer: http.client.HTTPResponse, name: str) -> None:
        self._server, self._answer, self._name = server, answer, name
        self.close = server.close

    def __iter__(self) -> Iterator[Item]:
        """Cut the pictures out.

        Raises:
            SourceError: The stream broke off, or was ended at the other side.
        """
        with contextlib.closing(self._answer):
            try:
                yield from _raw.packets(_Chunks(self._answer), "mjpeg", None, self._name)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if self._server.closed.is_set():
                    return
                if isinstance(error, SourceError):
                    raise
                raise SourceError(f"{self._name} {_av.told(error)}") from error
        if not self._server.closed.is_set():
            raise SourceError(f"{self._name} has ended the stream")


class Snapshots:
    """A live source of a picture that is asked for again and again."""

    live = True

    def __init__(self, server: Server, name: str, interval_s: float) -> None:
        self._server, self._name, self.pause_s = server, name, interval_s
        self.close = server.close

    def __iter__(self) -> Iterator[Item]:
        """Ask for a picture, wait, ask again.

        Raises:
            SourceError: The server no longer answers.
        """
        index, due = 0, time.monotonic()
        while not self._server.closed.wait(max(0.0, due - time.monotonic())):
            due = max(due + self.pause_s, time.monotonic())
            try:
                with contextlib.closing(self._server.ask()) as answer:
                    data = _whole(answer)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if self._server.closed.is_set():
                    return
                if isinstance(error, SourceError):
                    raise
                raise SourceError(f"{self._name} {_av.told(error)}") from error
            yield Packet(data, decode, self._name, index, time.monotonic_ns())
            index += 1


class Video:
    """A live source of a video's frames; one that has an end is taken whole."""

    live = True

    def __init__(self, container: _av.Container, name: str) -> None:
        self._container, self._name = container, name
        self._closed = threading.Event()
        self.patient = container.duration is not None

    def __iter__(self) -> Iterator[Item]:
        """Decode what comes.

        Raises:
            SourceError: The stream broke off.
        """
        yield from _av.frames(self._container, self._name, live=True, closed=self._closed)
        if not self.patient and not self._closed.is_set():
            raise SourceError(f"{self._name} has ended the stream")

    def close(self) -> None:
        """End with the next frame, or a few seconds later; idempotent."""
        self._closed.set()


def _whole(answer: http.client.HTTPResponse) -> bytes:
    """The content of an answer, piece by piece, since its length may be a lie."""
    data, end = bytearray(), time.monotonic() + _ANSWER_S
    while piece := answer.read1(1 << 16):
        data += piece
        if len(data) > _raw.MAX_FRAME_BYTES or time.monotonic() > end:
            raise SourceError(
                f"a picture must have at most {_raw.MAX_FRAME_BYTES >> 20} MB and come within {_ANSWER_S:g} s; the "
                "server sends more, or slower: check the address"
            )
    return bytes(data)


class _Chunks:
    """What has come of an answer, without waiting for more."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer

    def read(self, size: int, /) -> bytes:
        return self._answer.read1(size)


def _kept(kind: Any, sockets: list[socket.socket]) -> Any:
    """A kind of connection whose sockets are known, so that another thread can end them."""

    class Kept(kind):  # type: ignore[misc]  # one of two classes of the standard library
        def connect(self) -> None:
            super().connect()
            sockets.append(self.sock)

    return Kept


class _Http(urllib.request.HTTPHandler):
    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self._kind = _kept(http.client.HTTPConnection, sockets)

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self._kind, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self._kind = _kept(http.client.HTTPSConnection, sockets)

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self._kind, req)


def _asked_once_more(kind: Any, known: urllib.request.HTTPPasswordMgr) -> Any:
    """A handler that answers a server's question for a password; urllib's own leave the first answer open."""

    class Asked(kind):  # type: ignore[misc]  # one of two classes of the standard library
        def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
            fp.close()
            return super().http_error_401(req, fp, code, msg, headers)

    return Asked(known)
