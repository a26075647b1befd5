"""An RTSP server for tests: H.264 over TCP, with a clock painted into the frames, and ways to misbehave.

It knows as much of RFC 2326, 2327 and 6184 as FFmpeg needs. Each frame shows the golden picture, and above it the
milliseconds of `time.monotonic` in 32 dark or light blocks, so that a reader can tell how old a frame is.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import golden
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT, BLOCK, BITS = 320, 240, 16, 32
_MAX_PACKET = 1400
_CLOCK_HZ = 90_000


def painted(milliseconds: int, label: str = "blue") -> npt.NDArray[np.uint8]:
    """The golden picture, larger, with a number in two rows of blocks at its top."""
    tile = golden.golden(label)
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for top in range(0, HEIGHT, tile.shape[0]):
        for left in range(0, WIDTH, tile.shape[1]):
            part = image[top : top + tile.shape[0], left : left + tile.shape[1]]
            part[:] = tile[: part.shape[0], : part.shape[1]]
    for bit in range(BITS):
        row, column = divmod(bit, 16)
        image[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK] = 235 * (milliseconds >> bit & 1)
    return image


def read_clock(image: npt.NDArray[np.uint8]) -> int:
    """The number that was painted."""
    value = 0
    for bit in range(BITS):
        row, column = divmod(bit, 16)
        middle = image[row * BLOCK + 4 : (row + 1) * BLOCK - 4, column * BLOCK + 4 : (column + 1) * BLOCK - 4]
        value |= int(middle.mean() > 128) << bit
    return value


class Server:
    """Serves one client after the other.

    Attributes:
        mode: ``"ok"``; ``"stall"`` sends nothing any more with the connection open; ``"drop"`` ends the connection;
            ``"refuse"`` ends it in the handshake; ``"hang"`` does not answer; ``"deny"`` asks for a password.
        connections: How many there were.
    """

    def __init__(self, fps: int = 30) -> None:
        self.mode, self.fps, self.connections = "ok", fps, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/live"

    def close(self) -> None:
        self._stop.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(20)
            encoder = _encoder(self.fps)
            while not self._stop.is_set():
                request = _request(client)
                if not request or self.mode == "refuse":
                    return
                if self.mode == "hang":
                    self._stop.wait(20)
                    return
                method, number = request.split()[0], _header(request, "CSeq")
                if self.mode == "deny":
                    client.sendall(f"RTSP/1.0 401 Unauthorized\r\nCSeq: {number}\r\n\r\n".encode())
                    continue
                client.sendall(_answer(method, number, encoder))
                if method == "PLAY":
                    self._play(client, encoder)
                    return

    def _play(self, client: socket.socket, encoder: av.VideoCodecContext) -> None:
        sequence, began = 0, time.monotonic()
        for number in range(10**9):
            while self.mode == "stall" and not self._stop.is_set():
                time.sleep(0.02)
            if self._stop.is_set() or self.mode in ("drop", "refuse"):
                return
            wait = began + number / self.fps - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            now = time.monotonic()
            frame = av.VideoFrame.from_ndarray(painted(int(now * 1000) & 0xFFFFFFFF), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, self.fps)
            for packet in encoder.encode(frame):
                stamp = int((now - began) * _CLOCK_HZ) & 0xFFFFFFFF
                for payload, last in _payloads(bytes(packet)):
                    head = struct.pack(">BBHII", 0x80, 96 | (0x80 if last else 0), sequence & 0xFFFF, stamp, 0x1234)
                    sequence += 1
                    client.sendall(struct.pack(">cBH", b"$", 0, len(head) + len(payload)) + head + payload)


def _encoder(fps: int) -> av.VideoCodecContext:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, fps), Fraction(fps, 1)
    encoder.options = {"tune": "zerolatency", "preset": "ultrafast", "g": str(fps), "crf": "18"}
    return encoder


def _request(client: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        part = client.recv(1)
        if not part:
            return ""
        data += part
    return data.decode()


def _header(request: str, name: str) -> str:
    lines = (line.partition(":") for line in request.splitlines())
    return next(value.strip() for key, _, value in lines if key.lower() == name.lower())


def _answer(method: str, number: str, encoder: av.VideoCodecContext) -> bytes:
    more, body = "", ""
    if method == "OPTIONS":
        more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
    elif method == "DESCRIBE":
        body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
        body += "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
        more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
    elif method == "SETUP":
        more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
    elif method == "PLAY":
        more = "Session: 1\r\n"
    return f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{more}\r\n{body}".encode()


def _payloads(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """RTP payloads of an access unit: each NAL unit whole, or in FU-A fragments; and whether it is the last."""
    units = [unit for unit in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
    for place, unit in enumerate(units):
        last = place == len(units) - 1
        if len(unit) <= _MAX_PACKET:
            yield unit, last
            continue
        indicator, kind, rest = unit[0] & 0xE0 | 28, unit[0] & 0x1F, unit[1:]
        parts = [rest[i : i + _MAX_PACKET] for i in range(0, len(rest), _MAX_PACKET)]
        for i, part in enumerate(parts):
            begin, end = (0x80 if i == 0 else 0), (0x40 if i == len(parts) - 1 else 0)
            yield bytes([indicator, begin | end | kind]) + part, last and bool(end)
