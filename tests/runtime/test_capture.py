"""``edgecnn capture``: pictures for training from a feed, without those that are nearly the same."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import golden
import numpy as np
import pytest
from command import Edgecnn
from PIL import Image as PILImage

from edgecnn.capture import capture, difference_hash
from edgecnn.errors import SinkError, UsageError
from edgecnn.opening import open_source
from edgecnn.sources.test import draw

FEED = "test:?fps=0&hold=1&frames=200"


def size_of(file: Path) -> tuple[int, int]:
    with PILImage.open(file) as picture:
        return picture.size


def test_pictures_are_saved_under_names_that_sort_by_time(edgecnn: Edgecnn, tmp_path: Path) -> None:
    done = edgecnn("capture", FEED, tmp_path / "photos" / "cat", "--every", "0", "--count", "12")
    assert done.code == 0, done.err
    files = sorted((tmp_path / "photos" / "cat").iterdir())
    assert len(files) == 12
    assert [file.stat().st_mtime for file in files] == sorted(file.stat().st_mtime for file in files)
    assert {size_of(file) for file in files} == {(320, 240)}
    record = json.loads(done.out)
    assert (record["type"], record["saved"], record["folder"]) == ("capture", 12, str(tmp_path / "photos" / "cat"))


def test_pictures_of_one_instant_sort_as_they_were_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecnn.capture.time.time_ns", lambda: 1_795_826_605_999_999_000)
    capture(open_source(FEED), tmp_path, every_s=0, count=12)
    files = sorted(tmp_path.iterdir())
    assert [file.stat().st_mtime_ns for file in files] == sorted(file.stat().st_mtime_ns for file in files)
    assert len(files) == 12


@pytest.mark.parametrize("feed", ["pi", "usb:0", "test:", "pi?fps=5", "/dev/video0"])
def test_folder_and_source_in_the_wrong_order_are_refused(
    edgecnn: Edgecnn, photos: Path, monkeypatch: pytest.MonkeyPatch, feed: str
) -> None:
    monkeypatch.chdir(photos.parent)
    for folder in ("photos", "not/there"):
        done = edgecnn("capture", folder, feed, "--every", "0")
        assert (done.code, done.out) == (2, "")
        assert f"the source must stand before the folder; received '{feed}' behind it: edgecnn capture" in done.err
        assert f"or for a folder of this name {shlex.quote(f'./{feed}')}" in done.err
    assert {path.name for path in photos.parent.iterdir()} == {"photos"}


def test_what_hides_a_feed_and_what_the_class_is_are_told(
    edgecnn: Edgecnn, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos / "inner")
    done = edgecnn("capture", "test:?frames=2", "cat", "--every", "0")
    assert "note: the class is 'cat'; one in this folder is cat/LABEL, cat/cat" in done.err
    again = edgecnn("capture", "test:?frames=2", "dog", "--every", "0")
    assert "note: the class" not in again.err
    Path("cat").rename("pi")
    hidden = edgecnn("capture", "pi", "cat", "--every", "0")
    assert (hidden.code, "note: what is called 'pi' here hides the live feed" in hidden.err) == (0, True)


def test_a_feed_without_a_picture_leaves_no_folder(edgecnn: Edgecnn, tmp_path: Path) -> None:
    done = edgecnn("capture", "exec:sh -c 'exit 3'?format=mjpeg", tmp_path / "photos" / "cat")
    assert done.code == 3
    assert "next:" not in done.err
    assert not (tmp_path / "photos").exists()


def test_advice_is_given_once_and_the_next_command_named(edgecnn: Edgecnn, tmp_path: Path) -> None:
    first = edgecnn("capture", FEED, tmp_path / "cat", "--every", "0", "--count", "3")
    assert "a class of what the camera sees without any of them (background)" in first.err
    assert f"next:  edgecnn capture '{FEED}' {tmp_path}/background" in first.err
    second = edgecnn("capture", FEED, tmp_path / "background", "--every", "0", "--count", "3")
    assert "advice:" not in second.err
    assert f"next:  edgecnn train {tmp_path} --split ordered" in second.err


def test_older_pictures_stay_and_a_feed_that_ends_is_enough(edgecnn: Edgecnn, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "old.jpg").write_bytes(golden.jpeg())
    done = edgecnn("capture", "test:?fps=0&hold=1&frames=5", tmp_path / "cat", "--every", "0")
    assert done.code == 0
    assert len(list((tmp_path / "cat").iterdir())) == 6


def test_a_scene_that_does_not_change_gives_one_picture_and_says_what_to_do(edgecnn: Edgecnn, tmp_path: Path) -> None:
    done = edgecnn("capture", "test:?fps=0&text=A&frames=4", tmp_path / "a", "--every", "0")
    assert "1 picture saved, 3 left out as nearly the same: move the camera or what it looks at" in done.err


def test_what_lies_there_already_is_not_taken_again(edgecnn: Edgecnn, tmp_path: Path) -> None:
    uri = "test:?fps=0&hold=1&frames=6"
    assert json.loads(edgecnn("capture", uri, tmp_path / "a", "--every", "0").out)["saved"] >= 5
    again = json.loads(edgecnn("capture", uri, tmp_path / "a", "--every", "0").out)
    assert (again["saved"], again["alike"]) == (0, 6)


def test_a_folder_of_classes_is_no_class(edgecnn: Edgecnn, tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    done = edgecnn("capture", FEED, tmp_path / "photos")
    assert done.code == 2
    assert "holds cat: name a class in it" in done.err


def test_a_file_that_is_no_picture_is_told(edgecnn: Edgecnn, tmp_path: Path) -> None:
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "a.jpg").write_bytes(golden.jpeg())
    (tmp_path / "mixed" / "notes.txt").write_text("a text")
    done = edgecnn("capture", tmp_path / "mixed", tmp_path / "out" / "a")
    assert done.code == 1
    assert "1 picture saved, 1 not read, the last one" in done.err
    assert "not an image" in done.err


def test_pictures_come_at_least_so_far_apart(tmp_path: Path) -> None:
    began = time.monotonic()
    taken = capture(open_source("test:?fps=50&hold=1"), tmp_path / "a", every_s=0.2, count=4)
    assert taken.saved == 4
    assert time.monotonic() - began >= 0.6


def test_the_part_of_the_picture_that_counts_is_what_is_saved(edgecnn: Edgecnn, tmp_path: Path) -> None:
    uri = "test:?fps=0&frames=1&rotate=90&crop=0,0,1,0.5"
    assert edgecnn("capture", uri, tmp_path / "a", "--every", "0").code == 0
    (file,) = (tmp_path / "a").iterdir()
    assert size_of(file) == (240, 160)


def test_ctrl_c_ends_it_well(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgecnn", "capture", "test:?hold=1", str(tmp_path / "a"), "--every", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(200):
            if (tmp_path / "a").is_dir() and len(list((tmp_path / "a").glob("*.jpg"))) >= 3:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert json.loads(out)["saved"] == len(list((tmp_path / "a").iterdir()))


def test_noise_changes_no_hash_and_another_letter_does() -> None:
    one, same, other = (difference_hash(draw(letter, index)) for letter, index in (("A", 0), ("A", 1), ("C", 0)))
    assert (one ^ same).bit_count() <= 3
    assert (one ^ other).bit_count() > 10
    assert difference_hash(np.full((20, 20, 1), 9, np.uint8)) == 0


@pytest.mark.parametrize(
    ("folder", "code", "message"),
    [
        ("file.txt", 2, "DIR/LABEL must be a folder"),
        (".hidden", 2, "the name of a class folder must be its label"),
        ("a\nb", 2, "the name of a class folder must be its label"),
        ("file.txt/cat", 6, "pictures must be written to"),
    ],
)
def test_a_place_that_cannot_be_is_refused(
    edgecnn: Edgecnn, tmp_path: Path, folder: str, code: int, message: str
) -> None:
    (tmp_path / "file.txt").write_text("a text")
    done = edgecnn("capture", FEED, tmp_path / folder)
    assert (done.code, done.out) == (code, "")
    assert message in done.err


def test_a_source_that_is_not_there_leaves_no_folder(edgecnn: Edgecnn, tmp_path: Path) -> None:
    assert edgecnn("capture", "nothing", tmp_path / "cat").code == 3
    assert not (tmp_path / "cat").exists()


def test_a_full_disk_is_told_and_leaves_whole_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(SinkError, match="free some space, or name another folder"):
            capture(open_source(FEED), tmp_path / "a", every_s=0, count=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "a").iterdir()) == []


def test_numbers_without_meaning_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="every must be 0 or more and count 1 or more"):
        capture(open_source(FEED), tmp_path / "a", every_s=-1, count=3)
