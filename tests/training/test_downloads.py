"""Downloads: whole and checked, or not there; gone on with after an interruption; every failure with a way out."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgecnn_training.datasets._download import Remote, downloads, fetch
from web import Web, serving

from edgecnn.errors import DataError, SourceError

CONTENT = bytes(range(256)) * 4000  # a megabyte
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as web:
        web.files["a.bin"] = CONTENT
        yield web


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "edgecnn" / "downloads" / "set"


def remote(web: Web, *urls: str, checksum: str = SHA256, size_bytes: int = len(CONTENT)) -> Remote:
    return Remote("a.bin", urls or (f"{web.url}a.bin",), size_bytes, checksum)


def begin(folder: Path, data: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / "a.bin.part").write_bytes(data)


def test_a_file_is_downloaded_once_and_told_of(web: Web, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert fetch("set", [remote(web)]) == [folder / "a.bin"]
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["a.bin"]
    assert web.asked == [("a.bin", None)]
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(r"downloading a.bin, 1.0 MB, from 127.0.0.1:\d+\n", told.err)


def test_an_md5_is_compared_where_its_publisher_gives_no_other(web: Web) -> None:
    right, wrong = (hashlib.md5(data, usedforsecurity=False).hexdigest() for data in (CONTENT, b""))
    with pytest.raises(SourceError, match=f"md5:{right}, and should have 1,024,000 bytes and md5:{wrong}"):
        fetch("set", [remote(web, checksum=f"md5:{wrong}")])
    assert fetch("set", [remote(web, checksum=f"md5:{right}")])


@pytest.mark.parametrize("size_bytes", [len(CONTENT), len(CONTENT) - 1])
def test_a_file_of_another_content_or_size_is_not_kept(web: Web, folder: Path, size_bytes: int) -> None:
    web.files["a.bin"] = b"x" + CONTENT[1:]
    with pytest.raises(SourceError, match=r"it has 1,024,000 bytes and sha256:[0-9a-f]{64}, and should have 1,02\d,\d"):
        fetch("set", [remote(web, size_bytes=size_bytes)])
    assert list(folder.iterdir()) == []


def test_what_a_cut_connection_brought_is_gone_on_with(web: Web, folder: Path) -> None:
    web.cut = 400_000
    fetch("set", [remote(web)])
    assert web.asked == [("a.bin", None), ("a.bin", "bytes=400000-"), ("a.bin", "bytes=800000-")]
    assert (folder / "a.bin").read_bytes() == CONTENT


def test_a_server_that_cuts_off_and_cannot_go_on_is_given_up(web: Web, folder: Path) -> None:
    web.cut, web.ranges = 400_000, False
    with pytest.raises(SourceError, match=r"127.0.0.1:\d+: it ends after 400,000 of 1,024,000 bytes"):
        fetch("set", [remote(web)])
    assert [(path.name, path.stat().st_size) for path in folder.iterdir()] == [("a.bin.part", 400_000)]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_is_gone_on_with_by_the_next_command(web: Web, folder: Path, ranges: bool) -> None:
    begin(folder, CONTENT[:500_000])
    web.ranges = ranges
    fetch("set", [remote(web)])
    assert web.asked == [("a.bin", "bytes=500000-")]
    assert [path.name for path in folder.iterdir()] == ["a.bin"]
    assert (folder / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("bad", [b"x" * 500_000, b"x" * len(CONTENT), CONTENT + b"x"])
def test_a_bad_beginning_is_let_go(web: Web, folder: Path, bad: bytes) -> None:
    begin(folder, bad)
    fetch("set", [remote(web)])
    assert (folder / "a.bin").read_bytes() == CONTENT


def test_a_file_that_became_shorter_on_the_server_does_not_block_the_next_try(web: Web, folder: Path) -> None:
    begin(folder, CONTENT[:500_000])
    web.files["a.bin"] = CONTENT[:400_000]
    with pytest.raises(SourceError, match="HTTP 416 Requested Range Not Satisfiable"):
        fetch("set", [remote(web)])
    web.files["a.bin"] = CONTENT
    assert fetch("set", [remote(web)])


def test_the_next_place_is_tried_where_one_fails(web: Web, folder: Path) -> None:
    web.files["old/a.bin"] = b"<html>moved</html>"
    fetch("set", [remote(web, f"{web.url}gone/a.bin", f"{web.url}old/a.bin", f"{web.url}a.bin")])
    assert [name for name, _ in web.asked] == ["gone/a.bin", "old/a.bin", "old/a.bin", "a.bin"]
    assert (folder / "a.bin").read_bytes() == CONTENT


def test_every_place_that_failed_is_named_with_what_to_put_where(web: Web, folder: Path) -> None:
    dead = "http://127.0.0.1:9/"  # nobody listens on the discard port
    both = [remote(web, f"{dead}a.bin", f"{web.url}gone/a.bin"), Remote("b.bin", (), 1, SHA256)]
    with pytest.raises(SourceError) as caught:
        fetch("set", both)
    host = web.url.split("/")[2]
    assert str(caught.value) == (
        f"set must be downloaded once, and a.bin could not be (127.0.0.1:9: Connection refused; {host}: HTTP 404 Not "
        f"Found): connect to the network and try again, or get a.bin, b.bin from {dead} or {web.url}gone/ and put them "
        f"into {folder}"
    )
    assert list(folder.iterdir()) == []


def test_a_file_that_somebody_put_there_is_used_without_a_network(web: Web, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(CONTENT)
    assert fetch("set", [remote(web)]) == [folder / "a.bin"]
    assert web.asked == []


def test_another_file_that_somebody_put_there_is_refused_with_the_remedy(web: Web, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(SourceError, match=r"must be the published file of 1,024,000 bytes .*has 1,023,999.*delete it"):
        fetch("set", [remote(web)])
    assert web.asked == []


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(web: Web, folder: Path) -> None:
    folder.parent.parent.mkdir()
    folder.parent.write_text("a file in the way")
    with pytest.raises(DataError, match=r"downloads must be writable; .* in .*set: free some space there, or set XDG_"):
        fetch("set", [remote(web)])


def test_downloads_lie_in_the_cache_of_a_home_folder_unless_an_absolute_path_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for wrong in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", wrong)
        assert downloads() == tmp_path / ".cache" / "edgecnn" / "downloads"


HOMELESS = """
import pathlib
from edgecnn_training.datasets._download import downloads
def home():
    raise RuntimeError("Could not determine home directory.")  # as for a user who is not in the list of users
pathlib.Path.home = home
downloads()
"""


def test_without_a_home_folder_the_variable_that_helps_is_named() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "XDG_CACHE_HOME": ""}
    command = [sys.executable, "-c", HOMELESS]
    end = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "DataError: downloads must lie somewhere, and this user has no home folder: set XDG_CACHE_HOME" in end.stderr


RACE = """
import sys
from edgecnn_training.datasets._download import Remote, fetch
fetch("set", [Remote("a.bin", (sys.argv[1] + "a.bin",), int(sys.argv[2]), sys.argv[3])])
"""


def test_two_processes_at_once_both_get_the_file(web: Web, folder: Path, tmp_path: Path) -> None:
    web.cut = 100_000
    command = [sys.executable, "-c", RACE, web.url, str(len(CONTENT)), SHA256]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [one.communicate(timeout=60)[1] for one in both]
    assert [one.returncode for one in both] == [0, 0], errors
    assert [path.name for path in folder.iterdir()] == ["a.bin"]
    assert len(web.asked) == 11  # once altogether, in pieces of 100,000 bytes
