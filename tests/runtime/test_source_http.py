"""Pictures over HTTP: an MJPEG stream, single pictures, videos, and servers that misbehave."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import golden
import pytest
from command import Edgecnn

from edgecnn import open_source
from edgecnn.errors import SourceError, UsageError
from edgecnn.frames import Failure, Frame
from edgecnn.sources import http


class Server(ThreadingHTTPServer):
    """A camera's server.

    Attributes:
        asked: What it was asked for.
        files: What else it has, by path.
        most: How many pictures a stream has.
        stalled: While it is set, a stream stands still.
    """

    daemon_threads = True
    password = "Basic " + base64.b64encode(b"me:se cret").decode()

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Camera)
        self.asked: list[str] = []
        self.files: dict[str, bytes] = {}
        self.most, self.stalled = 10**6, Event()


class Camera(BaseHTTPRequestHandler):
    """``/stream``, ``/snap.jpg``, ``/page``, ``/locked`` and what else the server's `files` hold."""

    server: Server

    def do_GET(self) -> None:
        place = self.path.partition("?")[0]
        self.server.asked.append(self.path)
        if place == "/locked" and self.headers.get("Authorization") != self.server.password:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
        elif place in ("/stream", "/locked"):
            self._stream()
        elif place == "/moved":
            self.send_response(302)
            self.send_header("Location", "/stream")
            self.end_headers()
        elif place in ("/ftp", "/file"):
            self.send_response(302)
            self.send_header("Location", f"{place[1:]}://127.0.0.1:9/etc/hostname")
            self.end_headers()
        elif place == "/to-locked":
            self.send_response(302)
            self.send_header("Location", "/locked")
            self.end_headers()
        elif place == "/negative":
            self.protocol_version = "HTTP/1.1"
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"-5\r\n" + b"x" * 1000)
        elif place == "/digest":
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Digest realm=")
            self.end_headers()
        elif place == "/flood":
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(10**14))
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(bytes(1 << 20))
        elif place == "/drip":
            with contextlib.suppress(OSError):
                for byte in b"HTTP/1.0 200 OK\r\nContent-Type: " + b"x" * 1000:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.05)
        elif place == "/snap.jpg":
            self._send("image/jpeg", golden.jpeg())
        elif place == "/page":
            self._send("text/html", b"<h1>camera</h1>")
        elif place in self.server.files:
            kind = "application/vnd.apple.mpegurl" if place.endswith(".m3u8") else "video/mp4"
            self._send(kind, self.server.files[place])
        else:
            self.send_error(404)

    def _send(self, kind: str, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        data = golden.jpeg()
        for _ in range(self.server.most):
            while self.server.stalled.is_set():
                time.sleep(0.02)
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
            try:
                self.wfile.write(head + data + b"\r\n")
            except OSError:
                return
            time.sleep(0.02)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.stalled.clear()
    server.shutdown()
    server.server_close()


def address(server: Server, place: str, user: str = "") -> str:
    return f"http://{user}127.0.0.1:{server.server_address[1]}{place}"


def frames(uri: str, count: int) -> list[Frame]:
    source = open_source(uri)
    found = [item for item in itertools.islice(source, count) if isinstance(item, Frame)]
    source.close()
    return found


@pytest.mark.parametrize("place", ["/stream", "/stream?channel=2&x=1", "/moved"])
def test_the_golden_picture_comes_through_an_mjpeg_stream(server: Server, place: str) -> None:
    found = frames(address(server, place), 5)
    assert len(found) == 5
    assert all(golden.distance(frame.image) < 2 for frame in found)
    assert server.asked[0] == place


def test_single_pictures_are_asked_for_again_and_again(server: Server) -> None:
    began = time.monotonic()
    found = frames(address(server, "/snap.jpg#interval=0.1"), 5)
    assert all(golden.distance(frame.image) < 2 for frame in found)
    assert time.monotonic() - began >= 0.35
    assert len(server.asked) >= 6


def test_seldom_pictures_are_no_feed_that_stands_still_and_are_not_too_old(server: Server) -> None:
    uri = address(server, "/snap.jpg#interval=0.8&stall=0.1&max_age=0.05")
    source = open_source(uri)
    found = 0
    for item in itertools.islice(source, 3):
        found += isinstance(item, Frame)
        time.sleep(0.9)  # a slow model: the next one waits
    source.close()
    assert found == 3
    counts = source.counts[uri.partition("#")[0]]
    assert (counts.reconnects, counts.offline_s) == (0, 0.0)


def test_user_and_password_are_used_and_never_shown(server: Server, edgecnn: Edgecnn, colors: Path) -> None:
    source = open_source(address(server, "/locked", "me:se%20cret@"))
    item = next(iter(source))
    source.close()
    assert isinstance(item, Frame)
    assert "cret" not in item.source
    done = edgecnn("predict", colors, address(server, "/locked", "me:wrong@"))
    assert done.code == 3
    assert "asks for another user or password" in done.err
    assert "wrong" not in done.err


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("/page", "sends text/html, no pictures: look in it"),
        ("/nothing", "has no such stream: check the path behind the host"),
    ],
)
def test_what_is_no_stream_is_told(server: Server, place: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(address(server, place))


def test_an_option_that_goes_to_the_server_is_noted(server: Server) -> None:
    with pytest.warns(UserWarning, match="interval goes to the server, .* it must follow a #"):
        open_source(address(server, "/snap.jpg?interval=2")).close()


def test_what_a_run_came_to_is_told_also_where_it_ends_in_an_error(
    server: Server, edgecnn: Edgecnn, colors: Path
) -> None:
    server.most = 10
    done = edgecnn("predict", colors, address(server, "/stream#retries=0&policy=all", "me:secret@"))
    assert done.code == 3
    assert re.search(r"\n10 frames in .* capture to label p50 .*\nerror: .* has ended the stream; given up", done.err)
    assert done.err.count("has ended the stream") == 1
    assert "secret" not in done.err + done.out


def test_capture_tells_no_password_and_what_it_saved_before_an_error(
    server: Server, edgecnn: Edgecnn, tmp_path: Path
) -> None:
    server.most = 3
    uri = address(server, "/stream#retries=0", "me:secret@")
    done = edgecnn("capture", uri, tmp_path / "cat", "--every", "0")
    assert done.code == 3
    assert json.loads(done.out)["saved"] == 1
    assert "1 picture saved" in done.err
    assert "secret" not in done.err + done.out


@pytest.mark.parametrize("place", ["/ftp", "/file", "/negative", "/digest", "/flood", "/drip"])
def test_a_hostile_server_ends_in_plain_words(
    server: Server, edgecnn: Edgecnn, colors: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(http, "_ANSWER_S", 1.0)
    began = time.monotonic()
    done = edgecnn("predict", colors, address(server, place, "me:secret@"))
    assert (done.code, done.out) == (3, "")
    assert "secret" not in done.err
    assert time.monotonic() - began < 8


def test_user_and_password_hold_after_a_redirect_on_the_same_host(server: Server) -> None:
    assert frames(address(server, "/to-locked", "me:se%20cret@"), 1)


def test_nobody_there_is_told() -> None:
    with pytest.raises(SourceError, match="refuses the connection: check host and port"):
        open_source("http://127.0.0.1:9/x")


def test_a_stream_that_ends_is_opened_anew(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.most = 10
    source = open_source(address(server, "/stream#policy=all"))  # nothing is dropped, however slow the machine is
    assert len(list(itertools.islice(source, 15))) == 15
    source.close()
    assert "has ended the stream; trying again" in caplog.text
    assert source.counts[address(server, "/stream")].reconnects == 1


def test_a_stream_that_stands_still_is_opened_anew_at_once(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    source = open_source(address(server, "/stream#stall=0.3"))
    iterator = iter(source)
    list(itertools.islice(iterator, 5))
    server.stalled.set()
    Thread(target=lambda: (time.sleep(1.0), server.stalled.clear()), daemon=True).start()
    began = time.monotonic()
    assert len(list(itertools.islice(iterator, 20))) == 20
    source.close()
    assert time.monotonic() - began < 6
    assert "no frame for 0.3 s" in caplog.text


def test_a_stream_that_hangs_is_left_quickly(server: Server) -> None:
    source = open_source(address(server, "/stream"))
    iterator = iter(source)
    next(iterator)
    server.stalled.set()
    time.sleep(0.1)
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 2


def test_a_damaged_picture_is_told_and_the_next_one_taken(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = golden.jpeg()
    answers = itertools.chain([whole[:200]], itertools.repeat(whole))
    monkeypatch.setattr(Camera, "_send", lambda self, kind, data, send=Camera._send: send(self, kind, next(answers)))
    source = http.open(address(server, "/snap.jpg"), {"interval": "0.05"})
    found = [item.decoded() for item in itertools.islice(source, 2)]  # type: ignore[union-attr]
    source.close()
    assert any(isinstance(item, Frame) for item in found)
    assert all(isinstance(item, Frame | Failure) for item in found)


def test_a_video_is_played_whole(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs the extra video")
    from test_source_video import write_video

    server.files["/clip.mp4"] = write_video(tmp_path / "clip.mp4", 12).read_bytes()
    found = frames(address(server, "/clip.mp4"), 100)
    assert len(found) == 12
    assert golden.distance(found[0].image) < 2


def test_hls_is_played(server: Server, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="needs the extra video")
    with av.open(str(tmp_path / "live.m3u8"), "w", format="hls", options={"hls_time": "1"}) as file:
        stream = file.add_stream("libx264", rate=10, options={"crf": "12", "g": "10"})
        stream.width, stream.height = golden.SIZE
        stream.pix_fmt = "yuv420p"
        for _ in range(30):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(golden.golden(), format="rgb24")))
        file.mux(stream.encode())
    for part in tmp_path.iterdir():
        server.files[f"/{part.name}"] = part.read_bytes()
    found = frames(address(server, "/live.m3u8"), 100)
    assert len(found) == 30
    assert all(golden.distance(frame.image) < 2 for frame in found)


def test_a_playlist_may_not_open_files(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs the extra video")
    from test_source_video import write_video

    secret = write_video(tmp_path / "secret.ts", 20)
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    server.files["/bad.m3u8"] = text.encode()
    with pytest.raises(SourceError):
        frames(address(server, "/bad.m3u8"), 5)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://", "an address must name a host"),
        ("http://host:port/", "an address must name a host"),
        ("http://h/#interval=0", "interval must be a number of seconds from 0.05"),
        ("http://h/#fps=3", "options of the source http: must be one of interval, rotate"),
    ],
)
def test_a_wrong_address_or_option_is_refused(uri: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(uri)
