"""What is secret in an address or a command is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Edgecnn

from edgecnn.errors import redacted

SECRET = "geheim"


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://me:geheim@cam/live",
        "rtsp://me:ge@geheim@cam/live",
        "http://me:x/geheim@cam/live",
        "http://me:x?geheim@cam/live",
        "rtsp:/me:geheim@cam/live",
        "http://cam/x?password=geheim&y=1",
        "http://cam/x?access_token=geheim",
        "http://cam/x?loginpas=geheim",
        "rtspsrc user-pw=geheim !",
        "curl -u me:geheim http://cam",
        "prog --password geheim",
        "prog --password='a geheim'",
        "-headers 'Authorization: Basic geheim'",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    assert SECRET not in redacted(text)
    assert "***" in redacted(text)


@pytest.mark.parametrize("text", ["http://cam:8080/img@2x.jpg", "rtsp://cam/live?channel=2", "photos/a@b.jpg", "a: b"])
def test_the_rest_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://me:geheim@127.0.0.1:9/x",
        "RTSP://me:geheim@127.0.0.1:9/x",
        "rtmp://me:geheim@127.0.0.1:9/x",
        "http://me:ge/heim@127.0.0.1:9/geheim@x",
        "exec:ffmpeg -i rtsp://me:geheim@h/x -vf 'a",
        "exec:sh -c 'exit 3' --password geheim user-pw=geheim",
    ],
)
def test_neither_a_message_nor_a_traceback_shows_them(edgecnn: Edgecnn, colors: Path, uri: str) -> None:
    done = edgecnn("--debug", "predict", colors, uri)
    assert done.code in (2, 3)
    assert SECRET not in done.out + done.err


@pytest.mark.parametrize(
    "words",
    [
        ("rtsp://me:geheim@cam/live", "letters"),
        ("rtsp://me:geheim@cam/live", "test:"),
        ("letters", "test:", "--to", "http://me:geheim@host/"),
        ("letters", "test:", "--device", "http://me:geheim@host/"),
    ],
)
def test_no_error_shows_a_password_however_it_came_into_it(edgecnn: Edgecnn, words: tuple[str, ...]) -> None:
    done = edgecnn("predict", *words)
    assert done.code in (2, 4)
    assert "***" in done.err
    assert SECRET not in done.err + done.out
