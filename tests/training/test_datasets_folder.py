"""Folders: links, loops, pipes, hidden and unreadable files."""

import os
from pathlib import Path

import made
import pytest
from edgecnn_training.dataset import read, survey
from edgecnn_training.examples import Example, Rejected

from edgecnn.errors import DataError


def test_files_that_are_no_pictures_are_rejected_with_their_reason(tmp_path):
    files = made.animals() | {
        "cat/empty.png": b"",
        "cat/notes.png": b"milk, eggs",
        "dog/float.tif": float_tiff(),
        "README": b"about",
        "cat/.hidden.png": made.picture(),
        "cat/.DS_Store": b"x",
        ".git/config": b"x",
    }
    found = survey(made.write_folder(tmp_path, files))
    reasons = {item.name: item.reason for item in found.rejected}
    assert reasons.keys() == {
        "cat/empty.png", "cat/notes.png", "dog/float.tif", "README", "cat/.hidden.png", ".git/"
    }  # fmt: skip
    assert reasons["cat/empty.png"].startswith("empty file")
    assert reasons["cat/notes.png"].startswith("not an image")
    assert reasons["dog/float.tif"].startswith("unsupported pixel mode")
    assert reasons["README"].startswith("lies beside the class folders")
    assert (reasons["cat/.hidden.png"], reasons[".git/"]) == ("hidden file", "hidden folder")
    assert len(found.records) == 6


def float_tiff():
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("F", (8, 8)).save(buffer, "TIFF")
    return buffer.getvalue()


def test_linked_files_and_folders_are_followed_and_loops_end(tmp_path):
    made.write_folder(tmp_path / "elsewhere", {"bird/1.png": made.picture(9), "9.png": made.picture(8)})
    root = tmp_path / "photos"
    made.write_folder(root, made.animals())
    (root / "bird").symlink_to(tmp_path / "elsewhere" / "bird")
    (root / "cat" / "linked.png").symlink_to(tmp_path / "elsewhere" / "9.png")
    (root / "cat" / "loop").symlink_to(root)
    (root / "cat" / "gone.png").symlink_to(tmp_path / "gone")
    (root / "cat" / "self.png").symlink_to("self.png")
    items = list(read(str(root)))
    assert {i.name for i in items if isinstance(i, Example)} == {*made.animals(), "bird/1.png", "cat/linked.png"}
    reasons = {i.name: i.reason for i in items if isinstance(i, Rejected)}
    assert reasons.keys() == {"cat/loop/", "cat/gone.png", "cat/self.png"}
    assert (reasons["cat/loop/"], reasons["cat/gone.png"]) == ("link to a folder above it", "link to nothing")


def test_a_pipe_among_the_pictures_is_rejected_and_never_opened(tmp_path):
    made.write_folder(tmp_path, made.animals())
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "cat" / "null.png").symlink_to("/dev/null")
    assert {(i.name, i.reason) for i in survey(str(tmp_path)).rejected} == {
        ("cat/pipe.png", "not a regular file"),
        ("cat/null.png", "not a regular file"),
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_and_folder_are_rejected(tmp_path):
    made.write_folder(tmp_path, made.animals() | {"dog/sub/1.png": made.picture(7)})
    (tmp_path / "cat" / "0.png").chmod(0)
    (tmp_path / "dog" / "sub").chmod(0)
    reasons = {i.name: i.reason for i in survey(str(tmp_path)).rejected}
    (tmp_path / "dog" / "sub").chmod(0o755)
    assert reasons["cat/0.png"] == "cannot be read (Permission denied)"
    assert reasons["dog/sub/"] == "folder cannot be read (Permission denied)"


def test_a_file_too_large_for_a_picture_is_rejected_unread(tmp_path):
    made.write_folder(tmp_path, made.animals())
    with (tmp_path / "cat" / "film.avi").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    assert [i.reason for i in survey(str(tmp_path)).rejected] == ["larger than the limit of 100 MB for one picture"]


def test_an_empty_class_folder_is_refused(tmp_path):
    made.write_folder(tmp_path, made.animals())
    (tmp_path / "bird").mkdir()
    with pytest.raises(DataError, match="none in 'bird'"):
        survey(str(tmp_path))


def test_names_that_are_no_unicode_are_read(tmp_path):
    made.write_folder(tmp_path, made.animals())
    with open(os.fsencode(tmp_path) + b"/cat/\xff.png", "wb") as file:
        file.write(made.picture(9))
    assert "cat/\udcff.png" in {record.name for record in survey(str(tmp_path)).records}


def test_folders_that_link_to_each_other_do_not_multiply(tmp_path: Path) -> None:
    for label in "abcdefgh":
        made.write_folder(tmp_path, {f"{label}/0.png": made.picture(ord(label))})
    for label in "abcdefgh":
        for other in set("abcdefgh") - {label}:
            (tmp_path / label / other).symlink_to(tmp_path / other)
    items = list(read(str(tmp_path)))
    assert (
        sum(isinstance(item, Example) for item in items) == 8 * 8
    )  # in each class its own picture and those it links to
